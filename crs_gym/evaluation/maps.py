"""A world as a map: items that users like alike lie near each other."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from crs_gym.evaluation.plots import INK, new_figure, save_figure
from crs_gym.world import World

_COLOURS = (
    "#2f6d9e", "#c2571a", "#3f8f63", "#8a5aa3", "#b08a1e", "#b3446c", "#4fa3b8", "#6b6b2f",
    "#9097a1",
)  # fmt: skip


def world_map(world: World, path: str | Path, labels: int = 120, seed: int = 0) -> Path:
    """Draws the items in two dimensions (t-SNE on the cosines of their tastes), labelled.

    Colours are the commonest main genres; labels go to the most popular items for which there is
    room.

    Args:
        path: image to write; its ending sets the format.
        labels: at most so many.
        seed: of the layout.

    Raises:
        ValueError: fewer than four items.
        OSError: the file cannot be written.
    """
    from sklearn.manifold import TSNE

    if world.n_items < 4:
        raise ValueError(f"a map needs at least four items, {world.name} has {world.n_items}")
    tastes = world.item_embeddings[:, 1:].astype(np.float64)
    tastes /= np.maximum(np.linalg.norm(tastes, axis=1, keepdims=True), 1e-12)
    perplexity = min(30.0, (world.n_items - 1) / 3)
    start = "pca" if min(tastes.shape) > 1 else "random"
    places = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(tastes)

    figure = new_figure(15, 11)
    axes = figure.subplots()
    main = [genres[0] if genres else "" for genres in world.genres]
    common = [genre for genre, _ in Counter(main).most_common(len(_COLOURS) - 1) if genre]
    for genre, colour in zip([*common, None], _COLOURS, strict=False):
        chosen = [i for i, g in enumerate(main) if (g == genre if genre else g not in common)]
        x, y = places[chosen].T
        axes.scatter(x, y, s=14, color=colour, alpha=0.75, lw=0, label=genre or "other")
    taken: list[tuple[float, float]] = []
    width, height = np.ptp(places, axis=0) * (0.085, 0.017)
    for item in np.argsort(-world.popularity, kind="stable"):
        here = places[item]
        if len(taken) == labels:
            break
        if all(abs(here[0] - x) > width or abs(here[1] - y) > height for x, y in taken):
            taken.append(tuple(here))
            axes.annotate(
                world.titles[item],
                tuple(here),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                fontsize=6.5,
                color=INK,
                parse_math=False,
            )
    axes.set_axis_off()
    axes.legend(frameon=False, fontsize=8, loc="lower left", ncols=2, title="main genre")
    axes.set_title(f"{world.name}: {world.n_items} items by who likes them", color=INK)
    return save_figure(figure, path)
