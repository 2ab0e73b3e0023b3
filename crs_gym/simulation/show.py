"""A world as tables for the terminal."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import numpy as np

from crs_gym.users import UserModel
from crs_gym.world import World
from crs_gym.world.titles import split_title, title_key

if TYPE_CHECKING:
    from rich.console import Group


def show_world(world: World) -> Group:
    """Content, popular items, attributes with examples, user model and calibration."""
    from rich.console import Group
    from rich.table import Table

    facts = Table("world", world.name, box=None, title_justify="left")
    rows = {
        "hash": world.hash,
        "source": world.source,
        "licence": world.licence,
        "items N": world.n_items,
        "dimensions d": world.dim,
        "attributes G": world.n_attributes,
        "users": f"{world.n_users}, of them {int(world.evaluation.sum())} for evaluation",
    }
    for name, value in rows.items():
        facts.add_row(name, str(value))

    popular = Table("most popular items", "ratings", "quality", box=None)
    for item in np.argsort(-world.popularity, kind="stable")[:8]:
        quality = world.item_embeddings[item, 0]
        popular.add_row(world.label(int(item)), f"{world.popularity[item]:.0f}", f"{quality:+.1f}")

    attributes = Table("attribute", "most", "least", box=None)
    known = np.argsort(-world.popularity, kind="stable")[: max(200, world.n_items // 5)]
    for index, attribute in enumerate(world.attributes):
        order = known[np.argsort(world.attribute_scores[known, index])]
        attributes.add_row(attribute.name, world.label(int(order[-1])), world.label(int(order[0])))

    tables = [facts, popular, attributes]
    for title in ("fit", "soft_attributes"):
        if figures := world.report.get(title):
            table = Table(title.replace("_", " "), "", box=None)
            for name, value in figures.items():
                table.add_row(name, str(value))
            tables.append(table)
    if world.user_model:
        model = Table("user model", "", box=None)
        for name, value in UserModel.of(world)._asdict().items():
            model.add_row(name, f"{value:g}")
        tables.append(model)
    if figures := world.report.get("calibration"):
        tables.append(_calibration(figures))
    padded = [part for table in tables for part in (table, "")]
    return Group(*padded)


def find_item(world: World, title: str) -> int:
    """The item of that title, with or without the year; the most popular one of several.

    Raises:
        ValueError: no such title; the message names the nearest ones.
    """
    name, year = split_title(title)
    keys = [title_key(t, int(y)) for t, y in zip(world.titles, world.years, strict=True)]
    spelt, wanted = title_key(name, year), title.strip().casefold()
    found = [i for i, key in enumerate(keys) if key == spelt or (not year and key[0] == spelt[0])]
    if found:
        return max(found, key=lambda i: world.popularity[i])
    folded = {world.label(i).casefold(): i for i in range(world.n_items)}
    near = [key for key in folded if wanted in key]
    near += [k for k in difflib.get_close_matches(wanted, folded, 5, 0.5) if k not in near]
    names = ", ".join(world.label(folded[key]) for key in near[:5])
    raise ValueError(f"no item {title!r} in {world.name}" + (f"; near it: {names}" if near else ""))


def neighbours(world: World, item: int, count: int = 8) -> np.ndarray:
    """(count,) the items most alike in taste: cosine of the embeddings, quality left out."""
    tastes = world.item_embeddings[:, 1:]
    lengths = np.linalg.norm(tastes, axis=1)
    likeness = tastes @ tastes[item] / np.maximum(lengths * lengths[item], 1e-12)
    likeness[item] = -np.inf
    return np.argsort(-likeness, kind="stable")[: min(count, world.n_items - 1)]


def show_item(world: World, item: int) -> Group:
    """One item: its most marked attributes and its neighbours."""
    from rich.console import Group
    from rich.table import Table

    scores = world.attribute_scores[item]
    marked = Table("most marked attributes", "deviations", box=None)
    for g in np.argsort(-np.abs(scores))[:8]:
        words = world.attributes[g]
        marked.add_row(words.more if scores[g] > 0 else words.less, f"{scores[g]:+.1f}")
    near = Table("neighbours", "genres", box=None)
    for other in neighbours(world, item):
        near.add_row(world.label(int(other)), ", ".join(world.genres[other]))
    genres = ", ".join(world.genres[item]) or "no genres"
    quality = world.item_embeddings[item, 0]
    return Group(f"{world.label(item)}: {genres}; quality {quality:+.1f}", "", marked, "", near)


_MEANINGS = {
    "random": ("success over 7 turns, random recommendations", "at most 0.15"),
    "popularity": ("success over 7 turns, most popular items", "at most 0.35"),
    "fixed": ("success over 7 turns, best items for the mean taste", "at most 0.35"),
    "oracle": ("success at turn 1, the user's best items", "at least 0.95"),
    "utility_deviation": ("mean deviation of a user's utilities", "1"),
    "quality_weight": ("weight of the items' quality", ""),
    "quality_share": ("share of quality in the variance of utility", ""),
    "favourites": ("different favourites of the users drawn", ""),
    "top_favourite_share": ("share of the commonest favourite", ""),
    "foregone_answers": ("attribute answers that no item would change", ""),
    "foregone_answers_at_largest_norm": ("the same at the paper's target scale", ""),
}


def _calibration(figures: dict[str, float]):  # type: ignore[no-untyped-def]
    from rich.table import Table

    table = Table("calibration (evaluation users)", "value", "target", box=None)
    for name, value in figures.items():
        meaning, target = _MEANINGS.get(name, (name, ""))
        table.add_row(meaning, f"{value:g}", target)
    return table
