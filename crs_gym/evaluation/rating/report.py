"""What judges found, as tables like the paper's 1 and 2, as JSON, and every answer as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crs_gym.evaluation.rating.agreement import Share
from crs_gym.evaluation.rating.findings import OUTCOMES, Group, Report, outcome, report
from crs_gym.evaluation.rating.forms import Judgement, aspects_of
from crs_gym.evaluation.rating.store import Store

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    *("kind", "rater", "dialogue", "aspect", "answer", "turns", "feedback"),
    *("rewritten_first", "given", "surplus", "reason"),
)
"""Of single answers as CSV."""

_FAULTS_SHOWN = 30


def single_answers(store: Store) -> Iterator[dict[str, Any]]:
    """One row of `COLUMNS` for every answer, surplus ones too; one for a form given up."""
    pairs = store.study.form == "pair"
    for rating in store.ratings():
        common = {
            "kind": rating.kind,
            "rater": rating.rater,
            "dialogue": rating.number,
            "rewritten_first": int(rating.rewritten_first) if pairs else "",
            "given": rating.given,
            "surplus": int(rating.surplus),
        }
        if rating.answers is None:
            yield {**dict.fromkeys(COLUMNS, ""), **common, "reason": rating.reason}
            continue
        for aspect in aspects_of(store.study.form):
            answer = rating.answers[aspect.name]
            turns = answer.turns if isinstance(answer, Judgement) else ()
            yield {
                **common,
                "aspect": aspect.name,
                "answer": outcome(answer, rating.rewritten_first),
                "turns": " ".join(map(str, turns)),
                "feedback": answer.feedback,
                "reason": "",
            }


def print_report(path: Path, out: Path | None = None) -> None:
    """Prints what judges found, and writes it where `out` is given.

    Args:
        path: a file of ratings.
        out: JSON with the figures of all tables and all turns at fault; where its name ends in
            .csv, every single answer instead.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: the file is not one of ratings, damaged, altered, or of another version.
        OSError: `out` cannot be written.
    """
    from rich.console import Console

    store = Store.open(path)
    found, console = report(store), Console()
    if not found.groups:
        console.print(f"Nobody has judged any of the {found.dialogues} dialogues yet.")
    for group in found.groups:
        console.print(table_of(found, group))
        if group.faults:
            console.print(faults_table(group))
    if out is not None:
        as_csv = Path(out).suffix.lower() == ".csv"
        try:
            Path(out).write_text(
                _csv(store) if as_csv else _json(found), encoding="utf-8", newline=""
            )
        except OSError as error:
            raise OSError(f"cannot write {out}: {error.strerror}") from error


def table_of(found: Report, group: Group) -> Table:
    """One group's table: as the paper's Table 1, or Table 2 for pairs, with agreement."""
    from rich.markup import escape
    from rich.table import Table

    facts = [
        f"{group.forms} forms about {group.dialogues} of {found.dialogues} dialogues, "
        f"{group.raters} {'judges' if group.raters != 1 else 'judge'}"
    ]
    if group.surplus:
        facts.append(f"left out: {group.surplus} surplus")
    if group.unanswered:
        facts.append(f"not answered: {group.unanswered}")
    facts.append("95% intervals (Wilson), answers taken as independent")
    table = Table(
        title=escape(_plain(f"Judged by {group.name}")),
        caption="; ".join(facts),
    )
    titles = {aspect.name: aspect.title for aspect in aspects_of(found.form)}
    outcomes = {k: v for k, v in OUTCOMES[found.form].items() if k != "no"}
    table.add_column("Aspect", no_wrap=True)
    for title in (*outcomes.values(), "Alpha"):
        table.add_column(title, justify="right")
    for row in group.rows:
        shares = (_percent(row.shares[name]) for name in outcomes)
        table.add_row(titles[row.aspect], *shares, "-" if row.alpha is None else f"{row.alpha:.3f}")
    return table


def faults_table(group: Group, most: int = _FAULTS_SHOWN) -> Table:
    """The turns that most judges of a group found wrong, with their remarks."""
    from rich.markup import escape
    from rich.table import Table

    faults = sorted(group.faults, key=lambda fault: -len(fault.raters))[:most]
    left = len(group.faults) - len(faults)
    table = Table(
        title=escape(_plain(f"Turns at fault, by {group.name}")),
        caption=f"and {left} more, which a report as JSON lists" if left else None,
    )
    for title in ("Dialogue", "Turn", "Judges"):
        table.add_column(title, justify="right")
    for title in ("Aspect", "Remarks"):
        table.add_column(title, overflow="fold")
    titles = {aspect.name: aspect.title for aspect in aspects_of("dialogue")}
    for fault in faults:
        remarks = escape("; ".join(map(_plain, fault.feedback)))
        counts = (fault.dialogue, fault.turn, len(fault.raters))
        table.add_row(*map(str, counts), titles[fault.aspect], remarks)
    return table


def _json(found: Report) -> str:
    values = asdict(found)
    for group in values["groups"]:
        for row in group["rows"]:
            row["shares"] = {name: share._asdict() for name, share in row["shares"].items()}
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def _csv(store: Store) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(single_answers(store))
    return file.getvalue()


def _percent(share: Share) -> str:
    if share.share is None or share.low is None or share.high is None:
        return "-"
    return f"{share.share:.1%} ({100 * share.low:.1f}–{100 * share.high:.1f})"


def _plain(text: str) -> str:
    """Without characters that would steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
