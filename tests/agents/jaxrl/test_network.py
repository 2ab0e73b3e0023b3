import jax
import numpy as np
import pytest
from gymnasium import spaces

from agents.jaxrl.actions import Choices, Gaussian
from agents.jaxrl.network import Mlp, Scale, network_of

G = 4
SIZES = {
    "turn": 1,
    "questions": 1,
    "certainty": 1,
    "mean": 2,
    "top_utility": 3,
    "top_utility_std": 3,
    "top_acceptance": 3,
    "target_mean": G,
    "target_std": G,
    "item_question_value": 1,
    "question_value": G,
}
ENDS = np.cumsum(list(SIZES.values())).tolist()
BLOCKS = {name: [end - size, end] for (name, size), end in zip(SIZES.items(), ENDS, strict=True)}
D = ENDS[-1]
CONFIG = {"network": "attribute", "net_width": 16, "blocks": BLOCKS, "algo": "ppo", "lean": 2.0}
ACTIONS = Choices((2 + G,), single=True)


def test_scale_agrees_with_the_moments_of_all_it_saw():
    rng = np.random.default_rng(0)
    rows = rng.normal(3.0, 2.0, (50, 4)).astype(np.float32)
    rows[:, 3] = 1.0
    scale = Scale.of(4)
    for part in np.split(rows, [7, 30]):
        scale = scale.update(part)
    np.testing.assert_allclose(scale.mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(scale.square, rows.var(0), rtol=1e-4, atol=1e-9)
    scaled = np.asarray(scale(rows))[:, :3]
    np.testing.assert_allclose(scaled.std(0), 1.0, rtol=1e-4)


def test_gaussian_outputs_end_with_the_deviation():
    network = Mlp(5, Gaussian(2, -1, 1), 8)
    params = network.init(jax.random.key(0))
    params["log_std"] = np.array([0.5, -0.5], np.float32)
    outputs, value = network.apply(params, Scale.of(5), np.ones((3, 5), np.float32))
    assert outputs.shape == (3, 4)
    assert value.shape == (3,)
    np.testing.assert_array_equal(outputs[:, 2:], [[0.5, -0.5]] * 3)


def test_layers_begin_orthogonal():
    params = Mlp(8, ACTIONS, 16).init(jax.random.key(0))
    for layer, gain in ((params["actor"][1], np.sqrt(2)), (params["critic"][1], np.sqrt(2))):
        product = layer["weight"] @ layer["weight"].T
        np.testing.assert_allclose(product, gain**2 * np.eye(16), atol=1e-5)
    head = params["head"]["weight"]
    np.testing.assert_allclose(head.T @ head, 1e-4 * np.eye(2 + G), atol=1e-8)
    assert not any(np.any(layer["bias"]) for layer in (*params["actor"], params["head"]))


@pytest.mark.parametrize(
    ("worth", "lean", "margin"), [(1.2, 2.0, 2.0), (0.1, 2.0, -0.2), (1.2, 0.0, 0.0)]
)
def test_an_unlearnt_network_leans_to_asking_what_is_worth_more_than_the_price(worth, lean, margin):
    network = network_of(CONFIG | {"lean": lean}, D, ACTIONS)
    rows = np.zeros((1, D), np.float32)
    rows[0, BLOCKS["item_question_value"][0]] = worth
    outputs, _ = network.apply(network.init(jax.random.key(0)), Scale.of(D), rows)
    assert outputs[0, 1] - outputs[0, 0] == pytest.approx(margin, abs=0.1)


# The same functions as the policies on Stable-Baselines3


def linear(weights, name):
    return {
        "weight": weights[f"{name}.weight"].numpy().T,
        "bias": weights[f"{name}.bias"].numpy(),
    }


def from_torch(policy, kind):
    """The parameters and the scale of one of SB3's policies."""
    weights = policy.state_dict()
    actor, critic = ("actor", "critic") if kind == "attribute" else ("policy_net", "value_net")
    params = {
        "actor": [linear(weights, f"mlp_extractor.{actor}.{i}") for i in (0, 2)],
        "critic": [linear(weights, f"mlp_extractor.{critic}.{i}") for i in (0, 2)],
        "value": linear(weights, "value_net"),
    }
    if kind == "attribute":
        params |= {
            "direct": linear(weights, "action_net.direct"),
            "digest": linear(weights, "action_net.digest"),
            "shared": [linear(weights, f"action_net.shared.{i}") for i in (0, 2)],
            "bias": weights["action_net.bias"].numpy(),
            "sharpness": weights["action_net.sharpness"].numpy(),
        }
    else:
        log_std = weights["log_std"].numpy() if "log_std" in weights else np.zeros(0, np.float32)
        params |= {"head": linear(weights, "action_net"), "log_std": log_std}
    extractor = policy.features_extractor
    moments = getattr(extractor, "standardise", extractor)
    scale = Scale(*(getattr(moments, n).float().numpy() for n in ("count", "mean", "square")))
    return jax.tree.map(np.array, (params, scale))


def observations(rng, n):
    return rng.normal(size=(n, D)).astype(np.float32)


@pytest.fixture(params=["attribute", "mlp", "gaussian"])
def learner(request):
    """One of SB3's learners that never plays, after weights and statistics were stirred."""
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("sb3_contrib")
    import gymnasium
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.logger import Logger

    from agents.sb3.store import policy_class, policy_kwargs

    class Nowhere(gymnasium.Env):
        observation_space = spaces.Box(-10, 10, (D,), np.float32)
        action_space = (
            spaces.Box(-1, 1, (3,), np.float32)
            if request.param == "gaussian"
            else spaces.Discrete(2 + G)
        )

    config = CONFIG | {"network": "attribute" if request.param == "attribute" else "mlp"}
    model = PPO(
        policy_class(config),
        Nowhere(),
        n_steps=64,
        batch_size=64,
        n_epochs=1,
        learning_rate=1e-2,
        ent_coef=0.04,
        gamma=1.0,
        policy_kwargs=policy_kwargs(config),
        device="cpu",
        seed=0,
    )
    model.set_logger(Logger(None, []))
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    extractor = model.policy.features_extractor
    rows = observations(np.random.default_rng(2), 40) * 3 + 1
    getattr(extractor, "standardise", extractor).update(rows)
    actions = Gaussian(3, -1.0, 1.0) if request.param == "gaussian" else ACTIONS
    return config["network"], model, network_of(config, D, actions), actions


def test_same_outputs_as_the_torch_policy(learner):
    import torch

    kind, model, network, actions = learner
    params, scale = from_torch(model.policy, kind)
    like = jax.eval_shape(network.init, jax.random.key(0))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, like)
    rows = observations(np.random.default_rng(3), 30)
    with torch.no_grad():
        expected = model.policy.get_distribution(torch.tensor(rows)).distribution
        value = model.policy.predict_values(torch.tensor(rows))[:, 0]
    outputs, found = network.apply(params, scale, rows)
    np.testing.assert_allclose(found, value, atol=1e-5)
    if isinstance(actions, Gaussian):
        np.testing.assert_allclose(outputs[:, :3], expected.mean, atol=1e-5)
        np.testing.assert_allclose(np.exp(outputs[:, 3:]), expected.stddev, atol=1e-5)
    else:
        normalised = jax.nn.log_softmax(outputs)
        np.testing.assert_allclose(normalised, expected.logits, rtol=1e-5, atol=1e-5)


