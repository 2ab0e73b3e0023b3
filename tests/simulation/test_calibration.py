"""Calibrated worlds meet the targets, and the figures are what conversations show."""

from pathlib import Path

import jax
import numpy as np
import pytest

from crs_gym.inference import PriorSamples
from crs_gym.policies.reference import Oracle, Popularity, Random
from crs_gym.simulation import Simulator, rollout
from crs_gym.simulation.calibration import Targets, calibrate, measure
from crs_gym.users import UserModel
from crs_gym.world import World, build
from crs_gym.world.generate import generate


def assert_targets_hold(figures):
    assert figures["random"] <= 0.15
    assert figures["popularity"] <= 0.35
    assert figures["fixed"] <= 0.35 + 3 * 0.015  # other users: three standard errors of 1,024
    assert figures["oracle"] >= 0.95


def test_small_world(small_world):
    assert_targets_hold(small_world.report["calibration"])
    # on other users than the report's
    assert_targets_hold(measure(small_world, Targets(users=512), seed=77))


@pytest.mark.slow
def test_default_world():
    assert_targets_hold(calibrate(generate()).report["calibration"])


def test_utilities_are_in_units_of_their_mean_deviation(small_world):
    rng = np.random.default_rng(0)
    rows = rng.choice(np.flatnonzero(~small_world.evaluation), 2000)
    noise = rng.standard_normal((2000, small_world.dim))
    phi = small_world.user_mean[rows] + small_world.user_std[rows] * noise
    assert (phi @ small_world.item_embeddings.T).std(1).mean() == pytest.approx(1, abs=0.03)


def test_every_user_weighs_quality_alike(small_world):
    assert len(set(small_world.user_mean[:, 0].tolist())) == 1
    assert (small_world.user_std[:, 0] == 0).all()


def test_targets_attributes_have_the_deviation_asked_for(small_world):
    rng = np.random.default_rng(0)
    rows = rng.choice(np.flatnonzero(~small_world.evaluation), 2000)
    noise = rng.standard_normal((2000, small_world.dim))
    phi = small_world.user_mean[rows] + small_world.user_std[rows] * noise
    target = phi / np.linalg.norm(phi, axis=1, keepdims=True)
    target *= small_world.user_model["target_scale"]
    root_mean_square = np.sqrt(((target @ small_world.cavs.T) ** 2).mean())
    assert root_mean_square == pytest.approx(Targets().target_deviation, rel=0.05)


@pytest.mark.slow
def test_figures_are_the_rates_of_conversations(small_world):
    simulator = Simulator.of(small_world, split="evaluation")
    keys = jax.random.split(jax.random.key(0), 1500)
    figures = measure(small_world, Targets(users=1500), seed=5)
    for policy, turns in ((Random(), 7), (Popularity(), 7), (Oracle(), 1)):
        episodes = rollout(simulator, policy, PriorSamples.of(2, 8), keys)
        rate = float((episodes.accepted & (episodes.turns <= turns)).mean())
        figure = figures[policy.name]
        # two independent estimates, each with at most binomial variance
        assert abs(rate - figure) < 4 * np.sqrt(2 * figure * (1 - figure) / 1500)


def test_deterministic(small_world):
    again = calibrate(generate(600, 8, 6, 200, name="small"), Targets(users=512))
    assert again.hash == small_world.hash


def test_calibrating_anew_forgets_the_old_calibration(small_world):
    heavy = small_world.user_mean.copy()
    heavy[:, 0] *= 20  # as if quality had counted for far more before
    again = calibrate(small_world.replace(user_mean=heavy), Targets(users=512))
    assert dict(again.user_model) == dict(small_world.user_model)
    np.testing.assert_allclose(again.user_mean, small_world.user_mean, rtol=1e-3, atol=1e-5)


def test_items_attributes_and_split_stay(small_world):
    raw = generate(600, 8, 6, 200, name="small")
    np.testing.assert_array_equal(raw.item_embeddings, small_world.item_embeddings)
    np.testing.assert_array_equal(raw.cavs, small_world.cavs)
    np.testing.assert_array_equal(raw.evaluation, small_world.evaluation)
    # tastes keep their proportions
    ratio = small_world.user_mean[:, 1:] / raw.user_mean[:, 1:]
    np.testing.assert_allclose(ratio, np.full_like(ratio, ratio[0, 0]), rtol=1e-4)
    assert set(small_world.user_model) <= set(UserModel._fields)


def test_a_world_that_cannot_meet_the_targets():
    with pytest.raises(ValueError, match="no temperature from 0.1 to 0.05 meets"):
        calibrate(generate(60, 3, 2, 8), Targets(users=64))


BUNDLED = Path(build.__file__).parent / "data" / "generated.world"


@pytest.mark.skipif(not BUNDLED.exists(), reason="the world is not bundled yet")
def test_bundled_world_meets_the_targets():
    assert_targets_hold(measure(World.load(BUNDLED), seed=3))


@pytest.mark.slow
@pytest.mark.skipif(not BUNDLED.exists(), reason="the world is not bundled yet")
def test_bundled_world_can_be_built_again():
    bundled = World.load(BUNDLED)
    again = calibrate(generate(name=bundled.name))
    assert dict(again.user_model) == dict(bundled.user_model)
    assert again.titles == bundled.titles
    np.testing.assert_array_equal(again.evaluation, bundled.evaluation)
    for name in ("item_embeddings", "cavs", "popularity", "user_mean", "user_std"):
        np.testing.assert_allclose(
            getattr(again, name), getattr(bundled, name), rtol=1e-4, atol=1e-5, err_msg=name
        )
