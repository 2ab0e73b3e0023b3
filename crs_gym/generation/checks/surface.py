"""What no turn may look like, whatever it does."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crs_gym.dialogue.text import normalise
from crs_gym.generation.checks.reasons import Reason, Rejection

LONGEST = 400
"""Characters that a turn may have besides the titles of its act."""

_QUOTES = {'"': '"', "“": "”", "«": "»", "'": "'", "‘": "’"}
_ROLE = re.compile(
    r"(?:^|[.!?\"”)]\s+|\n)\W*(?:agent|user|recommender|assistant|system|human|customer|seeker|"
    r"expert|bot|ai|model|new|stiff|template|answer|response|rewritten|output|turn)\W{0,3}:",
    re.IGNORECASE,
)
_META = re.compile(
    r"\b(?:as an ai|ai language|language model|ai assistant|rephras\w*|paraphras\w*|rewrit\w*|"
    r"rewrote|reword\w*|template\w*|stiff turn|(?:the |^)user(?:'s)?|the recommender(?:'s)?|"
    r"last turn|next turn|natural version|another version|"
    r"here(?:'s| is) (?:a|an|the|my) (?:\w+ )?(?:version|sentence|way|response|reply|line)|"
    r"i(?:'m| am) (?:just )?(?:a|an) (?:ai|bot|program|machine)|"
    r"i(?: cannot| can't| am unable to|'m unable to) (?:help|assist|fulfil\w*|comply|do that|"
    r"provide))\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"<[^<>]*>|\[/?[A-Za-z_ ]+\]|[{}|#\\^~`]|\*\*|https?:|�")


def tidy(text: str) -> str:
    """The text without blanks and quotation marks around all of it."""
    text = text.strip()
    closing = _QUOTES.get(text[:1])
    inside = text[1:-1]
    if closing and len(text) > 2 and text.endswith(closing):
        apart = text[0] in "'‘" or not {text[0], closing} & set(inside)
        single = text[0] in "'‘" and re.search(r"(?<!\w)['‘]|['’](?!\w)", inside)
        if apart and not single:
            return inside.strip()
    return text


def blemish(text: str, titles: Sequence[str]) -> Rejection | None:
    """Emptiness, length, line breaks, markup, role marks and talk about the task.

    Args:
        text: as `tidy` gives it.
        titles: of the act, with their years: what stands in them is no fault.
    """
    rest = normalise(text)
    for title in sorted(titles, key=len, reverse=True):
        rest = rest.replace(normalise(title), "film")
    if not re.search(r"\w", rest):
        return Rejection(Reason.EMPTY, "nothing is said")
    if len(rest) > LONGEST:
        return Rejection(Reason.LONG, f"{len(rest)} characters besides titles, over {LONGEST}")
    if found := _ROLE.search(rest):
        return Rejection(Reason.ROLE, f"{found[0].strip()!r} marks a speaker")
    if len(rest.splitlines()) > 1:
        return Rejection(Reason.LINES, "more than one line")
    if not rest.isprintable():
        return Rejection(Reason.MARKUP, "characters that cannot be printed")
    if found := _MARKUP.search(rest):
        return Rejection(Reason.MARKUP, f"{found[0]!r} is no speech")
    if found := _META.search(rest):
        return Rejection(Reason.META, f"{found[0]!r} speaks of the task")
    return None
