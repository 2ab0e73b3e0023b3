"""`crs-gym generate` and `crs-gym dataset`: dialogues by the thousand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from crs_gym.commands.arguments import Model, ModelArguments, Out, json_object
from crs_gym.extras import needs
from crs_gym.world import DEFAULT_WORLD, DataError

if TYPE_CHECKING:
    from crs_gym.generation.dataset import DataSet


@dataclass(frozen=True)
class Generate:
    """Makes a data set of dialogues: ICER's recommender and users, in the words of templates, which
    a language model rewrites if --model names one.

    Killed, and started again with the same command, it goes on; the data set is the same, whatever
    the number of workers.
    """

    out: Out
    """Folder of the data set."""
    world: str = DEFAULT_WORLD
    """Bundled name or world file."""
    dialogues: int = 1000
    """How many."""
    seed: int = 0
    """Dialogue n is the n-th episode of this seed."""
    split: Literal["train", "evaluation"] = "train"
    """Whose dialogues: users of the train or of the evaluation split."""
    prior: Literal["personal", "cold"] = "personal"
    """What the recommender knows at the start: this user's prior (personal) or the population's
    (cold)."""
    slate_size: int = 2
    """Films in a recommendation or item query."""
    max_turns: int = 7
    """Turns of the longest dialogue."""
    threshold: float = 0.04
    """EVOI, in units of utility, from which on the recommender asks."""
    queries: Literal[
        "both",
        "either",
        "item",
        "attribute",
        "iteration",
        "thompson",
        "random",
        "exhaustive",
        "none",
    ] = "both"
    """What it may ask, or how it finds item queries. The best query is seldom about an attribute;
    either draws one of the two kinds in each turn."""
    offer: Literal["sample", "mean", "acceptance"] = "sample"
    """What it recommends: the best films of one sample of its belief, of the belief's mean, or
    those most likely accepted."""
    effort: int = 16
    """Starts of its search for item queries."""
    draws: int = 256
    """Samples of its belief."""
    user_model: str = "{}"
    """Parameters of the users as JSON, e.g. '{"critique_rate": 0.5}'."""
    variants: bool = True
    """Let the sentences of an act vary."""
    shard: int = 1000
    """Dialogues in a file."""
    lanes: int = 16
    """Dialogues played at a time in a worker."""
    language: Model = field(default_factory=ModelArguments)
    order: Literal["users-first", "interleaved"] = "users-first"
    """Of rewriting: all the user's turns and then the recommender's, or as they follow."""
    style: Literal["full", "short"] = "full"
    """Of the prompts; short ones are for small models."""
    rewrites: int = 2
    """Further attempts at a turn that does not pass the checks, before its template stays."""
    max_tokens: int = 128
    """Of a rewritten turn."""
    temperature: float = 0.8
    """Of the model."""
    workers: int = 2
    """Processes, of one thread each."""
    ray: str | None = None
    """Make the shards on a Ray cluster: local, auto, or host:port."""

    def run(self) -> None:
        needs("pyarrow", "data")
        from crs_gym.generation.run import generate
        from crs_gym.generation.settings import Rewriting, Settings
        from crs_gym.world import load_world

        model = self.language.connect() if self.language.model is not None else None
        world = load_world(self.world)
        settings = Settings(
            world=world.hash,
            dialogues=self.dialogues,
            seed=self.seed,
            split=self.split,
            prior=self.prior,
            slate_size=self.slate_size,
            max_turns=self.max_turns,
            user_model=json_object(self.user_model, "--user-model"),
            threshold=self.threshold,
            queries=self.queries,
            offer=self.offer,
            effort=self.effort,
            draws=self.draws,
            variants=self.variants,
            shard=self.shard,
            lanes=self.lanes,
            rewriting=None
            if model is None
            else Rewriting(
                model=model.name,
                order=self.order,
                retries=self.rewrites,
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                style=self.style,
            ),
        )
        data = generate(world, self.out, settings, model=model, workers=self.workers, ray=self.ray)
        _show(data)
        if model is not None:
            print(model.usage)


@dataclass(frozen=True)
class Check:
    """Follows the stored acts of a data set, turn by turn, and says what does not agree."""

    dataset: tyro.conf.Positional[Path]
    """Folder of the data set."""
    sample: int | None = None
    """How many dialogues, drawn at random; all of them by default."""
    seed: int = 0
    """Of the sample."""

    def run(self) -> None:
        needs("pyarrow", "data")
        from crs_gym.generation.check import check, lines
        from crs_gym.generation.dataset import DataSet

        report = check(DataSet.open(self.dataset), self.sample, self.seed)
        for line in lines(report):
            print(line)
        if report.counts:
            raise DataError(f"{self.dataset} does not follow from its settings")


@dataclass(frozen=True)
class Export:
    """Writes a data set as JSON lines in the shape of the paper's trajectories."""

    dataset: tyro.conf.Positional[Path]
    """Folder of the data set."""
    out: Out
    """File to write, one line a dialogue."""

    def run(self) -> None:
        needs("pyarrow", "data")
        from tqdm import tqdm

        from crs_gym.generation.dataset import DataSet
        from crs_gym.generation.export import export

        data = DataSet.open(self.dataset)
        rows = export(tqdm(data, "export", len(data), unit=""), data.world, self.out)
        print(f"wrote {self.out}: {rows:,} dialogues")


@dataclass(frozen=True)
class Info:
    """Prints what a data set holds."""

    dataset: tyro.conf.Positional[Path]
    """Folder of the data set."""

    def run(self) -> None:
        needs("pyarrow", "data")
        from crs_gym.generation.dataset import DataSet

        _show(DataSet.open(self.dataset))


@dataclass(frozen=True)
class DataSetCommand:
    """Data sets of dialogues."""

    command: (
        Annotated[Info, tyro.conf.subcommand("info")]
        | Annotated[Check, tyro.conf.subcommand("check")]
        | Annotated[Export, tyro.conf.subcommand("export")]
    )

    def run(self) -> None:
        self.command.run()


def _show(data: DataSet) -> None:
    from rich.console import Console
    from rich.table import Table

    from crs_gym.generation.card import summary

    table = Table("data set", str(data.folder), box=None)
    table.add_row("world", f"{data.world.name} ({data.world.hash})")
    for name, value in summary(data).items():
        table.add_row(name, value)
    console = Console()
    console.print(table)
    if data.settings.rewriting is not None:
        console.print(data.rates().table())
