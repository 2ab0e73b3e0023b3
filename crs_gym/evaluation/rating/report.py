"""What judges found: tables as the paper's 1 and 2, agreement, the turns at fault, every answer.

People are one group, and every model is one of its own: they never share a table. Surplus ratings,
which came after others had taken their place, are counted and left out, so that no dialogue has
more than its share of weight; they are among the single answers all the same.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crs_gym.evaluation.rating.agreement import Share, krippendorff, wilson
from crs_gym.evaluation.rating.forms import Aspect, Form, Judgement, Preference, aspects_of
from crs_gym.evaluation.rating.store import Kind, Rating, Store
from crs_gym.evaluation.rating.study import Shown
from crs_gym.generation.dataset import write_whole

if TYPE_CHECKING:
    from rich.table import Table

OUTCOMES: Mapping[Form, Mapping[str, str]] = {
    "dialogue": {"yes": "Yes", "no": "No"},
    "pair": {
        "same": "About the same",
        "rewritten": "Rewritten better",
        "template": "Template better",
    },
}
"""What an answer comes to once the sides of a pair are known, and the titles of the columns."""

COLUMNS = (
    *("kind", "rater", "dialogue", "aspect", "answer", "turns", "feedback"),
    *("rewritten_first", "given", "surplus", "reason"),
)
"""Of single answers as CSV."""

_FAULTS_SHOWN = 30


@dataclass(frozen=True)
class Row:
    """The answers about one aspect.

    n: answers. shares: of each outcome. alpha: Krippendorff's; None where it is not defined.
    """

    aspect: str
    n: int
    shares: Mapping[str, Share]
    alpha: float | None


@dataclass(frozen=True)
class Fault:
    """A turn that somebody found wrong in one respect.

    dialogue: its number. turn: from 1. raters: who found it. feedback: their remarks, if any.
    recommender, user: what is said in the turn.
    """

    dialogue: int
    turn: int
    aspect: str
    raters: tuple[str, ...]
    feedback: tuple[str, ...]
    recommender: str
    user: str


@dataclass(frozen=True)
class Group:
    """What people found, or one model.

    name: of the model; "people".
    raters, dialogues, forms: judges, dialogues judged and forms filled in that count.
    surplus: forms filled in that do not count. unanswered: forms that a model gave up.
    rows: one for each aspect. faults: by dialogue and turn; none for pairs.
    """

    kind: Kind
    name: str
    raters: int
    dialogues: int
    forms: int
    surplus: int
    unanswered: int
    rows: tuple[Row, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Report:
    """What is known about a study so far.

    dialogues: how many are in it. wanted: people who shall judge each of them.
    """

    form: Form
    dialogues: int
    wanted: int
    groups: tuple[Group, ...]


def report(store: Store) -> Report:
    """Counts the ratings of a file.

    Raises:
        DataError: the file was altered.
    """
    study, grouped = store.study, dict[tuple[Kind, str], list[Rating]]()
    for rating in store.ratings():
        name = "people" if rating.kind == "person" else rating.rater
        grouped.setdefault((rating.kind, name), []).append(rating)
    shown = {dialogue.number: dialogue for dialogue in study.dialogues}
    # people first, then models by name
    groups = tuple(
        _group(kind, name, grouped[kind, name], study.form, shown)
        for kind, name in sorted(grouped, key=lambda key: (key[0] == "model", key[1]))
    )
    return Report(study.form, len(study.dialogues), study.raters, groups)


def outcome(answer: Judgement | Preference, rewritten_first: bool) -> str:
    """What an answer says: "yes" or "no"; "same", "rewritten" or "template"."""
    if isinstance(answer, Judgement):
        return "yes" if answer.yes else "no"
    if answer.better == "same":
        return "same"
    return "rewritten" if (answer.better == "first") == rewritten_first else "template"


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
        write_whole(Path(out), (_csv(store) if as_csv else _json(found)).encode())


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


def _group(
    kind: Kind, name: str, ratings: Sequence[Rating], form: Form, shown: Mapping[int, Shown]
) -> Group:
    counting = [rating for rating in ratings if rating.answers and not rating.surplus]
    aspects = aspects_of(form)
    return Group(
        kind=kind,
        name=name,
        raters=len({rating.rater for rating in counting}),
        dialogues=len({rating.number for rating in counting}),
        forms=len(counting),
        surplus=sum(bool(rating.answers) and rating.surplus for rating in ratings),
        unanswered=sum(rating.answers is None for rating in ratings),
        rows=tuple(_row(aspect, counting, form) for aspect in aspects),
        faults=tuple(_faults(counting, aspects, shown)) if form == "dialogue" else (),
    )


def _row(aspect: Aspect, ratings: Iterable[Rating], form: Form) -> Row:
    units: dict[int, list[str]] = {}
    for rating in ratings:
        if rating.answers:
            answer = outcome(rating.answers[aspect.name], rating.rewritten_first)
            units.setdefault(rating.number, []).append(answer)
    found = [answer for unit in units.values() for answer in unit]
    shares = {name: wilson(found.count(name), len(found)) for name in OUTCOMES[form]}
    return Row(aspect.name, len(found), shares, krippendorff(units.values()))


def _faults(
    ratings: Iterable[Rating], aspects: Sequence[Aspect], shown: Mapping[int, Shown]
) -> Iterator[Fault]:
    by_turn: dict[tuple[int, int, str], list[tuple[str, str]]] = {}
    for rating in ratings:
        for name, answer in (rating.answers or {}).items():
            for turn in answer.turns if isinstance(answer, Judgement) else ():
                remark = rating.rater, answer.feedback
                by_turn.setdefault((rating.number, turn, name), []).append(remark)
    order = {aspect.name: place for place, aspect in enumerate(aspects)}
    for key in sorted(by_turn, key=lambda key: (key[0], key[1], order[key[2]])):
        number, turn, name = key
        raters, remarks = zip(*by_turn[key], strict=True)
        said = shown[number].text[2 * turn - 2 : 2 * turn]
        yield Fault(number, turn, name, raters, tuple(filter(None, remarks)), *(w for _, w in said))


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
