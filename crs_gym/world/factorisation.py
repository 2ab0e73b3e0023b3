"""Variational Bayesian matrix factorisation of ratings, with learned variances.

    r_ui = mean + b_u + b_i + U_u . V_i + noise

The posteriors over [U_u, b_u] and [V_i, b_i] are Gaussian, one for each user and each item, and are
updated in turn (Lim & Teh 2007, after Salakhutdinov & Mnih 2007). Items have the prior N(0, I),
users N(0, diag(alpha)); alpha, the variances of the biases and the noise are learned. The users'
posteriors are what ICER (section 4) takes as the priors P_U over user embeddings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from crs_gym.world.errors import DataError
from crs_gym.world.ratings import Ratings

# Cells (ratings, with padding) and rows of one batch: 8 MB gathered, small enough for the caches.
_CELLS = 1 << 15
_ROWS = 128


class Iteration(NamedTuple):
    """Figures after one iteration, in units of the ratings."""

    train_rmse: float
    noise_std: float
    taste_std: float
    """Prior standard deviation of U_u . V_i."""


@dataclass(frozen=True, eq=False)
class Factorisation:
    """Posteriors of the factorisation of ratings of N items by U users in d dimensions.

    Floats are float32, in units of the ratings.

    Attributes:
        mean: the mean rating.
        user_bias, user_bias_std: (U,) posterior mean and standard deviation of b_u.
        item_bias, item_bias_std: (N,) the same of b_i.
        user_mean, user_std: (U, d) posterior mean and standard deviation of U_u.
        item_mean, item_std: (N, d) the same of V_i, whose prior is N(0, I).
        noise_std: standard deviation of a rating about U_u . V_i and the biases.
        prior_std: (d,) prior standard deviation of U_u, the square root of alpha.
        user_bias_prior_std, item_bias_prior_std: prior standard deviations of the biases.
        history: figures of each iteration.
    """

    mean: float
    user_bias: np.ndarray
    user_bias_std: np.ndarray
    item_bias: np.ndarray
    item_bias_std: np.ndarray
    user_mean: np.ndarray
    user_std: np.ndarray
    item_mean: np.ndarray
    item_std: np.ndarray
    noise_std: float
    prior_std: np.ndarray
    user_bias_prior_std: float
    item_bias_prior_std: float
    history: tuple[Iteration, ...]

    @property
    def dim(self) -> int:
        return len(self.prior_std)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """(R,) float32 expected ratings, not clipped, for (R,) user and item indices."""
        taste = np.einsum("rk,rk->r", self.user_mean[users], self.item_mean[items])
        expected = taste + self.user_bias[users] + self.item_bias[items]
        return (expected + np.float32(self.mean)).astype(np.float32)


def factorise(
    ratings: Ratings,
    d: int = 64,
    iterations: int = 20,
    seed: int = 0,
    progress: bool = False,
    *,
    taste_share: float = 0.6,
    guess_weight: float = 1.0,
) -> Factorisation:
    """Fits the model of this module to a table of ratings.

    alpha_k is the mean of E[U_uk^2] over the users and of a first guess, `taste_share` of the
    variance of the ratings divided by d, which weighs as much as `guess_weight` times the users.
    Without a guess mean field prunes nearly all dimensions of a small data set (8 of 64 are left
    on ml-latest-small) and predicts worse. The defaults were chosen on validation ratings, see
    `experiments/world/factorisation.py`.

    Items without ratings keep their prior. The result depends on the seed, not on the order of the
    ratings or on the number of threads (all cores are used).

    Args:
        ratings: R ratings; every user must have rated something.
        d: dimensions of the embeddings, at least 1.
        iterations: how often items and users are updated, at least 1; the held-out error of
            ml-latest-small moves by less than 0.002 after 20.
        seed: of the random start.
        progress: show a progress bar.
        taste_share: of the variance of the ratings, above 0.
        guess_weight: at least 0.

    Raises:
        ValueError: `d` or `iterations` is under 1, `taste_share` or `guess_weight` out of range.
        DataError: ratings that are not finite, or users without ratings.
    """
    if d < 1 or iterations < 1:
        raise ValueError(f"d={d} and iterations={iterations} must both be at least 1")
    if not (taste_share > 0 and guess_weight >= 0):
        raise ValueError(
            f"taste_share={taste_share} must be above 0 and guess_weight={guess_weight} at least 0"
        )
    _check(ratings)
    mean = float(ratings.values.mean(dtype=np.float64))
    spread = float(ratings.values.var(dtype=np.float64))
    # Ratings that are all alike, or have no biases, must not bring a variance down to 0.
    floor = 1e-4 * (spread or 1.0)
    guess = taste_share * max(spread, floor) / d
    noise = max(0.6 * spread, floor)
    user_prior = np.full(d + 1, guess)
    item_prior = np.ones(d + 1)
    user_prior[d] = item_prior[d] = max(0.2 * spread, floor)

    users = _Side(ratings.users, ratings.items, ratings.values, ratings.n_users, ratings.n_items)
    items = _Side(ratings.items, ratings.users, ratings.values, ratings.n_items, ratings.n_users)
    start = np.zeros((ratings.n_users, d + 1), np.float32)
    start[:, :d] = np.random.default_rng(seed).normal(0, np.sqrt(guess), (ratings.n_users, d))
    user = _Posterior(start, np.zeros_like(start), 0.0, 0.0)

    history: list[Iteration] = []
    n_ratings = len(ratings)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for step in tqdm(range(iterations), desc="factorisation", disable=not progress):
            if step:
                second = (user.mean**2 + user.variance).mean(0, dtype=np.float64)
                user_prior[:d] = (second[:d] + guess_weight * guess) / (1 + guess_weight)
                user_prior[d] = max(second[d], floor)
                noise = max(user.squares / n_ratings, floor)
            item = items.posterior(user, mean, item_prior, noise, pool)
            item_prior[d] = max(np.mean(item.mean[:, d] ** 2 + item.variance[:, d]), floor)
            noise = max(item.squares / n_ratings, floor)
            user = users.posterior(item, mean, user_prior, noise, pool)
            history.append(
                Iteration(
                    train_rmse=float(np.sqrt(max(user.residual, 0.0) / n_ratings)),
                    noise_std=float(np.sqrt(noise)),
                    taste_std=float(np.sqrt(user_prior[:d].sum())),
                )
            )
    user_std, item_std = np.sqrt(user.variance), np.sqrt(item.variance)
    return Factorisation(
        mean=mean,
        user_bias=user.mean[:, d],
        user_bias_std=user_std[:, d],
        item_bias=item.mean[:, d],
        item_bias_std=item_std[:, d],
        user_mean=user.mean[:, :d],
        user_std=user_std[:, :d],
        item_mean=item.mean[:, :d],
        item_std=item_std[:, :d],
        noise_std=float(np.sqrt(noise)),
        prior_std=np.sqrt(user_prior[:d]).astype(np.float32),
        user_bias_prior_std=float(np.sqrt(user_prior[d])),
        item_bias_prior_std=float(np.sqrt(item_prior[d])),
        history=tuple(history),
    )


def user_posteriors(
    fit: Factorisation, ratings: Ratings, rotation: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors over the user embeddings, P_U, in a rotated basis.

    The standard deviations are those of the rotated full covariance, which `fit` does not keep: the
    users are updated once more. In the basis of the fit and for the ratings it was made from, this
    gives `fit.user_mean` and `fit.user_std` again. `ratings` may also be of other users.

    Args:
        fit: a factorisation in d dimensions of N items.
        ratings: ratings of the same N items by U users.
        rotation: (d, d) orthogonal; an embedding x becomes `rotation @ x`. The identity by default.

    Returns:
        (U, d) float32 means and (U, d) float32 standard deviations.

    Raises:
        ValueError: `rotation` is not an orthogonal (d, d) matrix, or the numbers of items differ.
        DataError: ratings that are not finite, or users without ratings.
    """
    _check(ratings)
    n_items, d = fit.item_mean.shape
    if ratings.n_items != n_items:
        raise ValueError(f"the ratings are of {ratings.n_items} items, the fit of {n_items}")
    rotation = np.eye(d) if rotation is None else np.asarray(rotation)
    if rotation.shape != (d, d) or not np.allclose(rotation @ rotation.T, np.eye(d), atol=1e-4):
        raise ValueError(f"rotation must be an orthogonal ({d}, {d}) matrix")
    side = _Side(ratings.users, ratings.items, ratings.values, ratings.n_users, n_items)
    item = _Posterior(
        np.column_stack([fit.item_mean, fit.item_bias]),
        np.column_stack([fit.item_std, fit.item_bias_std]) ** 2,
        0.0,
        0.0,
    )
    prior = np.append(fit.prior_std, fit.user_bias_prior_std).astype(np.float64) ** 2
    # The bias is a coordinate of its own, which the rotation leaves alone.
    basis = np.eye(d + 1, dtype=np.float32)
    basis[:d, :d] = rotation
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        user = side.posterior(item, fit.mean, prior, fit.noise_std**2, pool, basis)
    return user.mean[:, :d], np.sqrt(user.variance[:, :d])


