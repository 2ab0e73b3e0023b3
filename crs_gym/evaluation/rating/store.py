"""Ratings in an SQLite file: what is judged, who judges, and every answer as it was given.

Answers are only ever added; a correction is a new row, and the latest one counts. A dialogue is
reserved for whoever has it on their screen, for a while: no more people than wanted judge it, and
a page that is abandoned goes back. People and models are counted apart.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from crs_gym.evaluation.rating.assignments import choose, rewritten_first
from crs_gym.evaluation.rating.database import (
    check_ours,
    connected,
    create,
    is_blank,
    read_shown,
    read_study,
    use_wal,
    writing,
)
from crs_gym.evaluation.rating.forms import Answers, NotFilled, check, from_json, is_text, to_json
from crs_gym.evaluation.rating.study import Lines, Study
from crs_gym.world import DataError

Kind = Literal["person", "model"]

_TAKEN = """
    SELECT dialogue.number, count(held.dialogue) FROM dialogue LEFT JOIN (
        SELECT assignment.dialogue FROM assignment JOIN rater ON rater.id = assignment.rater
        WHERE rater.kind = :kind AND coalesce(
            (SELECT NOT surplus FROM answer WHERE answer.assignment = assignment.id LIMIT 1),
            assignment.expires > :now)
    ) AS held ON held.dialogue = dialogue.number
    GROUP BY dialogue.number ORDER BY dialogue.position"""
_DONE = """
    SELECT dialogue FROM assignment WHERE rater = ?
    AND EXISTS (SELECT 1 FROM answer WHERE answer.assignment = assignment.id)"""
_HELD = """
    SELECT dialogue FROM assignment WHERE rater = ? AND expires > ?
    AND NOT EXISTS (SELECT 1 FROM answer WHERE answer.assignment = assignment.id)"""
_RATINGS = """
    SELECT assignment.dialogue, rater.name, rater.kind, assignment.rewritten_first,
        answer.given, answer.surplus, answer.content
    FROM answer JOIN assignment ON assignment.id = answer.assignment
    JOIN rater ON rater.id = assignment.rater
    WHERE answer.id IN (SELECT max(id) FROM answer GROUP BY assignment) ORDER BY answer.id"""


class Assignment(NamedTuple):
    """What one judge is shown. Nothing here tells which dialogue of a pair is which.

    id: to hand in with the answers. number: the dialogue's.
    first, second: the words; `second` is empty where a single dialogue is judged.
    answers: what this judge has answered before, or None.
    """

    id: int
    number: int
    first: Lines
    second: Lines
    answers: Answers | None


class Rating(NamedTuple):
    """The latest answers of one judge about one dialogue or pair.

    number: of the dialogue. rater, kind: who judged.
    rewritten_first: whether, in a pair, the rewritten dialogue was the first one.
    given: UTC, ISO 8601.
    surplus: whether they came when the page had expired and others had judged in its place.
    answers: None where a model gave none that could be read; then `reason` says why.
    """

    number: int
    rater: str
    kind: Kind
    rewritten_first: bool
    given: str
    surplus: bool
    answers: Answers | None
    reason: str


class Progress(NamedTuple):
    """How far one judge is: `done` of `total`; the total shrinks as others judge."""

    done: int
    total: int


@dataclass(frozen=True)
class Store:
    """An open file of ratings; safe to use from several threads and processes.

    path: the file. study: what is judged.
    hold: seconds for which a dialogue stays with the judge who has it on their screen.
    clock: seconds since the epoch.
    """

    path: Path
    study: Study
    hold: float = 3600.0
    clock: Callable[[], float] = time.time

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> Store:
        """Opens a file that `begin` made; `options` are `hold` and `clock`.

        Raises:
            FileNotFoundError: there is no such file.
            DataError: the file is not one of ratings, damaged, or of another version.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no ratings at {path}; `crs-gym rate page` begins a file")
        with connected(path) as db:
            check_ours(db, path)
            return cls(path, read_study(db, path), **options)

    @classmethod
    def begin(cls, path: str | Path, study: Study, **options: Any) -> Store:
        """Begins a file, or goes on with one of the same study.

        Raises:
            DataError: as `open`, or the file holds another study.
            OSError: the folder does not exist or cannot be written.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
        with connected(path) as db:
            if is_blank(db):
                use_wal(db)
                with writing(db):
                    if is_blank(db):
                        create(db, study)
        store = cls.open(path, **options)
        if store.study != study:
            raise DataError(f"{path} {_difference(store.study, study)}; name another file")
        return store

    def rater(self, name: str, kind: Kind = "person") -> int:
        """The id of a judge; a new name is a new judge.

        Raises:
            ValueError: an empty name, or one of more than 80 characters.
        """
        name = " ".join(name.split())
        if not (1 <= len(name) <= 80 and is_text(name)):
            raise ValueError("please give a name or a code of 1 to 80 characters")
        with self._connected() as db, writing(db):
            db.execute("INSERT OR IGNORE INTO rater (name, kind) VALUES (?, ?)", (name, kind))
            found = db.execute("SELECT id FROM rater WHERE name = ? AND kind = ?", (name, kind))
            return int(found.fetchone()[0])

    def next(self, rater: int) -> Assignment | None:
        """What this judge is to judge now, reserved for `hold` seconds; None when all is done.

        A judge who has something on their screen gets it again, as long as nobody else has taken
        the place.
        """
        with self._connected() as db, writing(db):
            name, kind = _judge(db, rater)
            now, done = self.clock(), _done(db, rater)
            taken, number = _taken(db, kind, now), _held(db, rater, now)
            if number is None and len(done) < self._cap(kind):
                number = choose(taken, done, self._limit(kind), name, self.study.seed)
            if number is None:
                return None
            return self._assign(db, rater, number, taken)

    def pending(self, rater: int) -> list[Assignment]:
        """All that a model has not judged yet, in the order drawn.

        Raises:
            ValueError: the judge is a person: those get one dialogue at a time.
        """
        with self._connected() as db, writing(db):
            _, kind = _judge(db, rater)
            if kind == "person":
                raise ValueError("people get one dialogue at a time")
            done, taken = _done(db, rater), _taken(db, kind, self.clock())
            return [self._assign(db, rater, n, taken) for n in taken if n not in done]

    def previous(self, rater: int) -> Assignment | None:
        """What this judge has judged last, with the answers, to be corrected; None if nothing."""
        query = """SELECT assignment.id FROM assignment JOIN answer ON assignment = assignment.id
            WHERE rater = ? ORDER BY answer.id DESC LIMIT 1"""
        with self._connected() as db:
            row = db.execute(query, (rater,)).fetchone()
            return None if row is None else self._assignment(db, row[0])

    def answer(self, assignment: int, answers: Answers) -> None:
        """Keeps answers, for good, before it returns.

        Raises:
            NotFilled: the form is not filled in as it should be; nothing is kept.
        """
        with self._connected() as db, writing(db):
            shown = self._assignment(db, assignment)
            check(answers, self.study.form, len(shown.first) // 2)
            self._keep(db, assignment, to_json(answers))

    def give_up(self, assignment: int, reason: str) -> None:
        """Records that no answers could be had, and why."""
        with self._connected() as db, writing(db):
            self._keep(db, assignment, {"unanswered": reason})

    def progress(self, rater: int) -> Progress:
        """How much this judge has done, and of how much."""
        with self._connected() as db:
            _, kind = _judge(db, rater)
            now, limit, done = self.clock(), self._limit(kind), _done(db, rater)
            held = _held(db, rater, now)
            left = sum(
                number not in done and (number == held or limit is None or count < limit)
                for number, count in _taken(db, kind, now).items()
            )
            return Progress(len(done), int(min(len(done) + left, self._cap(kind))))

    def ratings(self) -> list[Rating]:
        """The latest answers of every judge about every dialogue, in the order given.

        Raises:
            DataError: the file was altered.
        """
        with self._connected() as db:
            return [self._rating(*row) for row in db.execute(_RATINGS)]

    def _connected(self) -> AbstractContextManager[sqlite3.Connection]:
        return connected(self.path)

    def _limit(self, kind: Kind) -> int | None:
        return self.study.raters if kind == "person" else None

    def _cap(self, kind: Kind) -> float:
        return self.study.each if kind == "person" and self.study.each else math.inf

    def _assign(
        self, db: sqlite3.Connection, rater: int, number: int, taken: Mapping[int, int]
    ) -> Assignment:
        expires = self.clock() + self.hold
        first = rewritten_first(number, taken[number], self.study.seed)
        # a page that comes back keeps the sides it was shown with
        (assignment,) = db.execute(
            "INSERT INTO assignment (rater, dialogue, rewritten_first, expires) "
            "VALUES (?, ?, ?, ?) ON CONFLICT (rater, dialogue) DO UPDATE SET expires = ? "
            "RETURNING id",
            (rater, number, first, expires, expires),
        ).fetchone()
        return self._assignment(db, assignment)

    def _assignment(self, db: sqlite3.Connection, assignment: int) -> Assignment:
        query = """SELECT dialogue.number, dialogue.content, rewritten_first,
            (SELECT content FROM answer WHERE assignment = assignment.id ORDER BY id DESC LIMIT 1)
            FROM assignment JOIN dialogue ON dialogue.number = dialogue WHERE assignment.id = ?"""
        row = db.execute(query, (assignment,)).fetchone()
        if row is None:
            raise ValueError(f"there is no assignment {assignment}")
        number, content, rewritten, given = row
        shown = read_shown(number, content)
        sides = (shown.text, shown.template)
        if self.study.form == "pair" and not rewritten:
            sides = (shown.template, shown.text)
        values = None if given is None else json.loads(given)
        unread = values is None or "unanswered" in values
        answers = None if unread else from_json(values, self.study.form)
        return Assignment(assignment, number, *sides, answers)

    def _keep(self, db: sqlite3.Connection, assignment: int, content: dict[str, Any]) -> None:
        earlier = db.execute("SELECT surplus FROM answer WHERE assignment = ?", (assignment,))
        row = earlier.fetchone()
        surplus = row[0] if row else self._has_expired(db, assignment)
        db.execute(
            "INSERT INTO answer (assignment, given, surplus, content) VALUES (?, ?, ?, ?)",
            (assignment, _iso(self.clock()), surplus, json.dumps(content, ensure_ascii=False)),
        )

    def _has_expired(self, db: sqlite3.Connection, assignment: int) -> bool:
        """Whether the time is over and others have taken the place."""
        query = """SELECT expires, dialogue, kind FROM assignment JOIN rater
            ON rater.id = rater WHERE assignment.id = ?"""
        expires, number, kind = db.execute(query, (assignment,)).fetchone()
        now, limit = self.clock(), self._limit(kind)
        if expires > now or limit is None:
            return False
        return _taken(db, kind, now)[number] >= limit

    def _rating(
        self,
        number: int,
        rater: str,
        kind: Kind,
        first: int,
        given: str,
        surplus: int,
        content: str,
    ) -> Rating:
        try:
            values = json.loads(content)
            reason = str(values.get("unanswered", ""))
            answers = None if "unanswered" in values else from_json(values, self.study.form)
        except (json.JSONDecodeError, AttributeError, NotFilled) as error:
            raise DataError(f"{self.path} was altered: an answer reads {content!r}") from error
        return Rating(number, rater, kind, bool(first), given, bool(surplus), answers, reason)


def _judge(db: sqlite3.Connection, rater: int) -> tuple[str, Kind]:
    row = db.execute("SELECT name, kind FROM rater WHERE id = ?", (rater,)).fetchone()
    if row is None:
        raise ValueError(f"there is no rater {rater}")
    return row[0], row[1]


def _done(db: sqlite3.Connection, rater: int) -> set[int]:
    return {row[0] for row in db.execute(_DONE, (rater,))}


def _taken(db: sqlite3.Connection, kind: Kind, now: float) -> dict[int, int]:
    """For each dialogue, in the order drawn, how many of `kind` have judged it or hold it."""
    return dict(db.execute(_TAKEN, {"kind": kind, "now": now}).fetchall())


def _held(db: sqlite3.Connection, rater: int, now: float) -> int | None:
    """The dialogue that a judge has on their screen."""
    row = db.execute(_HELD, (rater, now)).fetchone()
    return None if row is None else int(row[0])


def _difference(old: Study, new: Study) -> str:
    for name in ("form", "raters", "each", "seed"):
        a, b = getattr(old, name), getattr(new, name)
        if a != b:
            return f"holds a study with {name} {a!r}, not {b!r}"
    return "holds a study of other dialogues"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
