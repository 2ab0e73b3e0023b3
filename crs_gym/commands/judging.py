"""`crs-gym judge`, and `crs-gym converse` for dialogues to judge against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from crs_gym.commands.arguments import Model, ModelArguments, Out

if TYPE_CHECKING:
    from rich.console import Console

    from crs_gym.evaluation.judging import Case


@dataclass(frozen=True)
class Judge:
    """Judges a data set: what its dialogues tell of a user's taste, and measured qualities.

    After every turn a judge says which of two films the user likes better: the belief that follows
    the acts, and the language model of --model. Texts are measured, and templates beside them where
    they differ.
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of a data set, or Parquet files of dialogues."""
    world: str | None = None
    """Bundled name or world file, where none lies beside the dialogues."""
    language: Model = field(default_factory=ModelArguments)
    transcripts: Path | None = None
    """Let the model also judge these conversations with the same users, of crs-gym converse."""
    belief: bool = True
    """Ask the belief which film users like better."""
    start: Literal["stored", "personal"] = "stored"
    """Where the belief starts: what the dialogue's recommender knew, or the user's own prior."""
    turns: int = 7
    """Turns of a dialogue to follow."""
    unnamed: bool = False
    """Ask about no film that is named in the dialogue (the paper only avoids the profile's)."""
    measures: bool = True
    """Measure the qualities."""
    dialogues: int | None = None
    """Only the first so many."""
    seed: int = 0
    """Of profiles, pairs, beliefs and impostors."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """JSON file to write."""

    def run(self) -> None:
        from rich.console import Console

        from crs_gym import __version__
        from crs_gym.evaluation.judging import BeliefJudge, evaluate, make_cases, measure
        from crs_gym.evaluation.judging import report as reports
        from crs_gym.generation.opening import open_dialogues

        _check(self.dialogues, self.out)
        if self.transcripts is not None and self.language.model is None:
            raise ValueError("transcripts have no acts to follow: name a judge with --model")
        dialogues, world, user_model = open_dialogues(self.dataset, self.world, self.dialogues)
        console = Console()
        report: dict[str, Any] = {
            "version": __version__,
            "world": world.hash,
            "dialogues": len(dialogues),
            "users": len({dialogue.user_id for dialogue in dialogues}),
            "seed": self.seed,
            "unnamed": self.unnamed,
            "judged": {},
            "measured": {},
        }
        cases = make_cases(dialogues, world, unnamed=self.unnamed, seed=self.seed)
        if self.belief:
            judge = BeliefJudge(world, self.start, seed=self.seed, user_model=user_model)
            rows = evaluate(judge, cases, self.turns)
            report["judged"][judge.name] = reports.judged_json(rows)
            console.print(reports.judged_table(judge.name, rows))
        if self.language.model is not None:
            report["judged"] |= self._ask_model(cases, world, console)
        if self.measures:
            retold = any(
                words.text != words.template
                for dialogue in dialogues
                for turn in dialogue.turns
                for words in (turn.recommender, turn.user)
            )
            found = {
                name: measure(
                    dialogues,
                    world,
                    templates=name == "template",
                    user_model=user_model,
                    seed=self.seed,
                    progress=True,
                )
                for name in (("text", "template") if retold else ("template",))
            }
            report["measured"] = {k: reports.measured_json(v) for k, v in found.items()}
            console.print(reports.measured_table(found))
        if self.out is not None:
            self.out.write_text(json.dumps(report, indent=1) + "\n")
            console.print(f"wrote {self.out}")

    def _ask_model(self, cases: Sequence[Case], world: Any, console: Console) -> dict[str, Any]:
        from crs_gym.evaluation.judging import ModelJudge, evaluate, read_transcripts, retold
        from crs_gym.evaluation.judging import report as reports

        model = self.language.connect()
        judge, judged = ModelJudge(model, world, seed=self.seed), {}
        several = {judge.name: cases}
        if self.transcripts is not None:
            several[f"{judge.name}, {self.transcripts.stem}"] = retold(
                cases, read_transcripts(self.transcripts), world
            )
        for name, them in several.items():
            rows = evaluate(judge, them, self.turns)
            judged[name] = reports.judged_json(rows)
            console.print(reports.judged_table(name, rows))
        console.print(str(model.usage))
        return judged


@dataclass(frozen=True)
class Converse:
    """Lets a language model talk to itself in place of ICER, with the users of a data set.

    One plays the recommender, one the user, and both know the user's text profile: the paper's
    baselines for dialogues. Judge what they say with crs-gym judge --transcripts.
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of a data set, or Parquet files of dialogues."""
    out: Out
    """JSON lines to write, one conversation a line."""
    language: Model = field(default_factory=ModelArguments)
    world: str | None = None
    """Bundled name or world file, where none lies beside the dialogues."""
    elicitation: bool = True
    """Tell the recommender of ICER's acts, and show it a dialogue of the data set, the last one,
    whose user then has no conversation."""
    dialogues: int | None = None
    """Only with the users of the first so many."""
    turns: int = 7
    """At most so many."""
    temperature: float = 0.7
    """Of the replies."""
    seed: int = 0
    """Of profiles and replies."""

    def run(self) -> None:
        from crs_gym.evaluation.judging import converse, make_cases, write_transcripts
        from crs_gym.generation.opening import open_dialogues

        _check(self.dialogues, self.out)
        model = self.language.connect()
        dialogues, world, _ = open_dialogues(self.dataset, self.world)
        some = (dialogues[:-1] if self.elicitation else dialogues)[: self.dialogues]
        if not some:
            raise ValueError(
                f"{self.dataset} holds one dialogue, which is the example: use more dialogues, or "
                "--no-elicitation"
            )
        transcripts = converse(
            model,
            make_cases(some, world, seed=self.seed),
            world,
            elicitation=self.elicitation,
            example=dialogues[-1].transcript() if self.elicitation else "",
            turns=self.turns,
            temperature=self.temperature,
            seed=self.seed,
        )
        write_transcripts(transcripts, self.out)
        broken = sum(bool(transcript.failure) for transcript in transcripts)
        print(f"wrote {self.out}: {len(transcripts)} conversations, {broken} broken off")
        print(model.usage)


def _check(dialogues: int | None, out: Path | None) -> None:
    """What would only be found after the work.

    Raises:
        ValueError: fewer than one dialogue.
        OSError: `out` cannot be a file.
    """
    if dialogues is not None and dialogues < 1:
        raise ValueError(f"--dialogues must be at least 1, not {dialogues}")
    if out is not None and not out.parent.is_dir():
        raise FileNotFoundError(f"the folder {out.parent} of --out does not exist")
    if out is not None and out.is_dir():
        raise IsADirectoryError(f"--out is a folder: name a file in {out}")
