"""A world as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crs_gym.users import UserModel
from crs_gym.world import World

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


_MEANINGS = {
    "random": ("success over 7 turns, random recommendations", "at most 0.15"),
    "popularity": ("success over 7 turns, most popular items", "at most 0.35"),
    "fixed": ("success over 7 turns, best items for the mean taste", "at most 0.35"),
    "oracle": ("success at turn 1, the user's best items", "at least 0.95"),
    "utility_deviation": ("mean deviation of a user's utilities", "1"),
    "quality_weight": ("weight of the items' quality", ""),
    "quality_share": ("share of quality in the variance of utility", ""),
    "favourites": ("different favourites of 1,024 users", ""),
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
