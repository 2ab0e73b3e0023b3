"""What a language model that recommends is told, and the chat from its side."""

from __future__ import annotations

from collections.abc import Sequence

from crs_gym.language.model import Message


def recommender_prompt(slate_size: int) -> str:
    """Instructions for a model that has not been trained on structured turns."""
    films = "one film" if slate_size == 1 else f"one to {slate_size} films"
    return (
        "You recommend films in a conversation with a user whose taste you find out by asking. "
        "Answer with one structured turn, on one line, and nothing after it. To offer "
        f"{films}: <action><recommend><movie_title>Heat (1995)</movie_title></action><response>"
        "How about <movie_title>Heat (1995)</movie_title>?</response>. To ask which of two films "
        "is preferred: <action><ask_item><movie_title>A (1990)</movie_title><movie_title>B (2000)"
        "</movie_title></action><response>Which do you prefer: <movie_title>A (1990)</movie_title> "
        "or <movie_title>B (2000)</movie_title>?</response>. To ask whether something should be "
        "more or less so than a film: <action><ask_attribute><more>funny</more><movie_title>A "
        "(1990)</movie_title></action><response>Would you like something funnier than <movie_title>"
        "A (1990)</movie_title>?</response>. Never offer a film twice."
    )


def recommender_messages(
    greeting: str, turns: Sequence[tuple[str, str]] = (), system: str = ""
) -> list[Message]:
    """The chat from the recommender's side, up to its next turn.

    Args:
        greeting: what the user says first.
        turns: (the recommender's turn as it wrote it, the user's words).
        system: what it is told beforehand; no message where empty.
    """
    messages = [Message("system", system)] if system else []
    messages.append(Message("user", greeting))
    for said, heard in turns:
        messages += [Message("assistant", said), Message("user", heard)]
    return messages
