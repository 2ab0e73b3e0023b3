"""Why a rewritten turn is refused."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Reason(enum.StrEnum):
    """The kinds of faults, as they are counted."""

    EMPTY = "empty"
    LONG = "too long"
    CUT_OFF = "cut off"
    LINES = "several lines"
    MARKUP = "markup"
    ROLE = "role mark"
    META = "talk about the task"
    OTHER_SIDE = "speaks for the other side"
    UNKNOWN_FILM = "unknown film"
    OTHER_FILM = "other film"
    MISSING_FILM = "missing film"
    MISSING_YEAR = "missing year"
    OTHER_ACT = "other act"
    OTHER_ATTRIBUTE = "other attribute"
    OTHER_DIRECTION = "other direction"
    CONTRADICTION = "contradiction"
    UNCLEAR = "unclear"


class Rejection(NamedTuple):
    """Why a text may not stand for its template; `detail` says it in words."""

    reason: Reason
    detail: str
