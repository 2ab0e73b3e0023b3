"""`crs-gym world`: builds worlds and shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from crs_gym.commands.arguments import Out
from crs_gym.world import DEFAULT_WORLD, DataError


@dataclass(frozen=True)
class BuildMovieLens:
    """Fits a world to a MovieLens data set and calibrates it."""

    path: tyro.conf.Positional[Path]
    """Folder or zip of any MovieLens release (latest, 20m, 25m, 32m, 10m, 1m, 100k)."""
    out: Out
    """World file to write."""
    dim: int = 64
    """Dimensions of the factorisation; the world has one more, the item's quality."""
    min_item_ratings: int = 20
    """Films with fewer ratings are left out."""
    min_user_ratings: int = 50
    """Users with fewer ratings help to fit the films, but do not take part in conversations."""
    soft_attributes: Path | None = None
    """SoftAttributes CSV; without it the attributes come from the data set's tags."""
    attributes: int = 33
    """How many attributes to keep, the most informative ones."""
    evaluation_share: float = 0.25
    """Share of the users kept for evaluation; half of them where there are few users."""
    seed: int = 0
    """Of the fit, the split of the users and the calibration."""

    def run(self) -> None:
        from crs_gym.simulation.calibration import calibrate
        from crs_gym.world.fitted import build_movielens

        world = build_movielens(
            self.path,
            dim=self.dim,
            min_item_ratings=self.min_item_ratings,
            min_user_ratings=self.min_user_ratings,
            soft_attributes=self.soft_attributes,
            attributes=self.attributes,
            evaluation_share=self.evaluation_share,
            seed=self.seed,
            progress=True,
        )
        _finish(calibrate(world, seed=self.seed), self.out)


@dataclass(frozen=True)
class BuildGenerated:
    """Generates a world of any size and calibrates it."""

    out: Out
    """World file to write."""
    items: int = 2109
    """N."""
    dim: int = 128
    """d."""
    attributes: int = 33
    """G."""
    users: int = 3650
    """U."""
    seed: int = 0
    """Of the generator, the split of the users and the calibration."""
    name: str = "generated"
    """What the world is called."""

    def run(self) -> None:
        from crs_gym.simulation.calibration import calibrate
        from crs_gym.world.generate import generate

        world = generate(
            self.items, self.dim, self.attributes, self.users, seed=self.seed, name=self.name
        )
        _finish(calibrate(world, seed=self.seed), self.out)


@dataclass(frozen=True)
class BuildFilms:
    """Builds the film world: a graded catalogue, rated by a synthetic population."""

    out: Out
    """World file to write."""
    catalogue: Path | None = None
    """Films and grades in CSV; the bundled catalogue by default."""
    dim: int = 32
    """Dimensions of the factorisation; the world has one more, the film's quality."""
    users: int = 10_000
    """Users who rate; those with 50 ratings or more take part in conversations."""
    seed: int = 0
    """Of the population, the fit, the split of the users and the calibration."""

    def run(self) -> None:
        from crs_gym.simulation.calibration import calibrate
        from crs_gym.world.fitted import build_films
        from crs_gym.world.population import Population

        world = build_films(
            self.catalogue,
            population=Population(users=self.users),
            dim=self.dim,
            seed=self.seed,
            progress=True,
        )
        _finish(calibrate(world, seed=self.seed), self.out)


@dataclass(frozen=True)
class Build:
    """Builds a world file."""

    source: (
        Annotated[BuildFilms, tyro.conf.subcommand("films")]
        | Annotated[BuildMovieLens, tyro.conf.subcommand("movielens")]
        | Annotated[BuildGenerated, tyro.conf.subcommand("generated")]
    )

    def run(self) -> None:
        self.source.run()


@dataclass(frozen=True)
class Show:
    """Prints what a world holds and its calibration table, or what it knows of one item."""

    world: tyro.conf.Positional[str] = DEFAULT_WORLD
    """Bundled name or world file."""
    film: str | None = None
    """Title of an item, with or without the year: its neighbours and most marked attributes."""
    plot: Path | None = None
    """Image to write: the items as a labelled map."""

    def run(self) -> None:
        from rich.console import Console

        from crs_gym.simulation.show import find_item, show_item, show_world
        from crs_gym.world import load_world

        world = load_world(self.world)
        if self.film is not None:
            Console().print(show_item(world, find_item(world, self.film)))
        elif self.plot is None:
            Console().print(show_world(world))
        if self.plot is not None:
            from crs_gym.evaluation.maps import world_map

            print(f"wrote {world_map(world, self.plot)}")


@dataclass(frozen=True)
class Lint:
    """Checks a catalogue of films: columns, doubles, years, ranges, ties, wordings."""

    catalogue: tyro.conf.Positional[Path | None] = None
    """Films and grades in CSV; the bundled catalogue by default."""
    attributes: Path | None = None
    """Attributes and wordings in CSV; the bundled ones by default."""

    def run(self) -> None:
        from crs_gym.world.films import lint_films, read_films

        problems = lint_films(self.catalogue, self.attributes)
        for problem in problems:
            print(problem)
        if problems:
            raise DataError(f"problems in the catalogue: {len(problems)}")
        films = read_films(self.catalogue, self.attributes)
        print(f"{len(films.titles)} films on {len(films.attributes)} attributes, no problems")


@dataclass(frozen=True)
class Asking:
    """Finds how soon users must lose patience with bad recommendations for asking to pay.

    Prints what the tuned ask-n gains on the best policy that never asks, on training users, and
    the least impatience at which that is at least the margin.
    """

    world: tyro.conf.Positional[str] = DEFAULT_WORLD
    """Bundled name or world file."""
    margin: float = 0.1
    """Gain to reach, in mean return."""
    episodes: int = 1024
    """Conversations of each policy."""

    def run(self) -> None:
        from crs_gym.evaluation.asking import least_impatience

        print("impatience  best that never asks   best that asks         gain")
        for found in least_impatience(self.world, self.margin, self.episodes):
            never = f"{found.never_return:.3f} {found.never}"
            asks = f"{found.asks_return:.3f} {found.asks}"
            gain = f"{found.gain.mean:+.3f} [{found.gain.low:+.3f}, {found.gain.high:+.3f}]"
            print(f"{found.impatience:<10g}  {never:21}  {asks:21}  {gain}", flush=True)
        if found.gain.mean < self.margin:
            raise DataError(f"asking gains {self.margin:g} at none of these")
        print(f'user_model: {{"leave_dissatisfaction": {found.impatience:g}}}')


@dataclass(frozen=True)
class WorldCommand:
    """Worlds: items, soft attributes and users."""

    command: (
        Annotated[Build, tyro.conf.subcommand("build")]
        | Annotated[Show, tyro.conf.subcommand("show")]
        | Annotated[Asking, tyro.conf.subcommand("asking")]
        | Annotated[Lint, tyro.conf.subcommand("lint")]
    )

    def run(self) -> None:
        self.command.run()


def _finish(world: Any, out: Path) -> None:
    from rich.console import Console

    from crs_gym.simulation.show import show_world

    world.save(out)
    Console().print(show_world(world))
    print(f"wrote {out}")
