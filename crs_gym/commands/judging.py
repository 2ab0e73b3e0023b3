"""`crs-gym judge`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from crs_gym.world import DEFAULT_WORLD, DataError, World

if TYPE_CHECKING:
    from crs_gym.generation.records import Dialogue


@dataclass(frozen=True)
class Judge:
    """Judges a data set: what its dialogues tell of a user's taste, and measured qualities.

    After every turn a judge says which of two films the user likes better; the belief that follows
    the acts is the judge. Texts are measured, and templates beside them where they differ.
    """

    dataset: tyro.conf.Positional[Path]
    """Parquet file of dialogues, or a folder of them."""
    world: str = DEFAULT_WORLD
    """Bundled name or world file, the one that the dialogues are about."""
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
        from crs_gym.world import load_world

        if self.out is not None and not self.out.parent.is_dir():
            raise FileNotFoundError(f"the folder {self.out.parent} of --out does not exist")
        world = load_world(self.world)
        dialogues = read_dialogues(self.dataset, world, self.dialogues)
        console = Console()
        report: dict = {
            "version": __version__,
            "world": world.hash,
            "dialogues": len(dialogues),
            "users": len({dialogue.user_id for dialogue in dialogues}),
            "seed": self.seed,
            "unnamed": self.unnamed,
            "judged": {},
            "measured": {},
        }
        if self.belief:
            cases = make_cases(dialogues, world, unnamed=self.unnamed, seed=self.seed)
            judge = BeliefJudge(world, self.start, seed=self.seed)
            rows = evaluate(judge, cases, self.turns)
            report["judged"][judge.name] = reports.judged_json(rows)
            console.print(reports.judged_table(judge.name, rows))
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


def read_dialogues(path: Path, world: World, limit: int | None = None) -> list[Dialogue]:
    """The dialogues of a Parquet file, or of all in a folder in the order of their names.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        DataError: the dialogues are about another world, or the file is broken.
        ImportError: pyarrow is missing.
    """
    found: list[Dialogue] = []
    for dialogue in _rows(path):
        if limit is not None and len(found) >= limit:
            break
        if dialogue.world != world.hash:
            raise DataError(
                f"the dialogues in {path} are about the world with hash {dialogue.world}, and "
                f"{world.name} has {world.hash}; name theirs with --world"
            )
        found.append(dialogue)
    if not found:
        raise DataError(f"there are no dialogues in {path}")
    return found


def _rows(path: Path) -> Iterator[Dialogue]:
    try:
        from crs_gym.generation.schema import decode
    except ImportError as error:
        raise ImportError("data sets need pyarrow: pip install 'crs-gym[lm]'") from error
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"there is no Parquet file in {path}")
    for file in files:
        yield from decode(file)
