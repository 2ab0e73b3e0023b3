"""Factorisation: closed forms, planted structure, invariances, real data, bad input."""

import os
from dataclasses import replace

import numpy as np
import pytest

from crs_gym.world.errors import DataError
from crs_gym.world.factorisation import Factorisation, factorise, user_posteriors
from crs_gym.world.movielens import read_movielens
from crs_gym.world.ratings import Ratings


def table(users: np.ndarray, items: np.ndarray, values: np.ndarray) -> Ratings:
    n_users, n_items = int(users.max()) + 1, int(items.max()) + 1
    return Ratings(
        users=users,
        items=items,
        values=values,
        user_ids=np.arange(n_users),
        item_ids=np.arange(n_items),
        titles=tuple(f"Film {i}" for i in range(n_items)),
        years=np.zeros(n_items, np.int16),
        genres=((),) * n_items,
    )


def planted(
    n_users: int, n_items: int, rank: int, share: float, noise: float, seed: int
) -> Ratings:
    """Ratings 5 + tastes + noise of a random share of all pairs."""
    rng = np.random.default_rng(seed)
    u, v = rng.normal(size=(n_users, rank)), rng.normal(size=(n_items, rank))
    full = 5 + (u @ v.T) * 0.8 / np.sqrt(rank) + noise * rng.normal(size=(n_users, n_items))
    rated = rng.random((n_users, n_items)) < share
    rated[:, 0] = rated[0] = True
    users, items = np.nonzero(rated)
    return table(users, items, np.clip(full[users, items], 0.1, 10).astype(np.float32))


def shuffled(ratings: Ratings, order: np.ndarray) -> Ratings:
    return replace(
        ratings,
        users=ratings.users[order],
        items=ratings.items[order],
        values=ratings.values[order],
    )


def rmse(fit: Factorisation, ratings: Ratings) -> float:
    errors = fit.predict(ratings.users, ratings.items) - ratings.values
    return float(np.sqrt(np.mean(errors**2)))


@pytest.fixture(scope="module")
def small() -> Ratings:
    return planted(40, 30, 3, 0.4, 0.3, seed=0)


@pytest.fixture(scope="module")
def small_fit(small: Ratings) -> Factorisation:
    return factorise(small, d=5, iterations=8)


