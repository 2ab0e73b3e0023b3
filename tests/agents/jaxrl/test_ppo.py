import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import runs
from agents.jaxrl import ppo
from agents.jaxrl.actions import Choices
from agents.jaxrl.network import Mlp, Scale
from agents.jaxrl.ppo import Args, Method, Sample, Transition, advantages, loss, train
from agents.jaxrl.store import flatten, load_policy, unflatten
from crs_gym.evaluation.results import read_all
from crs_gym.world import DataError

ROOT = Path(__file__).parents[3]
SMALL = {"belief_samples": 64, "candidates": 4, "max_turns": 3}


def arguments(world_file, out, **changes):
    """All runs have the same shapes: one program serves them all."""
    return Args(
        **{
            "env_kwargs": dict(SMALL),
            "world": world_file,
            "out": out,
            "total_steps": 512,
            "n_envs": 4,
            "n_steps": 32,
            "batch_size": 32,
            "n_epochs": 4,
            "learning_rate": 3e-3,
            "anneal": False,
            "net_width": 16,
            "validate_every": 256,
            "validation_episodes": 8,
            "checkpoint_every": 256,
            "evaluation_episodes": 0,
            "progress": False,
        }
        | changes
    )


@pytest.fixture(scope="module")
def whole(world_file, tmp_path_factory):
    """A run that was never disturbed: its folder, and what it returned."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, train(arguments(world_file, out, evaluation_episodes=8))


def same(a, b):
    trees = [(t.params, t.scale) for t in (a, b)]
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, *trees)))


# The parts


def test_advantages_agree_with_a_loop():
    rng = np.random.default_rng(0)
    steps, n, gamma, lam = 9, 5, 0.9, 0.8
    reward, value = rng.normal(size=(2, steps, n))
    done = (rng.random((steps, n)) < 0.3).astype(float)
    last = rng.normal(size=n)
    expected = np.zeros((steps, n))
    for b in range(n):
        for t in range(steps):
            weight = 1.0
            for k in range(t, steps):
                following = last[b] if k == steps - 1 else value[k + 1, b]
                error = reward[k, b] + gamma * (1 - done[k, b]) * following - value[k, b]
                expected[t, b] += weight * error
                if done[k, b]:
                    break
                weight *= gamma * lam
    found = advantages(*map(jnp.asarray, (reward, done, value, last)), gamma, lam)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_at_ratio_one_is_that_of_the_policy_gradient():
    actions = Choices((3,), single=True)
    network = Mlp(2, actions, 4)
    params, scale = network.init(jax.random.key(0)), Scale.of(2)
    method = Method(network, actions, 1, 6, 1, 1.0, 0.95, 0.2, 0.5, 0.5, False)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(6, 2)).astype(np.float32)
    advantage, target = rng.normal(size=(2, 6)).astype(np.float32)
    chosen, zero = np.array([0, 1, 2, 0, 1, 2]), np.zeros(6, np.float32)

    def log_prob(params):
        return actions.log_prob(network.apply(params, scale, rows)[0], None, chosen)

    step = Transition(rows, None, chosen, log_prob(params), zero, zero, zero)
    weight = (advantage - advantage.mean()) / advantage.std(ddof=1)

    def surrogate(params):
        value = network.apply(params, scale, rows)[1]
        return -(weight * log_prob(params)).mean() + 0.5 * ((value - target) ** 2).mean()

    sample = Sample(step, advantage, target)
    differentiate = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=2)
    (total, logged), found = differentiate(params, scale, method, sample, 0.0)
    assert total == pytest.approx(0.5 * float(logged["value_loss"]), abs=1e-6)
    assert logged["clip_fraction"] == 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        found,
        jax.jit(jax.grad(surrogate))(params),
    )


def test_trees_come_back_from_their_tensors():
    tree = {"a": [np.arange(3.0), np.float32(2)], "b": Scale.of(2)}
    tensors = flatten("x", tree)
    assert set(tensors) == {"x/a/0", "x/a/1", "x/b/count", "x/b/mean", "x/b/square"}
    tree = jax.tree.map(jnp.asarray, tree)
    back = unflatten("x", tree, flatten("x", tree), Path("file"))
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    with pytest.raises(DataError, match="file do not fit.*x/b/mean should be .*there is nothing"):
        unflatten(
            "x", tree, {k: v for k, v in flatten("x", tree).items() if "mean" not in k}, "file"
        )


# Whole runs


def test_a_run_leaves_a_policy_a_curve_and_a_result(whole):
    out, trained = whole
    assert trained.steps == 512
    assert [point["steps"] for point in trained.curve] == [0, 256, 512]
    assert json.loads((out / "curve.json").read_text()) == trained.curve
    loaded = load_policy(out)
    assert same(trained, loaded)
    assert loaded.curve == trained.curve
    (result,) = read_all(out / "results")
    assert (result.policy, result.training_steps, result.training_seed) == ("jax-ppo", 512, 0)
    config = json.loads((out / "config.json").read_text())
    assert config["network"] == "attribute"
    again = runs.evaluate(loaded, config["env"], {**SMALL, "world": config["world"]}, 0, 8)
    assert again.scores == result.scores
    assert again.path == result.path


def test_policies_obey_the_mask(whole):
    _, trained = whole
    observations = np.zeros((6, trained.scale.mean.size), np.float32)
    assert np.array_equal(trained.predict(observations, np.eye(6, dtype=bool)), np.arange(6))


def test_a_resumed_run_is_the_run_that_never_stopped(whole, world_file, tmp_path):
    _, undisturbed = whole
    compiled = ppo.update._cache_size()
    parts = arguments(world_file, tmp_path / "parts", total_steps=256)
    half = train(parts)
    assert not same(half, undisturbed)
    resumed = train(replace(parts, total_steps=512, resume=True))
    assert same(resumed, undisturbed)
    untimed = [
        [{**point, "seconds": 0} for point in trained.curve] for trained in (resumed, undisturbed)
    ]
    assert untimed[0] == untimed[1]
    # neither another update nor other conversations compile anything
    assert ppo.update._cache_size() == compiled


def test_a_tracker_is_told_of_updates_validations_and_the_evaluation(
    world_file, tmp_path, monkeypatch
):
    class Tracker:
        def __init__(self):
            self.steps, self.summary, self.closed = {}, {}, False

        def log(self, values, step):
            for name in values:
                self.steps.setdefault(name, []).append(step)

        def summarise(self, values):
            self.summary.update(values)

        def close(self):
            self.closed = True

    tracker = Tracker()
    monkeypatch.setattr(runs, "track", lambda *_: tracker)
    args = arguments(world_file, tmp_path / "run", total_steps=256, evaluation_episodes=8)
    train(replace(args, track=True))
    assert tracker.steps["train/value_loss"] == [128, 256]
    assert tracker.steps["validation/return"] == [0, 256]
    assert tracker.summary["episodes"] == 8
    assert tracker.closed


def test_seeds_differ(whole, world_file, tmp_path):
    other = train(arguments(world_file, tmp_path / "run", seed=1, total_steps=128))
    assert not same(other, whole[1])


def test_it_learns(world_file, tmp_path):
    args = arguments(
        world_file, tmp_path / "run", total_steps=4096, validate_every=4096, validation_episodes=256
    )
    before, after = train(args).curve
    assert after["return"] > before["return"] + 0.3
    # at random: 0.31
    assert after["return"] > 0.6


@pytest.mark.parametrize(
    "action",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("items", "candidates", "embedding")],
)
def test_other_actions(world_file, tmp_path, action):
    args = arguments(world_file, tmp_path / "run", total_steps=128, validation_episodes=0)
    args = replace(args, env="crs/Icer-v0", env_kwargs={**SMALL, "action": action})
    trained = train(args)
    env = ppo.make_env(args.env, {**args.env_kwargs, "world": world_file}, "train")
    observations = np.zeros((3, *env.observation_space.shape), np.float32)
    chosen = load_policy(args.out).predict(observations)
    assert all(env.action_space.contains(action) for action in chosen)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trained.params))


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world": "atlantis"}, "atlantis"),
        ({"env": "crs/Nothing-v0"}, "Nothing"),
        ({"env_kwargs": {"split": "evaluation"}}, "split cannot be in env_kwargs"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"batch_size": 48}, "48 does not divide 128"),
        ({"network": "attribute", "env": "crs/Icer-v0"}, "attribute network is for"),
    ],
)
def test_bad_arguments_say_what_is_wrong(world_file, tmp_path, change, message):
    args = arguments(world_file, tmp_path / "run")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        train(replace(args, **change))
    assert not args.out.exists()


def test_other_arguments_cannot_be_resumed(whole, world_file):
    args = arguments(world_file, whole[0])
    with pytest.raises(FileExistsError, match="--resume"):
        train(args)
    with pytest.raises(ValueError, match=r"learning_rate was 0.003, is 0.5"):
        train(replace(args, resume=True, learning_rate=0.5))


def test_a_finished_run_does_nothing(whole, world_file, capsys):
    again = train(arguments(world_file, whole[0], resume=True))
    assert "finished" in capsys.readouterr().out
    assert same(again, whole[1])


def test_a_file_of_another_learner_is_refused(whole, tmp_path):
    from agents.store import read, write

    tensors, state = read(whole[0] / "final.safetensors", "crs-gym jax policy 1")
    write(tmp_path / "other.safetensors", tensors, state | {"format": "crs-gym sb3 policy 2"})
    with pytest.raises(DataError, match="has format 'crs-gym sb3 policy 2'"):
        load_policy(tmp_path / "other.safetensors")


def test_the_command_line_has_help_and_needs_no_torch():
    code = (
        "import sys\n"
        "from agents.jaxrl.ppo import main\n"
        "sys.argv = ['ppo', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "loaded = {'torch', 'stable_baselines3', 'sb3_contrib', 'wandb'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "--env-kwargs" in done.stdout
