"""`crs-gym rate`: people, or a model, judge dialogues, and what they said is summed up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from crs_gym.commands.arguments import Model, ModelArguments


@dataclass(frozen=True)
class RatePage:
    """Serves the paper's questions about dialogues as a page, and keeps the answers.

    Users are drawn, and one dialogue of each. Answers are in the file as soon as they are given;
    the same command goes on where it was ended.
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of a data set, or Parquet files of dialogues."""
    db: Path
    """SQLite file of the answers; made if it does not exist."""
    form: Literal["dialogue", "pair"] = "dialogue"
    """One dialogue at a time, or the model's words beside the templates."""
    world: str | None = None
    """Bundled name or world file, where none lies beside the dialogues."""
    count: int | None = None
    """Users to draw; all by default."""
    raters: int = 3
    """People who judge each dialogue."""
    each: int | None = None
    """Dialogues that one person judges at most; no limit by default."""
    seed: int = 0
    """Of the draw, the orders and the sides."""
    host: str = "127.0.0.1"
    """Address to listen on; the default is reached from this machine alone."""
    port: int = 7860
    """To listen on; 0 takes a free one."""

    def run(self) -> None:
        from crs_gym.evaluation.rating.page import serve
        from crs_gym.evaluation.rating.store import Store
        from crs_gym.evaluation.rating.study import draw_study
        from crs_gym.extras import needs
        from crs_gym.generation.opening import open_dialogues

        needs("gradio", "ui")
        study = draw_study(
            open_dialogues(self.dataset, self.world).dialogues,
            self.form,
            count=self.count,
            raters=self.raters,
            each=self.each,
            seed=self.seed,
        )
        store = Store.begin(self.db, study)
        print(f"{self.db}: {len(study.dialogues)} to judge by {self.raters} people each")
        serve(store, self.host, self.port)


@dataclass(frozen=True)
class RateModel:
    """Lets a language model fill the forms of a file that the page has begun, kept apart from
    people's.
    """

    path: tyro.conf.Positional[Path]
    """SQLite file of the answers."""
    language: Model = field(default_factory=ModelArguments)
    seed: int = 0
    """Of the model's replies."""

    def run(self) -> None:
        from crs_gym.evaluation.rating.model_rater import rate
        from crs_gym.evaluation.rating.store import Store

        store, model = Store.open(self.path), self.language.connect()
        rated = rate(store, model, seed=self.seed)
        print(
            f"forms filled: {rated.answered}, not answered: {rated.unanswered}, "
            f"asked again: {rated.asked_again}"
        )
        print(model.usage)


@dataclass(frozen=True)
class RateReport:
    """Sums up the answers in a file of ratings."""

    path: tyro.conf.Positional[Path]
    """SQLite file of the answers."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File to write: JSON, or every single answer as .csv."""

    def run(self) -> None:
        from crs_gym.evaluation.rating.report import print_report

        print_report(self.path, self.out)


@dataclass(frozen=True)
class Rate:
    """Dialogues judged by people: the page with the questions, and a report."""

    command: (
        Annotated[RatePage, tyro.conf.subcommand("page")]
        | Annotated[RateModel, tyro.conf.subcommand("model")]
        | Annotated[RateReport, tyro.conf.subcommand("report")]
    )

    def run(self) -> None:
        self.command.run()
