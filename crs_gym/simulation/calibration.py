"""Sets the user model of a world so that conversations are neither trivial nor hopeless.

A build step with targets, all over seven turns of two-item recommendations on training users:
random recommendations succeed rarely, popular ones not often, an oracle at once. Acceptance has a
closed form given phi_u, so the targets are measured without playing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from crs_gym.inference import population_prior
from crs_gym.users import UserModel, choice, items_of
from crs_gym.users.model import null_utility, target_attributes
from crs_gym.world import World


@dataclass(frozen=True)
class Targets:
    """What the calibration aims at.

    random, popularity, fixed: highest rate of success over `turns` turns; fixed is the sequence
        of best items for the population's mean taste.
    oracle: lowest rate of success at turn 1.
    aim: share of each upper limit that is aimed at, and oracle_aim what is aimed at instead of
        `oracle`, so that the targets hold for other users too.
    turns, slate_size: of the conversations.
    target_deviation: root mean square, over users and attributes, of the target item's attributes,
        in deviations over the items; sets `target_scale`.
    users: how many phi_u are drawn.
    """

    random: float = 0.15
    popularity: float = 0.35
    fixed: float = 0.35
    oracle: float = 0.95
    aim: float = 0.93
    oracle_aim: float = 0.96
    turns: int = 7
    slate_size: int = 2
    target_deviation: float = 1.5
    users: int = 2048


class Slates(NamedTuple):
    """(users, shown) items that each rule offers to each user, in order."""

    random: np.ndarray
    popularity: np.ndarray
    fixed: np.ndarray


TEMPERATURES = (0.1, 0.075, 0.05)
# at most 0.2: tastes decide, not what nearly everybody holds for good
QUALITY_WEIGHTS = (0.2, 0.15, 0.1, 0.05, 0.0)
NULL_Z = tuple(np.round(np.arange(1.0, 4.0001, 0.05), 2))


def calibrate(world: World, targets: Targets | None = None, seed: int = 0) -> World:
    """The world with quality weight, utility scale and user model set, and a report of it.

    The largest of `QUALITY_WEIGHTS` with which all targets can be met, at the highest temperature
    that meets them, the null item being as low as random, popularity and fixed allow.

    Args:
        world: as `assemble` makes it, or calibrated before (then it is calibrated anew).
    """
    targets = targets or Targets()
    items = items_of(world)
    embeddings = _draw(world, targets.users, seed, users=~world.evaluation)
    embeddings[:, 0] = 0.0
    tastes = embeddings @ world.item_embeddings.T
    tastes -= tastes.mean(1, keepdims=True)
    quality = world.item_embeddings[:, 0] - world.item_embeddings[:, 0].mean()
    unit = float(np.sqrt((tastes**2).mean()))
    mean_user = world.user_mean[~world.evaluation].mean(0)
    mean_tastes = (mean_user[1:] @ world.item_embeddings[:, 1:].T) / unit
    best: dict[str, Any] | None = None
    for weight, temperature in product(QUALITY_WEIGHTS, TEMPERATURES):
        utilities = tastes / unit + weight * quality
        utilities /= utilities.std(1).mean()
        slates = _slates(world.popularity, mean_tastes + weight * quality, targets, seed)
        figures = _lowest_null(utilities, temperature, targets, slates)
        if figures is not None and figures["oracle"] >= targets.oracle_aim:
            best = {"quality_weight": float(weight), **figures}
            break
    if best is None:
        raise ValueError(
            f"no temperature from {TEMPERATURES[0]} to {TEMPERATURES[-1]} meets {targets} with any "
            "weight of quality; the items may be too few, or the users too much alike"
        )

    user_mean, user_std = world.user_mean.copy(), world.user_std.copy()
    user_mean[:, 1:] /= unit
    user_std[:, 1:] /= unit
    user_mean[:, 0], user_std[:, 0] = best["quality_weight"], 0.0
    embeddings[:, 1:] /= unit
    embeddings[:, 0] = best["quality_weight"]
    scale = (embeddings @ world.item_embeddings.T).std(1).mean()
    model = UserModel(temperature=best["temperature"], null_z=best["null_z"], target_scale=1.0)
    targets_seen = target_attributes(jnp.asarray(embeddings / scale), items, model)
    spread = float(jnp.sqrt(jnp.mean(targets_seen**2)))
    target_scale = round(targets.target_deviation / spread, 2)
    user_model = {
        "temperature": best["temperature"],
        "null_z": best["null_z"],
        "target_scale": target_scale,
        "answer_noise": UserModel._field_defaults["answer_noise"],
    }
    calibrated = world.replace(
        user_mean=user_mean / scale, user_std=user_std / scale, user_model=user_model
    )
    report = {**world.report, "calibration": measure(calibrated, targets, seed + 1)}
    report["calibration"]["quality_weight"] = best["quality_weight"]
    return calibrated.replace(report=report)


def measure(world: World, targets: Targets | None = None, seed: int = 0) -> dict[str, float]:
    """The calibration's figures for `world` as it is, on evaluation users."""
    targets = targets or Targets()
    embeddings = _draw(world, targets.users, seed, users=world.evaluation)
    utilities = embeddings @ world.item_embeddings.T
    items, model = items_of(world), UserModel.of(world)
    null = np.asarray(null_utility(jnp.asarray(embeddings), items, model))
    mean_utility = population_prior(world).mean @ world.item_embeddings.T
    slates = _slates(world.popularity, mean_utility, targets, seed)
    rates = _success(utilities, null, model.temperature, slates, targets.slate_size)
    top = utilities.argsort(1)[:, -1]
    counts = np.bincount(top, minlength=world.n_items)
    norms = np.linalg.norm(world.item_embeddings, axis=1)
    return {
        **{key: round(float(value), 4) for key, value in rates.items()},
        "utility_deviation": round(float(utilities.std(1).mean()), 3),
        "quality_share": round(_quality_share(world, embeddings), 3),
        "favourites": int((counts > 0).sum()),
        "top_favourite_share": round(float(counts.max() / counts.sum()), 3),
        "foregone_answers": round(_foregone(world, embeddings, model), 3),
        "foregone_answers_at_largest_norm": round(
            _foregone(world, embeddings, model._replace(target_scale=float(norms.max()))), 3
        ),
    }


