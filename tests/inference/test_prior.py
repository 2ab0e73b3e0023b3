"""The cold prior is the population's mean and variance."""

import numpy as np

from crs_gym.inference import population_prior


def test_law_of_total_variance(small_world):
    """Against draws: mean and deviation of phi_u over training users and their priors."""
    prior = population_prior(small_world)
    rng = np.random.default_rng(0)
    rows = rng.choice(np.flatnonzero(~small_world.evaluation), 100_000)
    noise = rng.standard_normal((100_000, small_world.dim))
    phi = small_world.user_mean[rows] + small_world.user_std[rows] * noise
    np.testing.assert_allclose(prior.mean, phi.mean(0), atol=4.5 * phi.std(0).max() / 100_000**0.5)
    # a variance of about normal draws has the relative error sqrt(2 / n)
    np.testing.assert_allclose(prior.std[1:], phi.std(0)[1:], rtol=4.5 / 200_000**0.5 * 1.5)
    assert prior.mean.dtype == prior.std.dtype == np.float32
    assert prior.mean.shape == prior.std.shape == (small_world.dim,)


def test_evaluation_users_are_not_looked_at(small_world):
    changed = small_world.user_mean.copy()
    changed[small_world.evaluation] += 100
    for one, other in zip(
        population_prior(small_world),
        population_prior(small_world.replace(user_mean=changed)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_two_users_by_hand(small_world):
    world = small_world.replace(
        user_mean=np.array([[1.0] * 8, [3.0] * 8, [50.0] * 8]),
        user_std=np.array([[1.0] * 8, [2.0] * 8, [9.0] * 8]),
        evaluation=np.array([False, False, True]),
    )
    prior = population_prior(world)
    np.testing.assert_allclose(prior.mean, [2.0] * 8)
    np.testing.assert_allclose(prior.std, [np.sqrt(1 + 2.5)] * 8, rtol=1e-6)
