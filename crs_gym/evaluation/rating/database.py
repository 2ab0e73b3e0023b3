"""The SQLite file under the ratings: its tables, and what may be read from it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crs_gym.evaluation.rating.study import Shown, Study
from crs_gym.world import DataError

FORMAT = 1
_APPLICATION = 0x63724152  # tells our files from other programs'

_TABLES = (
    "CREATE TABLE study (content TEXT NOT NULL)",
    """CREATE TABLE dialogue (
        number INTEGER PRIMARY KEY, position INTEGER NOT NULL, content TEXT NOT NULL)""",
    """CREATE TABLE rater (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, UNIQUE (kind, name),
        CHECK (kind IN ('person', 'model')))""",
    """CREATE TABLE assignment (
        id INTEGER PRIMARY KEY, rater INTEGER NOT NULL REFERENCES rater,
        dialogue INTEGER NOT NULL REFERENCES dialogue, rewritten_first INTEGER NOT NULL,
        expires REAL NOT NULL, UNIQUE (rater, dialogue))""",
    """CREATE TABLE answer (
        id INTEGER PRIMARY KEY AUTOINCREMENT, assignment INTEGER NOT NULL REFERENCES assignment,
        given TEXT NOT NULL, surplus INTEGER NOT NULL, content TEXT NOT NULL)""",
    "CREATE INDEX answer_of ON answer (assignment)",
    """CREATE TRIGGER answers_stay BEFORE DELETE ON answer
        BEGIN SELECT RAISE(ABORT, 'answers are never deleted'); END""",
    """CREATE TRIGGER answers_keep BEFORE UPDATE ON answer
        BEGIN SELECT RAISE(ABORT, 'answers are never changed'); END""",
)


@contextmanager
def connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of its own; SQLite's errors become ours."""
    try:
        db = sqlite3.connect(path, timeout=30.0, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")  # an answer survives a loss of power
            db.execute("PRAGMA foreign_keys = ON")
            yield db
        finally:
            db.close()
    except sqlite3.OperationalError as error:
        raise OSError(f"cannot use {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path} is not a whole file of ratings ({error})") from error


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """A transaction that no other writer comes between."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def is_blank(db: sqlite3.Connection) -> bool:
    """Whether nothing was ever written."""
    return not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


def use_wal(db: sqlite3.Connection) -> None:
    """From now on readers and a writer do not wait for each other."""
    db.execute("PRAGMA journal_mode = WAL")


def create(db: sqlite3.Connection, study: Study) -> None:
    """Tables and the study, within the caller's transaction."""
    for table in _TABLES:
        db.execute(table)
    rows = []
    for position, shown in enumerate(study.dialogues):
        content = {"text": shown.text, "template": shown.template}
        rows.append((shown.number, position, json.dumps(content, ensure_ascii=False)))
    db.executemany("INSERT INTO dialogue VALUES (?, ?, ?)", rows)
    settings = {k: v for k, v in vars(study).items() if k != "dialogues"}
    db.execute("INSERT INTO study VALUES (?)", (json.dumps(settings),))
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute(f"PRAGMA user_version = {FORMAT}")


def check_ours(db: sqlite3.Connection, path: Path) -> None:
    """Raises DataError where another program or version wrote the file."""
    if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
        raise DataError(
            f"{path} is a database of another program, not one of ratings; name another file"
        )
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != FORMAT:
        raise DataError(
            f"{path} holds ratings of format {version}, this version reads {FORMAT}; name another "
            "file, or use the crs-gym that wrote it"
        )


def read_study(db: sqlite3.Connection, path: Path) -> Study:
    """The study as it was begun; DataError where the file was altered."""
    try:
        (settings,) = db.execute("SELECT content FROM study").fetchone()
        rows = db.execute("SELECT number, content FROM dialogue ORDER BY position").fetchall()
        return Study(dialogues=tuple(read_shown(*row) for row in rows), **json.loads(settings))
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{path} was altered: its study cannot be read ({error})") from error


def read_shown(number: int, content: str) -> Shown:
    """Words of a dialogue from their JSON."""
    words = json.loads(content)
    text, template = (
        tuple((str(who), str(said)) for who, said in words[side]) for side in ("text", "template")
    )
    return Shown(number, text, template)