def ridge(fit: Factorisation, items: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Posterior of one user's [U, b_u] by textbook Bayesian regression on uncertain inputs."""
    d = fit.dim
    design = np.column_stack([fit.item_mean[items], np.ones(len(items))]).astype(np.float64)
    spread = np.append((fit.item_std[items].astype(np.float64) ** 2).sum(0), 0)
    prior = np.append(fit.prior_std.astype(np.float64), fit.user_bias_prior_std) ** 2
    noise = fit.noise_std**2
    precision = np.diag(1 / prior) + (design.T @ design + np.diag(spread)) / noise
    covariance = np.linalg.inv(precision)
    mean = covariance @ design.T @ (values - fit.mean - fit.item_bias[items]) / noise
    return mean[:d], mean[d], covariance


def test_a_user_is_a_bayesian_regression_on_the_items(
    small: Ratings, small_fit: Factorisation
) -> None:
    mean, std = user_posteriors(small_fit, small)
    for user in range(small.n_users):
        rows = small.users == user
        taste, bias, covariance = ridge(small_fit, small.items[rows], small.values[rows])
        np.testing.assert_allclose(mean[user], taste, atol=2e-4)
        np.testing.assert_allclose(small_fit.user_mean[user], taste, atol=2e-4)
        np.testing.assert_allclose(small_fit.user_bias[user], bias, atol=2e-4)
        deviations = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(std[user], deviations[:-1], rtol=1e-4)
        np.testing.assert_allclose(small_fit.user_bias_std[user], deviations[-1], rtol=1e-4)


def test_rotated_posteriors_are_those_of_the_full_covariance(
    small: Ratings, small_fit: Factorisation
) -> None:
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    mean, std = user_posteriors(small_fit, small, rotation)
    assert mean.shape == std.shape == (small.n_users, 5)
    assert mean.dtype == std.dtype == np.float32
    for user in range(small.n_users):
        rows = small.users == user
        taste, _, covariance = ridge(small_fit, small.items[rows], small.values[rows])
        np.testing.assert_allclose(mean[user], rotation @ taste, atol=2e-4)
        rotated = rotation @ covariance[:5, :5] @ rotation.T
        np.testing.assert_allclose(std[user], np.sqrt(np.diag(rotated)), rtol=1e-4)


def test_posteriors_of_new_users_on_the_same_items(
    small: Ratings, small_fit: Factorisation
) -> None:
    some = np.isin(small.users, [3, 4])
    newcomers = replace(
        small,
        users=small.users[some] - 3,
        items=small.items[some],
        values=small.values[some],
        user_ids=small.user_ids[3:5],
    )
    mean, std = user_posteriors(small_fit, newcomers)
    np.testing.assert_allclose(mean, small_fit.user_mean[3:5], atol=1e-5)
    np.testing.assert_allclose(std, small_fit.user_std[3:5], rtol=1e-5)


def test_planted_tastes_are_recovered() -> None:
    ratings = planted(300, 200, 4, 0.3, 0.3, seed=2)
    train, test = ratings.split(0.1, 0)
    fit = factorise(train, d=12, iterations=20)
    assert rmse(fit, test) < 0.38
    assert fit.noise_std == pytest.approx(0.3, abs=0.06)
    contribution = (fit.user_mean**2).mean(0) * (fit.item_mean**2).mean(0)
    contribution = np.sort(contribution)[::-1]
    assert contribution[:4].sum() > 0.95 * contribution.sum()


def test_planted_biases_are_recovered() -> None:
    rng = np.random.default_rng(3)
    user, item = rng.normal(0, 0.5, 200), rng.normal(0, 0.8, 150)
    users, items = np.nonzero(rng.random((200, 150)) < 0.4)
    values = 5 + user[users] + item[items] + rng.normal(0, 0.4, len(users))
    ratings = table(users, items, np.clip(values, 0.1, 10).astype(np.float32))
    fit = factorise(ratings, d=2)
    assert np.corrcoef(fit.user_bias, user)[0, 1] > 0.98
    assert np.corrcoef(fit.item_bias, item)[0, 1] > 0.98
    assert fit.user_bias_prior_std == pytest.approx(user.std(), rel=0.15)
    assert fit.item_bias_prior_std == pytest.approx(item.std(), rel=0.15)
    assert fit.noise_std == pytest.approx(0.4, rel=0.15)


def test_the_user_with_more_ratings_is_known_better() -> None:
    ratings = planted(60, 80, 2, 0.5, 0.3, seed=4)
    keep = (ratings.users > 0) | (ratings.items < 3)
    thin = shuffled(ratings, np.flatnonzero(keep))
    fit = factorise(thin, d=4)
    assert fit.user_std[0].mean() > 1.5 * fit.user_std[1:].mean()


def test_the_order_of_the_ratings_leaves_no_trace(small: Ratings, small_fit: Factorisation) -> None:
    order = np.random.default_rng(5).permutation(len(small))
    again = factorise(shuffled(small, order), d=5, iterations=8)
    np.testing.assert_allclose(again.item_mean, small_fit.item_mean, atol=1e-6)
    np.testing.assert_allclose(again.user_std, small_fit.user_std, rtol=1e-6)
    np.testing.assert_allclose(again.history, small_fit.history, rtol=1e-9)


def test_relabelling_users_and_items_gives_an_equivalent_fit() -> None:
    ratings = planted(120, 90, 2, 0.4, 0.3, seed=6)
    rng = np.random.default_rng(7)
    user, item = rng.permutation(120), rng.permutation(90)
    other = table(user[ratings.users], item[ratings.items], ratings.values)
    first, second = factorise(ratings, d=3, iterations=40), factorise(other, d=3, iterations=40)
    expected = first.predict(ratings.users, ratings.items)
    relabelled = second.predict(other.users, other.items)
    assert np.sqrt(np.mean((expected - relabelled) ** 2)) < 0.05


def test_seeds_decide(small: Ratings, small_fit: Factorisation) -> None:
    again = factorise(small, d=5, iterations=8)
    np.testing.assert_array_equal(again.user_mean, small_fit.user_mean)
    assert not np.allclose(factorise(small, 5, 8, seed=1).user_mean, small_fit.user_mean)


def test_scale_of_the_ratings_does_not_matter(small: Ratings, small_fit: Factorisation) -> None:
    doubled = factorise(replace(small, values=small.values / 2), d=5, iterations=8)
    expected = small_fit.predict(small.users, small.items) / 2
    np.testing.assert_allclose(doubled.predict(small.users, small.items), expected, atol=1e-3)
    assert doubled.noise_std == pytest.approx(small_fit.noise_std / 2, rel=1e-3)


def test_shapes_history_and_prediction(small: Ratings, small_fit: Factorisation) -> None:
    assert small_fit.user_mean.shape == small_fit.user_std.shape == (40, 5)
    assert small_fit.item_mean.shape == small_fit.item_std.shape == (30, 5)
    assert small_fit.prior_std.shape == (5,)
    assert small_fit.predict(small.users, small.items).dtype == np.float32
    assert len(small_fit.history) == 8
    assert small_fit.history[-1].train_rmse == pytest.approx(rmse(small_fit, small), rel=1e-3)
    assert small_fit.history[-1].train_rmse < small_fit.history[0].train_rmse


def test_an_item_without_ratings_keeps_its_prior(small: Ratings) -> None:
    keep = np.flatnonzero(small.items != 7)
    fit = factorise(shuffled(small, keep), d=5, iterations=4)
    np.testing.assert_allclose(fit.item_mean[7], 0, atol=1e-6)
    np.testing.assert_allclose(fit.item_std[7], 1, rtol=1e-5)


def test_constant_ratings_do_not_break_it(small: Ratings) -> None:
    flat = replace(small, values=np.full(len(small), 3, np.float32))
    fit = factorise(flat, d=3, iterations=5)
    np.testing.assert_allclose(fit.predict(flat.users, flat.items), 3, atol=1e-3)
    assert np.isfinite(fit.user_std).all()


@pytest.mark.parametrize("arguments", [{"d": 0}, {"iterations": 0}, {"taste_share": 0.0}])
def test_bad_arguments(small: Ratings, arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least|above"):
        factorise(small, **arguments)  # type: ignore[arg-type]


def test_ratings_that_are_not_finite(small: Ratings) -> None:
    values = small.values.copy()
    values[17] = np.nan
    broken = replace(small)
    object.__setattr__(broken, "values", values)
    with pytest.raises(DataError, match=r"values\[17\] is nan"):
        factorise(broken)


def test_users_without_ratings(small: Ratings, small_fit: Factorisation) -> None:
    thin = shuffled(small, np.flatnonzero(small.users != 11))
    with pytest.raises(DataError, match=r"id 11.*filtered"):
        factorise(thin)
    with pytest.raises(DataError, match=r"id 11"):
        user_posteriors(small_fit, thin)


def test_rotations_must_be_rotations(small: Ratings, small_fit: Factorisation) -> None:
    for rotation in (np.eye(4), np.ones((5, 5)), 2 * np.eye(5)):
        with pytest.raises(ValueError, match="orthogonal"):
            user_posteriors(small_fit, small, rotation)
    other = planted(40, 31, 2, 0.5, 0.3, seed=8)
    with pytest.raises(ValueError, match="31 items"):
        user_posteriors(small_fit, other)


@pytest.mark.skipif("CRS_GYM_DATA" not in os.environ, reason="CRS_GYM_DATA is not set")
def test_real_ratings_are_predicted_to_082() -> None:
    folder = os.path.join(os.environ["CRS_GYM_DATA"], "ml-latest-small")
    ratings = read_movielens(folder).filtered(min_item_ratings=20)
    train, test = ratings.split(0.1, 0)
    assert rmse(factorise(train, d=64, iterations=10), test) < 0.82
