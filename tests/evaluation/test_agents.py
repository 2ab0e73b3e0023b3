import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.evaluation.agents import evaluate, play
from crs_gym.evaluation.benchmark import make_env
from crs_gym.policies.reference import BeliefGreedy
from crs_gym.simulation import evaluation_keys, evaluation_seeds, rollout
from crs_gym.world import World


def always(action):
    def predict(observations, masks):
        return np.full(len(observations), action)

    return predict


def numbers(observations, masks):
    """Some deterministic policy that uses turn and mask, and not the last bits of floats."""
    options = np.cumsum(masks, axis=1)
    turn = np.round(observations[:, 0] * 1000).astype(int)
    return np.argmax(options > (turn * 7)[:, None] % options[:, -1:], axis=1)


def single(env, predict, seed):
    """One episode by the Gymnasium interface: what `play` should have given."""
    observation, info = env.reset(seed=seed)
    total, done = 0.0, False
    while not done:
        masks = info.get("action_mask")
        masks = None if masks is None else masks[None].astype(bool)
        action = predict(observation[None], masks)[0]
        observation, reward, terminated, truncated, info = env.step(action)
        total, done = total + reward, terminated or truncated
    return info["turn"], total, info


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "kwargs", "predict"),
    [
        ("crs/IcerMacro-v0", {"candidates": 4}, always(3)),
        ("crs/IcerMacro-v0", {"candidates": 4, "prior": "personal"}, always(0)),
        ("crs/Icer-v0", {"action": "candidates", "candidates": 4}, numbers),
        (
            "crs/Icer-v0",
            {"action": "embedding", "user_model": {"leave_base": 0.3}},
            None,
        ),
    ],
)
def test_play_gives_what_single_environments_play(plane_world, env_id, kwargs, predict):
    kwargs = {**kwargs, "world": plane_world, "belief_samples": 64, "max_turns": 4}
    env = gymnasium.make(env_id, **kwargs)
    if predict is None:
        (size,) = env.action_space.shape or ()

        def predict(observations, masks):
            assert masks is None
            return np.ones((len(observations), size), np.float32)

    seeds = [5, 0, 12, 7, 1]
    played = play(env_id, kwargs, predict, seeds, batch=3)
    assert played.reward.shape == (5,)
    for i, seed in enumerate(seeds):
        length, total, info = single(env, predict, seed)
        act, response = played.history
        for t, (mine, theirs) in enumerate(turns_of(env)):
            assert np.array_equal(act.slate[i, t], mine.slate)
            assert act.kind[i, t] == mine.kind
            assert act.attribute[i, t] == mine.attribute
            assert response.kind[i, t] == theirs.kind
            assert response.slot[i, t] == theirs.slot
        assert length == played.turns[i]
        assert played.reward[i] == pytest.approx(total, abs=1e-5)
        assert played.user_id[i] == info["user_id"]
        assert played.accepted[i] == info["is_success"]
        assert played.left[i] == info["left"]
        assert played.utility[i] == pytest.approx(info["quality"], abs=1e-5)


def turns_of(env):
    history = env.unwrapped.talk.state.history
    act, response = history
    for t in range(int(env.unwrapped.talk.state.context.turn)):
        yield (
            type(act)(*(np.asarray(field)[t] for field in act)),
            type(response)(*(np.asarray(field)[t] for field in response)),
        )


@pytest.mark.slow
def test_play_agrees_with_rollout(plane_world: World) -> None:
    kwargs = {"world": plane_world, "belief_samples": 64, "split": "evaluation", "candidates": 4}
    env = make_env("crs/IcerMacro-v0", kwargs, "evaluation")
    keys = evaluation_keys(3, 20)
    expected = rollout(env.core.simulator, BeliefGreedy(), env.core.inference, keys)
    played = play("crs/IcerMacro-v0", kwargs, always(0), evaluation_seeds(3, 20), batch=8)
    for name in ("user_id", "turns", "accepted", "left"):
        assert np.array_equal(getattr(played, name), getattr(expected, name)), name
    np.testing.assert_allclose(played.reward, expected.reward, atol=1e-5)
    np.testing.assert_allclose(played.utility, expected.utility, atol=1e-5)
    assert np.array_equal(played.history.act.slate, jnp.asarray(expected.history.act.slate))
    assert np.array_equal(played.history.response.kind, expected.history.response.kind)


@pytest.mark.slow
def test_the_number_of_episodes_at_a_time_does_not_matter(plane_world: World) -> None:
    kwargs = {"world": plane_world, "belief_samples": 64, "candidates": 4}
    few, many = (
        play("crs/IcerMacro-v0", kwargs, always(2), np.arange(7), batch) for batch in (2, 7)
    )
    assert np.array_equal(few.user_id, many.user_id)
    assert np.array_equal(few.history.response.kind, many.history.response.kind)


def test_evaluate_takes_evaluation_users(plane_world: World) -> None:
    kwargs = {"world": plane_world, "belief_samples": 64, "candidates": 4, "split": "train"}
    result = evaluate(
        "crs/IcerMacro-v0", kwargs, always(0), policy="first", evaluation_seed=2, episodes=9
    )
    assert all(plane_world.evaluation[user] for user in result.user_ids)
    assert list(result.episode_seeds) == evaluation_seeds(2, 9).tolist()
    assert result.world_hash == plane_world.hash
    assert not {"split", "world"} & set(result.env_kwargs)


def test_bad_actions_are_named(plane_world: World) -> None:
    kwargs = {"world": plane_world, "belief_samples": 64, "candidates": 4}
    with pytest.raises(ValueError, match="99"):
        play("crs/IcerMacro-v0", kwargs, always(99), [0])
    with pytest.raises(ValueError, match="shape"):
        play("crs/IcerMacro-v0", kwargs, lambda o, m: np.zeros(2, int), [0, 1, 2], batch=3)
    with pytest.raises(ValueError, match="at least one seed"):
        play("crs/IcerMacro-v0", kwargs, always(0), [])


def test_other_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="CartPole-v1.*crs/IcerMacro-v0"):
        play("CartPole-v1", {}, always(0), [0])
