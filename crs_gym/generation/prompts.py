"""What a language model is asked when it is to rewrite a turn (ICER, section 3.4, Figures 4-7).

A prompt knows the dialogue so far and the turn's template, and nothing of later turns: a model that
sees what comes lets people answer what has not been said (section 3.4).

There are two styles. "full" is for models that follow instructions: the rules for this kind of turn
and two rewritten examples. "short" is for small models that were trained on it: the last thing that
the other side said, the kind of the turn, and the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from crs_gym.acts import ReadableRecommenderAct, ReadableUserAct
from crs_gym.dialogue.grammar import KINDS
from crs_gym.generation.records import Speaker
from crs_gym.language import Message

Style = Literal["full", "short"]


@dataclass(frozen=True)
class Guide:
    """How one kind of turn is to be rewritten.

    rules: what the new wording must and must not do.
    examples: (template, rewritten) pairs.
    """

    rules: tuple[str, ...]
    examples: tuple[tuple[str, str], tuple[str, str]]


_SYSTEM = """\
You put life into stilted conversations between a film recommender and a user. You are shown a \
conversation and its next turn, written stiffly. Say that turn again the way a person would, so \
that it follows from what was said before. It must do exactly what the stiff turn does, no more \
and no less.

Write one line of at most {words} words: the words that the {speaker} says and nothing else. No \
name before them, no quotation marks around them, no remark about your work."""

_FILMS = (
    "Name every film of the stiff turn once, each with its year in brackets right after the title, "
    "as in Gravity (2013).",
    "Name no other film.",
)
_REASON = "You may give a short reason, but none that asks for something new."
_NO_STRANGERS = "Name no film that the recommender did not just name."

GUIDES: Mapping[str, Guide] = MappingProxyType(
    {
        "recommend": Guide(
            (
                *_FILMS,
                "Offer all of these films; do not ask which one is preferred.",
                "You may add a few words about each film.",
                "Where the stiff turn has no film to offer, say only that.",
            ),
            (
                (
                    "You might like Gravity (2013) or Paddington (2014).",
                    "For tonight I'd recommend Gravity (2013), which is pure suspense in space, or "
                    "the very charming Paddington (2014).",
                ),
                ("I have nothing left to suggest.", "I'm afraid I have nothing left to suggest."),
            ),
        ),
        "ask_item": Guide(
            (
                *_FILMS,
                "Do not recommend any film: ask which of them the user prefers.",
                "You may add a few words about each film.",
                "End with the question.",
            ),
            (
                (
                    "Which of these do you prefer: Gravity (2013) or Paddington (2014)?",
                    "Say you had Gravity (2013), tense and lonely, and Paddington (2014), warm and "
                    "silly: which one would you rather watch?",
                ),
                (
                    "Tell me which you like best: Jaws (1975) or Chicago (2002).",
                    "Let me get to know your taste. Between Jaws (1975) and Chicago (2002), which "
                    "one do you like best?",
                ),
            ),
        ),
        "ask_attribute": Guide(
            (
                *_FILMS,
                "Do not recommend the film: ask whether the user wants more or less of the quality "
                "that the stiff turn speaks of, compared with that film.",
                "Keep the wording of that quality, and whether it is more or less.",
                "End with the question.",
            ),
            (
                (
                    "Compared with Gravity (2013), would you like something less scary?",
                    "Gravity (2013) can be hard on the nerves. Would you prefer something less "
                    "scary than that?",
                ),
                (
                    "Starting from Jaws (1975), should I look for a film with more laughs?",
                    "Take Jaws (1975), for example. Would you like a film with more laughs?",
                ),
            ),
        ),
        "accept": Guide(
            (
                "Take the film that the stiff turn takes, and name it.",
                _NO_STRANGERS,
                _REASON,
            ),
            (
                (
                    "Paddington (2014) is what I am looking for, thanks!",
                    "I'll take Paddington (2014), that sounds like a lovely evening!",
                ),
                ("Yes, I'll take Jaws (1975).", "Oh great, let's watch Jaws (1975) then."),
            ),
        ),
        "reject": Guide(
            (
                "Turn down everything that was offered.",
                "Do not say what you would like instead.",
                _NO_STRANGERS,
            ),
            (
                (
                    "No, I don't like any of them.",
                    "Hmm, no, I don't like any of those, to be honest.",
                ),
                ("No, not that one.", "No thanks, I don't think that one is for me."),
            ),
        ),
        "critique": Guide(
            (
                "Turn down what was offered, and ask for more or less of the same quality as the "
                "stiff turn, never the other way round.",
                "Compare with the film that the stiff turn compares with; take no film.",
                _NO_STRANGERS,
                _REASON,
            ),
            (
                (
                    "No. Do you have something funnier than Gravity (2013)?",
                    "I'd like something funnier than Gravity (2013), it has been a long day.",
                ),
                (
                    "Not quite. I'd like something less violent than Jaws (1975).",
                    "Those aren't what I'm after. Could you find me something less violent than "
                    "Jaws (1975)?",
                ),
            ),
        ),
        "choose": Guide(
            (
                "Prefer the film that the stiff turn prefers, and name it.",
                _NO_STRANGERS,
                _REASON,
            ),
            (
                (
                    "I'd choose Chicago (2002).",
                    "I'd go with Chicago (2002), I have a weakness for musicals.",
                ),
                ("Of these I like Jaws (1975) best.", "Easy: I like Jaws (1975) best."),
            ),
        ),
        "answer": Guide(
            (
                "Ask for more or less of the same quality as the stiff turn, never the other way "
                "round.",
                "Keep yes a yes and no a no.",
                _NO_STRANGERS,
                _REASON,
            ),
            (
                (
                    "Yes, I want something less scary.",
                    "Yes, I'd like something less scary, I sleep badly enough.",
                ),
                (
                    "No, I'd prefer a film with fewer laughs.",
                    "No, I'd rather have a film with fewer laughs, I'm not in a silly mood.",
                ),
            ),
        ),
        "leave": Guide(
            ("End the conversation without taking any film.", "Do not ask for anything."),
            (
                ("This leads nowhere. Goodbye.", "I don't think this leads anywhere. Goodbye!"),
                ("I give up. Bye!", "Okay, I give up for today. Bye!"),
            ),
        ),
    }
)
"""How to rewrite each kind of act, by the names of `crs_gym.dialogue.grammar.KINDS`."""

WORDS = 60
"""Words that a model is told to stay within."""


def prompt(
    said: Sequence[tuple[Speaker, str]],
    template: str,
    act: ReadableRecommenderAct | ReadableUserAct,
    style: Style = "full",
) -> tuple[Message, ...]:
    """Asks for the turn that follows on `said` in other words.

    Args:
        said: what was said before, speaker by speaker.
        template: the turn in stiff words.
        act: what the turn does; only its kind is looked at.
        style: "full" or "short".

    Raises:
        ValueError: an unknown style.
    """
    if style not in get_args(Style):
        raise ValueError(f"unknown style {style!r}; there are {', '.join(get_args(Style))}")
    kind = KINDS[type(act)]
    speaker: Speaker = "Recommender" if isinstance(act, ReadableRecommenderAct) else "User"
    if style == "short":
        before = next((words for who, words in reversed(said) if who != speaker), "")
        return (Message("user", f"{before}\n{kind}: {template}"),)
    guide = GUIDES[kind]
    rules = "\n".join(f"- {rule}" for rule in guide.rules)
    examples = "\n\n".join(f"Stiff: {stiff}\nNew: {new}" for stiff, new in guide.examples)
    before = "\n".join(f"{who}: {words}" for who, words in said) or "(nothing yet)"
    return (
        Message("system", _SYSTEM.format(words=WORDS, speaker=speaker.lower())),
        Message(
            "user",
            f"Rules for this turn:\n{rules}\n\nExamples of single turns:\n{examples}\n\n"
            f"The conversation so far:\n{before}\n\n"
            f"The {speaker.lower()}'s next turn, to be said again:\nStiff: {template}\nNew:",
        ),
    )
