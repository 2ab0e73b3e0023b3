"""Text as a row of tokens, and the value that stands for text without a meaning."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from crs_gym.world.titles import title_key

MAX_LENGTH = 4_000
"""Characters of the longest text that is read; cutting a longer one could cut off its "not"."""

# a word keeps its apostrophes: "don't" is one token, "dont"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|&")
_SENTENCE_END = re.compile(r"[.!?\n]")
_CLAUSE_END = re.compile(r"[.!?:;,\n(){}\[\]—]|\s[-–]\s")
_STRAIGHT = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "«": '"', "»": '"'})
_CONTRACTIONS = {
    ("i", "am"): "im",
    ("i", "would"): "id",
    ("i", "will"): "ill",
    ("let", "us"): "lets",
    ("that", "is"): "thats",
    ("it", "is"): "its",
    ("do", "not"): "dont",
    ("does", "not"): "doesnt",
    ("is", "not"): "isnt",
    ("are", "not"): "arent",
    ("can", "not"): "cant",
}


@dataclass(frozen=True)
class NotUnderstood:
    """Text that is no act: `reason` says why, in words for the person or model that wrote it."""

    reason: str


class Token(NamedTuple):
    """A word of a text.

    key: its letters and digits without case or accent.
    start, end: its characters in the text.
    gap: what stands between the token before and this one.
    capital: it holds a capital letter, and not all the text is in capitals.
    first: it begins a sentence.
    """

    key: str
    start: int
    end: int
    gap: str
    capital: bool = False
    first: bool = False

    @property
    def opens(self) -> bool:
        """Whether a clause begins here."""
        return self.first or self.key == "but" or _CLAUSE_END.search(self.gap) is not None


def too_long(text: str, limit: int = MAX_LENGTH) -> NotUnderstood | None:
    """Refuses text of more than `limit` characters."""
    if len(text) <= limit:
        return None
    return NotUnderstood(f"the text is longer than {limit:,} characters")


def normalise(text: str) -> str:
    """The text that tokens point into: composed characters, straight apostrophes and quotes."""
    return unicodedata.normalize("NFC", text).translate(_STRAIGHT)


def tokenise(text: str) -> tuple[Token, ...]:
    """The words of a normalised text, in order."""
    tokens: list[Token] = []
    end = 0
    shouted = text == text.upper()
    for match in _WORD.finditer(text):
        key = title_key(match[0], 0)[0]
        if not key:
            continue
        gap = text[end : match.start()]
        first = not tokens or _SENTENCE_END.search(gap) is not None
        capital = not shouted and match[0] != match[0].lower()
        tokens.append(Token(key, match.start(), match.end(), gap, capital, first))
        end = match.end()
    return tuple(tokens)


def contract(tokens: Iterable[Token]) -> tuple[Token, ...]:
    """The tokens with "do not" written "don't", and so on, so that both are one wording."""
    contracted: list[Token] = []
    for token in tokens:
        if contracted and not token.opens:
            last = contracted[-1]
            if short := _CONTRACTIONS.get((last.key, token.key)):
                contracted[-1] = last._replace(key=short, end=token.end)
                continue
        contracted.append(token)
    return tuple(contracted)


def keys(phrase: str) -> tuple[str, ...]:
    """The keys of the contracted tokens of a phrase: what phrases are compared by."""
    return tuple(token.key for token in contract(tokenise(normalise(phrase))))