def test_one_update_moves_the_weights_as_in_sb3(learner):
    import torch

    from agents.jaxrl.ppo import Learner, Method, Sample, Transition, improve

    kind, model, network, actions = learner
    rng, n = np.random.default_rng(4), 64
    rows = observations(rng, n)
    with torch.no_grad():
        action, value, log_prob = model.policy(torch.tensor(rows))
    # ratios on both sides of the clip
    old = (log_prob + 0.3 * torch.randn(n)).numpy()
    advantage, target = rng.normal(size=(2, n)).astype(np.float32)
    buffer = model.rollout_buffer
    buffer.observations[:, 0] = rows
    buffer.actions[:, 0] = action.numpy().reshape(n, -1)
    buffer.log_probs[:, 0], buffer.values[:, 0] = old, value[:, 0].numpy()
    buffer.advantages[:, 0], buffer.returns[:, 0] = advantage, target
    buffer.full = True
    params, scale = from_torch(model.policy, kind)
    model.train()

    method = Method(network, actions, n, n, 1, 1.0, 0.95, 0.2, 0.5, 0.5, False)
    begin = Learner(params, scale, method.optimiser.init(params))
    blank = np.zeros(n, np.float32)
    step = Transition(rows, None, action.numpy(), old, value[:, 0].numpy(), blank, blank)
    after, logged = jax.jit(improve, static_argnums=0)(
        method, begin, Sample(step, advantage, target), jax.random.key(0), 1e-2, 0.04
    )
    record = model.logger.name_to_value
    for name, theirs in (("value_loss", "value_loss"), ("policy_loss", "policy_gradient_loss")):
        np.testing.assert_allclose(logged[name], record[f"train/{theirs}"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logged["clip_fraction"], record["train/clip_fraction"], atol=1e-6)
    np.testing.assert_allclose(logged["approx_kl"], record["train/approx_kl"], rtol=1e-3)
    expected, _ = from_torch(model.policy, kind)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), after.params, expected)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(initial=0.0), params, expected)
    assert max(jax.tree.leaves(moved)) > 5e-3