def _draw(world: World, count: int, seed: int, users: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.choice(np.flatnonzero(users), count)
    noise = rng.standard_normal((count, world.dim))
    return (world.user_mean[rows] + world.user_std[rows] * noise).astype(np.float32)


def _lowest_null(
    utilities: np.ndarray, temperature: float, targets: Targets, slates: Slates
) -> dict[str, float] | None:
    """The lowest null item at which all rules keep their limits, by bisection."""
    low, high = 0, len(NULL_Z) - 1
    found = None
    mean, spread = utilities.mean(1), utilities.std(1)
    while low <= high:
        middle = (low + high) // 2
        null = mean + NULL_Z[middle] * spread
        rates = _success(utilities, null, temperature, slates, targets.slate_size)
        within = all(rates[rule] <= targets.aim * getattr(targets, rule) for rule in Slates._fields)
        if within:
            found = {"temperature": temperature, "null_z": float(NULL_Z[middle]), **rates}
            high = middle - 1
        else:
            low = middle + 1
    return found


def _slates(
    popularity: np.ndarray, mean_utility: np.ndarray, targets: Targets, seed: int
) -> Slates:
    n_items, k = len(popularity), targets.slate_size
    shown = k * min(targets.turns, n_items // k)
    rng = np.random.default_rng(seed)
    random = np.stack([rng.choice(n_items, shown, replace=False) for _ in range(targets.users)])
    orders = (np.argsort(-x, kind="stable")[:shown] for x in (popularity, mean_utility))
    return Slates(random, *(np.broadcast_to(order, random.shape) for order in orders))


def _success(
    utilities: np.ndarray, null: np.ndarray, temperature: float, slates: Slates, k: int
) -> dict[str, float]:
    """Rates of success: the rules over all turns, the oracle at turn 1."""
    users = len(utilities)
    best = np.argpartition(-utilities, k - 1, axis=1)[:, :k]

    def rate(shown: np.ndarray) -> float:
        values = np.take_along_axis(utilities, shown, 1).reshape(users, -1, k)
        log_reject = choice.log_probs(
            jnp.asarray(values), jnp.float32(temperature), jnp.asarray(null)[:, None]
        )[..., -1]
        return float(1.0 - jnp.exp(log_reject.sum(1)).mean())

    rates = {rule: rate(shown) for rule, shown in slates._asdict().items()}
    return {**rates, "oracle": rate(best)}


def _quality_share(world: World, embeddings: np.ndarray) -> float:
    quality = np.outer(embeddings[:, 0], world.item_embeddings[:, 0])
    utilities = embeddings @ world.item_embeddings.T
    return float(quality.var(1).mean() / utilities.var(1).mean())


def _foregone(world: World, embeddings: np.ndarray, model: UserModel) -> float:
    """Share of user-attribute pairs whose likelier answer is the same for every item."""
    targets = np.asarray(target_attributes(jnp.asarray(embeddings), items_of(world), model))
    scores = world.attribute_scores
    return float(((targets > scores.max(0)) | (targets < scores.min(0))).mean())
