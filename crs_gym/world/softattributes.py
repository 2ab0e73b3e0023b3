"""Soft attributes as directions in embedding space (CAVs), from pairs of items.

Concept activation vectors by pairwise logistic regression on learnt item embeddings (ICER,
section 2; Goepfert et al. 2022): c_g . (phi_a - phi_b) are the log-odds that a has more of g.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit
from scipy.stats import t as student

from crs_gym.world.errors import DataError
from crs_gym.world.ratings import Ratings
from crs_gym.world.titles import split_title, title_key

# Chosen on splits of ml-latest-small and SoftAttributes that no reported figure uses; from 300 to
# 2000 the accuracy moves by 0.004.
STRENGTH = 1000.0
SPECTRUM_POWER = 1.5

REFERENCE, ACROSS, NEAR = range(3)
"""Kinds of pairs: with the rater's reference film, "less" against "more", and with "about as"."""
_WEIGHTS = (1.0, 1.0, 0.5)
_COLUMNS = (
    "rater_id", "reference_title", "soft_attribute", "less_than", "about_as", "more_than",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class AttributePairs:
    """Ordered pairs of items: the winner has more of the attribute than the loser.

    Attributes:
        names: G attribute names.
        attribute, winner, loser: (P,) int32 indices into names and items.
        rater: (P,) int32, who said so; -1 where nobody in particular did.
        kind: (P,) int8, REFERENCE, ACROSS or NEAR. All are learnt from, NEAR with half weight;
            accuracy and agreement are those of REFERENCE, what the rater was asked.
    """

    names: tuple[str, ...]
    attribute: np.ndarray
    winner: np.ndarray
    loser: np.ndarray
    rater: np.ndarray
    kind: np.ndarray

    def where(self, chosen: np.ndarray) -> AttributePairs:
        """The pairs chosen by a (P,) mask."""
        fields = (self.attribute, self.winner, self.loser, self.rater, self.kind)
        return AttributePairs(self.names, *(field[chosen] for field in fields))

    @property
    def items(self) -> np.ndarray:
        """Sorted indices of all items that occur."""
        return np.unique(np.concatenate([self.winner, self.loser]))


def read_soft_attributes(
    path: str | Path, titles: Sequence[str], years: Sequence[int] | np.ndarray
) -> AttributePairs:
    """Pairs from the SoftAttributes CSV (Balog, Radlinski and Karatzoglou 2021).

    A row sorts films into less, about as and more of an attribute than a reference film. Films
    that are not among `titles` are passed over.

    Args:
        path: the CSV file.
        titles, years: (N,) of the items, titles as `split_title` gives them. Of items with the
            same title and year the first counts.

    Raises:
        DataError: not such a file, or a broken row (file and line are named).
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no soft-attributes file at {path}")
    index: dict[tuple[str, int], int] = {}
    for item, (title, year) in enumerate(zip(titles, years, strict=True)):
        index.setdefault(title_key(title, int(year)), item)
    names: dict[str, int] = {}
    rows: list[tuple[int, int, int, int, int]] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = sorted(set(_COLUMNS) - set(reader.fieldnames or ()))
        if missing:
            raise DataError(
                f"{path}, line 1: no columns {', '.join(missing)}; is it SoftAttributes?"
            )
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            try:
                rater = int(row["rater_id"])
                less, about, more = (
                    _known(row[column], index) for column in ("less_than", "about_as", "more_than")
                )
                reference = index.get(title_key(*split_title(row["reference_title"])))
            except (TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{where}: broken row ({error}); mend or remove it") from error
            if not row["soft_attribute"]:
                raise DataError(f"{where}: the soft attribute is empty; mend or remove the row")
            attribute = names.setdefault(row["soft_attribute"], len(names))
            middle = [] if reference is None else [reference]
            groups = (
                (more, middle, REFERENCE), (middle, less, REFERENCE), (more, less, ACROSS),
                (more, about, NEAR), (about, less, NEAR),
            )  # fmt: skip
            rows += [
                (attribute, winner, loser, rater, kind)
                for winners, losers, kind in groups
                for winner in winners
                for loser in losers
                if winner != loser
            ]
    if not rows:
        raise DataError(f"{path}: none of its films is among the {len(titles)} given")
    order = np.argsort(list(names))
    place = np.argsort(order)
    table = np.array(rows, np.int32)
    return AttributePairs(
        tuple(np.array(list(names))[order].tolist()),
        place[table[:, 0]].astype(np.int32),
        table[:, 1],
        table[:, 2],
        table[:, 3],
        table[:, 4].astype(np.int8),
    )


def pairs_from_tags(
    ratings: Ratings, min_items: int = 10, others: int = 5, seed: int = 0
) -> AttributePairs:
    """Pairs from tags: a film with the tag beats popular films without it.

    Args:
        ratings: with tags.
        min_items: tags on fewer films are left out.
        others: how many films without the tag, drawn in proportion to their number of ratings,
            each tagged film is paired with. A popular film is likely to have got a tag that fits.
        seed: of the draw.

    Raises:
        DataError: no tag is on enough films.
    """
    on: dict[str, list[int]] = {}
    for item, name in set(zip(ratings.tags.items.tolist(), ratings.tags.names, strict=True)):
        on.setdefault(name, []).append(item)
    names = sorted(name for name, items in on.items() if len(items) >= min_items)
    if not names:
        raise DataError(
            f"no tag is on at least {min_items} films of these ratings; give a SoftAttributes "
            "file, or keep films with fewer ratings"
        )
    rng = np.random.default_rng(seed)
    rows = []
    for g, name in enumerate(names):
        tagged = np.array(sorted(on[name]))
        weight = ratings.item_counts.astype(np.float64)
        weight[tagged] = 0.0
        losers = rng.choice(len(weight), (len(tagged), others), p=weight / weight.sum())
        rows += [(g, w, x) for w, drawn in zip(tagged, losers, strict=True) for x in drawn]
    attribute, winner, loser = np.array(rows, np.int32).T
    return AttributePairs(
        tuple(names), attribute, winner, loser, np.full(len(rows), -1, np.int32),
        np.zeros(len(rows), np.int8),
    )  # fmt: skip


def fit_cavs(
    embeddings: np.ndarray, pairs: AttributePairs, strength: float = STRENGTH
) -> np.ndarray:
    """(G, d) CAVs by ridge-penalised pairwise logistic regression, without an intercept.

    The penalty is laid on coordinates along the principal axes of the items, each scaled by its
    deviation to the power 1.5: directions in which items hardly differ are learnt last.

    Args:
        embeddings: (N, d).
        pairs: ordered pairs of items.
        strength: of the penalty, above 0.

    Raises:
        ValueError: `strength` not above 0, embeddings that are not finite.
    """
    if not strength > 0:
        raise ValueError(f"strength must be above 0, not {strength}")
    if not np.isfinite(embeddings).all():
        raise ValueError("embeddings hold NaN or infinite values")
    basis = _basis(embeddings)
    features = embeddings @ basis
    cavs = np.zeros((len(pairs.names), embeddings.shape[1]))
    for g in range(len(pairs.names)):
        chosen = pairs.attribute == g
        differences = features[pairs.winner[chosen]] - features[pairs.loser[chosen]]
        weights = np.array(_WEIGHTS)[pairs.kind[chosen]]
        cavs[g] = basis @ _logistic(differences, weights, strength)
    return cavs


def held_out_films(pairs: AttributePairs, share: float, seed: int) -> np.ndarray:
    """Boolean mask over items (as long as the largest index needs): a seeded share, held out."""
    items = pairs.items
    held_out = np.zeros(int(items.max()) + 1, bool)
    chosen = np.random.default_rng(seed).permutation(items)[: max(1, round(share * len(items)))]
    held_out[chosen] = True
    return held_out


def accuracies(
    cavs: np.ndarray,
    embeddings: np.ndarray,
    pairs: AttributePairs,
    weights: Sequence[float] = (1.0, 0.0, 0.0),
) -> np.ndarray:
    """(G, 2): how many pairs of each attribute are ordered rightly, and of how many.

    `weights` says what a pair of each kind counts; by default only reference pairs do.
    """
    gap = ((embeddings[pairs.winner] - embeddings[pairs.loser]) * cavs[pairs.attribute]).sum(1)
    weight = np.asarray(weights)[pairs.kind]
    total = np.bincount(pairs.attribute, weight, len(pairs.names))
    right = np.bincount(pairs.attribute, weight * (gap > 0), len(pairs.names))
    return np.column_stack([right, total])


def select(
    embeddings: np.ndarray, pairs: AttributePairs, n: int = 33, seed: int = 0, folds: int = 20
) -> np.ndarray:
    """(n,) int indices of the attributes that predict best on held-out films, sorted.

    Films are split `folds` times; CAVs are learnt on pairs of training films and scored on pairs
    of two held-out films, of all kinds: with few folds, or reference pairs alone, the choice is
    mostly luck. Rare attributes are shrunk to the mean by two pairs a fold.

    Raises:
        ValueError: more attributes asked for than there are, or fewer than one.
    """
    if not 1 <= n <= len(pairs.names):
        raise ValueError(f"n must be between 1 and {len(pairs.names)} attributes, not {n}")
    if n == len(pairs.names):
        return np.arange(n)
    counts = np.zeros((len(pairs.names), 2))
    for fold in range(folds):
        train, test = _apart(pairs, 0.3, 1000 * seed + fold)
        counts += accuracies(fit_cavs(embeddings, train), embeddings, test, _WEIGHTS)
    overall = counts[:, 0].sum() / max(counts[:, 1].sum(), 1)
    rate = (counts[:, 0] + 2 * folds * overall) / (counts[:, 1] + 2 * folds)
    return np.sort(np.argsort(-rate, kind="stable")[:n])


class HeldOut(NamedTuple):
    """Accuracy on pairs of films never seen in training: one value a split, mean, half-width."""

    splits: tuple[float, ...]
    mean: float
    half_width: float


def held_out_accuracy(
    embeddings: np.ndarray, pairs: AttributePairs, n: int = 33, splits: int = 5, seed: int = 0
) -> dict[str, HeldOut]:
    """Accuracy over splits by film, for all attributes and for the n chosen ones.

    The choice is nested: in each split it is made on the training films alone. The interval is
    Student's t over the splits, 95%.

    Returns:
        `"all"` and `"chosen"`.
    """
    found: dict[str, list[float]] = {"all": [], "chosen": []}
    for split in range(splits):
        train, test = _apart(pairs, 0.3, seed + split)
        counts = accuracies(fit_cavs(embeddings, train), embeddings, test)
        chosen = select(embeddings, train, min(n, len(pairs.names)), seed + split)
        for name, part in (("all", counts), ("chosen", counts[chosen])):
            found[name].append(float(part[:, 0].sum() / part[:, 1].sum()))
    return {name: _interval(values) for name, values in found.items()}


def rater_agreement(pairs: AttributePairs) -> tuple[float, int]:
    """Share of the times two raters who ordered the same two films by the same attribute agree.

    Reference pairs only; every pair of raters counts once.

    Returns:
        the share, and the number of comparisons.
    """
    pairs = pairs.where(pairs.kind == REFERENCE)
    votes: dict[tuple[int, int, int], dict[int, int]] = {}
    for g, w, x, r in zip(
        *(f.tolist() for f in (pairs.attribute, pairs.winner, pairs.loser, pairs.rater)),
        strict=True,
    ):
        low, high = min(w, x), max(w, x)
        votes.setdefault((g, low, high), {})[r] = 1 if w == low else -1
    agreed = total = 0
    for cell in votes.values():
        counts = Counter(cell.values())
        a, b = counts[1], counts[-1]
        agreed += a * (a - 1) // 2 + b * (b - 1) // 2
        total += (a + b) * (a + b - 1) // 2
    return agreed / max(total, 1), total


def _apart(pairs: AttributePairs, share: float, seed: int) -> tuple[AttributePairs, AttributePairs]:
    """Pairs of two training films, and pairs of two held-out films; mixed pairs are dropped."""
    held_out = held_out_films(pairs, share, seed)
    winner, loser = held_out[pairs.winner], held_out[pairs.loser]
    return pairs.where(~winner & ~loser), pairs.where(winner & loser)


def _basis(embeddings: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(np.cov(embeddings, rowvar=False, bias=True))
    deviation = np.sqrt(np.maximum(values, 0.0))
    scale = deviation ** (SPECTRUM_POWER - 1.0)
    scale /= np.sqrt(((deviation * scale) ** 2).mean())
    basis: np.ndarray = vectors * scale
    return basis


def _logistic(differences: np.ndarray, weights: np.ndarray, strength: float) -> np.ndarray:
    """(d,) minimiser of sum_i w_i log(1 + exp(-x_i . c)) + strength / 2 |c|^2, by Newton."""
    d = differences.shape[1]
    found = np.zeros(d)
    for _ in range(50):
        chance = expit(-(differences @ found))
        gradient = strength * found - differences.T @ (weights * chance)
        curvature = (differences * (weights * chance * (1 - chance))[:, None]).T @ differences
        step = np.linalg.solve(curvature + strength * np.eye(d), gradient)
        found -= step
        if np.abs(step).max() < 1e-8:
            break
    return found


def _interval(values: Sequence[float]) -> HeldOut:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    half = student.ppf(0.975, max(len(values) - 1, 1)) * spread / np.sqrt(len(values))
    return HeldOut(tuple(values), float(np.mean(values)), float(half))


def _known(cell: str, index: dict[tuple[str, int], int]) -> list[int]:
    titles: Any = json.loads(cell) if cell else []
    if not isinstance(titles, list) or not all(isinstance(t, str) for t in titles):
        raise ValueError(f"{cell[:60]!r} is not a JSON array of titles")
    found = (index.get(title_key(*split_title(t))) for t in titles)
    return [item for item in found if item is not None]
