"""What a text says: cut where it speaks for the other side or never ends, then understood."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from crs_gym.acts import AttributeQuery, ReadableRecommenderAct
from crs_gym.dialogue import NotUnderstood, parse_turn, say, understand
from crs_gym.world import World

Side = Literal["recommender", "user"]

MAX_LENGTH = 1000
"""Characters of a turn; what goes on after them is cut off."""

_NAMES = {
    "recommender": ("recommender", "assistant", "expert"),
    "user": ("user", "human", "seeker", "customer"),
}
_ROLES = ("system", *(name for names in _NAMES.values() for name in names))
# structured turns escape < and >, and the words are heard without that
_LESS, _MORE = "(?:<|&lt;)", "(?:>|&gt;)"
# how chat templates mark that somebody speaks, or has spoken; some have fullwidth bars
_MARK = re.compile(
    rf"{_LESS}[|｜][\w▁-]{{1,40}}[|｜]{_MORE}"
    rf"|{_LESS}\|?/?(?:im_start|im_end|start_header_id|end_header_id|eot_id|end_of_turn|turn|"
    rf"start_of_turn|endoftext|model|bos|eos|eot|end|s|{'|'.join(_ROLES)})\|?{_MORE}"
    rf"|\[/?(?:INST|{'|'.join(_ROLES)})\]",
    re.IGNORECASE,
)
_COLON = r"[ \t*_)\]]*[:：]"
# at a line's beginning, whatever signs stand before the name; where templates lost their marks, a
# line is only the name, and something follows
_SPEAKER = re.compile(
    rf"(?:^|(?<=[\n\r\u2028\u2029]))(?:&gt;|[^\w\n\r\u2028\u2029])*({'|'.join(_ROLES)})"
    rf"(?:{_COLON}[*_]*|\]|[ \t*_]*(?=[\n\r\u2028\u2029]))",
    re.IGNORECASE,
)


def _interjected(names: tuple[str, ...]) -> re.Pattern[str]:
    """Within a line: only after a sentence's end, and with a capital."""
    written = "|".join(form for name in names for form in (name.title(), name.upper()))
    ends = r"(?:(?<=[.!?…)”])|(?<=</movie_title>)|(?<=<response>))"
    return re.compile(rf"{ends}(?:&gt;|[\s#>*_(\[–—-])*({written}){_COLON}")


_OTHERS = {
    side: _interjected(tuple(name for name in _ROLES if name not in own))
    for side, own in _NAMES.items()
}
_END = "</response>"


class Heard(NamedTuple):
    """A recommender's text as a user hears it.

    text: what is left of it after cutting.
    act: what it does; None where that could not be understood.
    words: what the user hears.
    reason: why there is no act; empty where there is one.
    cut: why some of the text was cut off; empty where nothing was.
    """

    text: str
    act: ReadableRecommenderAct | None
    words: str
    reason: str = ""
    cut: str = ""


def trim(text: str, side: Side, max_length: int = MAX_LENGTH) -> tuple[str, str]:
    """The text as far as `side` speaks, and why the rest was cut off (empty where none was).

    Cut are what follows the first mark of a chat template, a line or sentence that begins with
    another speaker's name ("User: ..."), what follows a structured turn, and what is beyond
    `max_length` characters. The speaker's own name at the beginning is taken off without a word.
    """
    text, cut = text.strip(), ""
    own = _SPEAKER.match(text)
    if own and own[1].lower() in _NAMES[side]:
        text = text[own.end() :].lstrip()
    ends = [
        (speaker.start(), f"it goes on as {speaker[1]}")
        for pattern in (_SPEAKER, _OTHERS[side])
        if (speaker := pattern.search(text))
    ]
    if mark := _MARK.search(text):
        ends.append((mark.start(), f"it holds the mark {mark[0]}"))
    if text.startswith("<action>") and _END in text:
        end = text.index(_END) + len(_END)
        if text[end:].strip():
            ends.append((end, "it goes on after its turn"))
    if len(text) > max_length:
        ends.append((max_length, f"it is longer than {max_length:,} characters"))
    if ends:
        end, cut = min(ends)
        text = text[:end].rstrip()
    return text, cut


def hear(text: str, world: World, slate_size: int, max_length: int = MAX_LENGTH) -> Heard:
    """What a user hears of a recommender's text, a structured turn or free text.

    Args:
        slate_size: k; acts of more films are not understood.
    """
    text, cut = trim(text, "recommender", max_length)
    if not text:
        return Heard("", None, "", "nothing is said", cut)
    turn = parse_turn(text, world) if "<action>" in text else understand(text, world)
    if isinstance(turn, NotUnderstood):
        return Heard(text, None, plain(text), turn.reason, cut)
    act, words = turn if isinstance(turn, tuple) else (turn, text)
    films = 1 if isinstance(act, AttributeQuery) else len(act.items)
    if films > slate_size:
        reason = f"{films} films are named, where {slate_size} at most may be"
        return Heard(text, None, words, reason, cut)
    return Heard(text, act, words.strip() or say(act, world), "", cut)


def printable(line: str) -> str:
    """The line with "?" for whatever a terminal or file cannot be given, a lone surrogate say."""
    return "".join(c if c.isprintable() else "?" for c in line)


def plain(text: str) -> str:
    """The text without tags, on one line: what can be read of a broken structured turn."""
    return " ".join(re.sub(r"</?\w+>", " ", text).split())
