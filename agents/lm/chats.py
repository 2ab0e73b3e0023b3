"""Dialogues as one side's model reads and writes them: rows of tokens with a role for each.

A row is what the model's chat template makes of the messages before its first turn, then turn for
turn what it wrote, its end-of-text token, and what the template puts between that and its next
turn: the other side's words. Supervised training and rollouts build rows from the same pieces, so
that a model is trained on the very tokens that it meets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crs_gym.dialogue import STRUCTURE_TOKENS
from crs_gym.language import Message

_KEPT = 256  # openings whose tokens are remembered
_PROBE = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))


@dataclass(frozen=True)
class Row:
    """A dialogue in tokens.

    ids: (T,) int32.
    own: (T,) bool, the tokens that the model writes, the ends of its turns included.
    """

    ids: np.ndarray
    own: np.ndarray


class ChatFormat:
    """How a tokenizer's chat template lays dialogues out.

    Args:
        tokenizer: of Hugging Face, with a chat template.

    Raises:
        ValueError: it has no chat template or end-of-text token, or its template rewrites earlier
            messages when later ones come, or does not end a turn with that token; the message says
            what helps.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise ValueError(
                "the tokenizer has no chat template: write one (Jinja) to chat_template.jinja in "
                "the model's folder; agents.lm.tiny.CHAT_TEMPLATE is a plain one"
            )
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end-of-text token: set its eos_token")
        before = self._text(_PROBE[:1], opens=True)
        whole = self._text(_PROBE[:2], opens=False)
        after = self._text(_PROBE, opens=True)
        begins = before + "b"
        end = whole.find(tokenizer.eos_token, len(before))
        if not (whole.startswith(begins) and after.startswith(whole) and end >= 0):
            raise ValueError(
                "the chat template must add messages at the end, and end a turn of the assistant "
                f"with {tokenizer.eos_token!r} (templates that strip or add thoughts do neither): "
                "hand over a simpler one, say agents.lm.tiny.CHAT_TEMPLATE"
            )
        # what stands between the end-of-text token and the other side's message
        self._seam = whole[end + len(tokenizer.eos_token) :]
        self._skip = len(whole)
        self._between: dict[str, list[int]] = {}
        self._openings: dict[tuple[Message, ...], list[int]] = {}

    @property
    def end(self) -> int:
        """The token that ends a turn."""
        return int(self.tokenizer.eos_token_id)

    def opening(self, messages: Sequence[Message]) -> list[int]:
        """Tokens up to where the model's first turn begins."""
        said = tuple(messages)
        if said not in self._openings:
            if len(self._openings) == _KEPT:  # those with personas come once each
                self._openings.clear()
            self._openings[said] = self._tokens(self._text(said, opens=True))
        return list(self._openings[said])

    def turn(self, text: str) -> list[int]:
        """Tokens of a turn of the model, its end included."""
        return [*self._tokens(text), self.end]

    def reply(self, text: str) -> list[int]:
        """Tokens from the end of one turn of the model to the beginning of its next, with the other
        side's `text` in between.
        """
        if text not in self._between:
            said = (*_PROBE[:2], Message("user", text))
            grown = self._seam + self._text(said, opens=True)[self._skip :]
            self._between[text] = self._tokens(grown)
        return self._between[text]

    def text(self, ids: Iterable[int]) -> str:
        """What a turn of the model says, without its end."""
        kept = [int(token) for token in ids if int(token) != self.end]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False))

    def row(self, opening: Sequence[Message], turns: Sequence[tuple[str, str | None]]) -> Row:
        """A whole dialogue: (own turn, the other's reply), the last reply None where none follows
        or none is to be read.
        """
        ids = self.opening(opening)
        own = [False] * len(ids)
        for said, heard in turns:
            piece = self.turn(said)
            ids += piece
            own += [True] * len(piece)
            if heard is not None:
                piece = self.reply(heard)
                ids += piece
                own += [False] * len(piece)
        return Row(np.array(ids, np.int32), np.array(own, bool))

    def without_words(self, ids: Sequence[int], own: Sequence[bool]) -> list[bool]:
        """Which own tokens are not words within the response of a structured turn."""
        opens, closes = self.tokenizer.convert_tokens_to_ids(["<response>", "</response>"])
        kept, within = [], False
        for token, mine in zip(ids, own, strict=True):
            within = within and mine and token not in (closes, self.end)
            kept.append(mine and not within)
            within = mine and (within or token == opens)
        return kept

    def _text(self, messages: Sequence[Message], *, opens: bool) -> str:
        from jinja2 import TemplateError

        plain = [{"role": role, "content": content} for role, content in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    plain, add_generation_prompt=opens, tokenize=False
                )
            )
        except TemplateError as error:
            cure = "hand over another, say agents.lm.tiny.CHAT_TEMPLATE"
            if any(message.role == "system" for message in messages):
                cure = (
                    "where it knows no system role, train a recommender with --system none; "
                    f"for a user, {cure}"
                )
            raise ValueError(f"the chat template refused the messages ({error}): {cure}") from error

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))


def check_marks(tokenizer: Any) -> None:
    """Raises a ValueError where the tags of structured turns are not tokens of their own."""
    known = tokenizer.get_vocab()
    missing = [tag for tag in STRUCTURE_TOKENS if tag not in known]
    if missing:
        raise ValueError(
            f"the tokenizer does not know {len(missing)} of our tags as tokens ({missing[0]}, "
            "...): train the model with agents.lm.sft first, which adds them"
        )


def add_marks(tokenizer: Any, model: Any) -> int:
    """Adds the tags of structured turns that are not tokens yet; how many those were."""
    known = tokenizer.get_vocab()
    missing = [tag for tag in STRUCTURE_TOKENS if tag not in known]
    tokenizer.add_tokens(missing)
    # many models have room for more tokens than their tokenizer knows
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    return len(missing)