def _check(ratings: Ratings) -> None:
    if not np.isfinite(ratings.values).all():
        row = int(np.argmin(np.isfinite(ratings.values)))
        raise DataError(f"values[{row}] is {ratings.values[row]}; ratings must be finite")
    silent = ratings.users_without_ratings
    if len(silent):
        raise DataError(
            f"{len(silent)} users have no ratings, the first with id {silent[0]}; nothing can be "
            "learned about them: remove them with `ratings.filtered()`"
        )


class _Posterior(NamedTuple):
    """Gaussian posteriors of one side: (n, d + 1) means and variances, the bias last.

    `squares` is the expected sum of squared errors, `residual` that sum at the means.
    """

    mean: np.ndarray
    variance: np.ndarray
    squares: float
    residual: float


class _Side:
    """The ratings from the side of the users (or of the items): rows of equal length together."""

    def __init__(
        self, own: np.ndarray, other: np.ndarray, values: np.ndarray, n_own: int, n_other: int
    ) -> None:
        # Also by the other index, so that the order of the ratings leaves no trace in the sums.
        order = np.argsort(own * np.int64(n_other) + other, kind="stable")
        self._other = other[order]
        self._values = values[order]
        self._counts = np.bincount(own, minlength=n_own)
        self._starts = np.cumsum(self._counts) - self._counts
        self._padding = n_other

    def posterior(
        self,
        other: _Posterior,
        mean: float,
        prior: np.ndarray,
        noise: float,
        pool: ThreadPoolExecutor,
        basis: np.ndarray | None = None,
    ) -> _Posterior:
        """Updates this side given the other one; see `_solve`."""
        n_other, width = other.mean.shape
        d = width - 1
        # One gather for each batch brings all that is needed of the other side; the last row is 0
        # and pads short rows.
        table = np.zeros((n_other + 1, 2 * width + 1), np.float32)
        table[:-1, :d] = other.mean[:, :d]
        table[:-1, d] = 1
        table[:-1, width] = mean + other.mean[:, d]
        table[:-1, width + 1 :] = other.variance
        precision = (1 / prior).astype(np.float32)

        def solve(rows: np.ndarray) -> _Posterior:
            index, values = self._padded(rows)
            return _solve(table[index], values, precision, np.float32(noise), basis)

        n_own = len(self._counts)
        result = np.empty((n_own, width), np.float32), np.empty((n_own, width), np.float32)
        squares = residual = 0.0
        batches = list(self._batches())
        for rows, part in zip(batches, pool.map(solve, batches), strict=True):
            result[0][rows], result[1][rows] = part.mean, part.variance
            squares += part.squares
            residual += part.residual
        return _Posterior(*result, squares, residual)

    def _batches(self) -> Iterator[np.ndarray]:
        rows = np.argsort(self._counts, kind="stable")
        lengths = self._counts[rows]
        first = 0
        while first < len(rows):
            window = lengths[first : first + _ROWS]
            size = max(int((window * np.arange(1, len(window) + 1) <= _CELLS).sum()), 1)
            yield rows[first : first + size]
            first += size

    def _padded(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(b, n) indices of the other side and (b, n) float32 ratings, padded at the end."""
        counts = self._counts[rows][:, None]
        column = np.arange(counts.max())
        filled = column < counts
        place = np.where(filled, self._starts[rows][:, None] + column, 0)
        index = np.where(filled, self._other[place], self._padding)
        return index, np.where(filled, self._values[place], 0).astype(np.float32)


def _solve(
    gathered: np.ndarray,
    values: np.ndarray,
    precision: np.ndarray,
    noise: np.float32,
    basis: np.ndarray | None,
) -> _Posterior:
    """Posteriors of b rows of one side, given the n ratings of each and the other side.

    Args:
        gathered: (b, n, 2 d + 3) for each rating the other side's mean, a 1, its bias plus the mean
            rating, and the variances of its embedding and bias.
        values: (b, n) ratings.
        precision: (d + 1,) of the prior.
        noise: variance.
        basis: (d + 1, d + 1) the basis of the means and variances returned; None for the same.
    """
    width = len(precision)
    features = gathered[..., :width]
    target = values - gathered[..., width]
    spread = gathered[..., width + 1 :].sum(1)
    bias_variance = float(spread[:, -1].sum())
    spread[:, -1] = 0
    # E[x x'] of the other side with the diagonal of its covariance: the whole one would be a
    # (d, d) matrix for each rating, and on ml-latest-small predicted worse.
    posterior = features.swapaxes(1, 2) @ features / noise
    diagonal = np.arange(width)
    posterior[:, diagonal, diagonal] += precision + spread / noise
    covariance = _inverse(posterior)
    moment = (target[:, None, :] @ features)[:, 0]
    mean = (covariance @ moment[..., None])[..., 0] / noise
    variance = covariance[:, diagonal, diagonal]

    squared = np.square(mean)
    fitted = float(np.square(target).sum() - (mean * moment).sum())
    residual = fitted - float((noise * precision * squared).sum() + (spread * squared).sum())
    # The expectation of the squared errors but for the products of two posterior variances: with
    # many weak dimensions mean field, which takes the sides as independent, makes these larger
    # than the noise itself.
    squares = (
        fitted
        + bias_variance
        + float((noise * (1 - precision * (squared + variance))).sum())
        - float((spread * variance).sum())
    )
    if basis is not None:
        mean = mean @ basis.T
        variance = ((basis @ covariance) * basis).sum(-1)
    return _Posterior(mean, variance, squares, residual)


def _inverse(matrices: np.ndarray) -> np.ndarray:
    """Inverses of (b, n, n) symmetric positive definite matrices, by halves (Schur complement).

    Nearly all the work is in matrix products: 2.4 times faster at n = 65 than `numpy.linalg.inv`,
    and twice as fast as a Cholesky factor and its inverse.
    """
    half = matrices.shape[-1] // 2
    if half < 5:
        small: np.ndarray = np.linalg.inv(matrices)
        return small
    corner = _inverse(matrices[:, :half, :half])
    side = matrices[:, half:, :half] @ corner
    rest = _inverse(matrices[:, half:, half:] - side @ matrices[:, :half, half:])
    across = rest @ side
    inverse = np.empty_like(matrices)
    inverse[:, :half, :half] = corner + side.swapaxes(1, 2) @ across
    inverse[:, half:, :half] = -across
    inverse[:, :half, half:] = -across.swapaxes(1, 2)
    inverse[:, half:, half:] = rest
    return inverse
