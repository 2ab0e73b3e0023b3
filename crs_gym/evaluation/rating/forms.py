"""What judges are asked about dialogues (ICER, section 5.1 and Figures 14 and 15).

There are two forms. One is about a single dialogue: yes or no for each of eight aspects and, after
a no, the turns at fault and a remark. The other is about two dialogues side by side: which is the
better one, for each aspect and overall. The questions mean what the paper's mean, in words of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Form = Literal["dialogue", "pair"]
"""Which questions are asked: about one dialogue, or about two."""

Better = Literal["first", "second", "same"]
"""The first dialogue as it was shown, the second, or about the same."""

LONGEST_FEEDBACK = 4000
"""Characters of one remark."""


@dataclass(frozen=True)
class Aspect:
    """One aspect of quality.

    name: key in answers and exports. title: as in the paper's tables.
    question: about one dialogue, answered by yes (good) or no.
    comparison: about two; None stands for an aspect that one dialogue is not asked about.
    """

    name: str
    title: str
    question: str | None
    comparison: str


ASPECTS = (
    Aspect(
        "progress",
        "Progress",
        "Does the conversation move forward, so that the recommender seems to know better and "
        "better, turn by turn, what the user likes?",
        "In which conversation does the recommender make better progress, turn by turn, in "
        "finding out what the user likes?",
    ),
    Aspect(
        "behavioural_consistency",
        "Behavioural consistency",
        "Does the user stay the same person? What they choose and answer in one turn should "
        "agree with what they chose and answered in the turns before.",
        "In which conversation does the user come across more as one and the same person, whose "
        "choices and answers agree with each other from turn to turn?",
    ),
    Aspect(
        "non_redundancy",
        "Non-redundancy",
        "Is the conversation free of repetition? The recommender should not keep asking much the "
        "same question, or offer again what it has offered before.",
        "Which conversation repeats itself less: fewer questions that are much the same, fewer "
        "recommendations that come again?",
    ),
    Aspect(
        "factuality",
        "Factuality",
        "Is everything that recommender and user say about films true?",
        "In which conversation are the statements about films closer to the truth?",
    ),
    Aspect(
        "context_consistency",
        "Context consistency",
        "Do both stay on the subject, so that everything said fits what went before?",
        "In which conversation does what is said fit better with what went before, and stay on "
        "the subject?",
    ),
    Aspect(
        "attribute_consistency",
        "Attribute consistency",
        "Does the recommender take up what the user says about the films they want, and fit its "
        "recommendations to it?",
        "In which conversation does the recommender better take up what the user wants, and fit "
        "its recommendations to it?",
    ),
    Aspect(
        "naturalness",
        "Naturalness",
        "Does the conversation flow naturally from turn to turn, so that you could imagine having "
        "it yourself?",
        "Which conversation flows more naturally, so that you could rather imagine having it "
        "yourself?",
    ),
    Aspect(
        "fluency",
        "Fluency",
        "Is what recommender and user say good, fluent English?",
        "In which conversation do recommender and user speak better, more fluent English?",
    ),
)
OVERALL = Aspect(
    "overall", "Overall", None, "All in all, which of the two conversations do you prefer?"
)

INTRODUCTION = (
    "A recommender helps a user to find a film to watch. It has no films of its own to sell. In "
    "each turn it asks a question or recommends films, and the user answers."
)
INSTRUCTIONS: Mapping[Form, str] = {
    "dialogue": f"{INTRODUCTION} Read the conversation, then answer the questions below it. After "
    "a No, tick the turns in which something is wrong; a remark is welcome.",
    "pair": f"{INTRODUCTION} Read both conversations, then say which of them is better in each "
    "respect. Remarks are welcome, but not needed.",
}


@dataclass(frozen=True)
class Judgement:
    """The answer about one aspect of one dialogue.

    yes: whether the dialogue is good in this respect.
    turns: after a no, the turns at fault, from 1.
    feedback: after a no, a remark; may be empty.
    """

    yes: bool
    turns: tuple[int, ...] = ()
    feedback: str = ""


@dataclass(frozen=True)
class Preference:
    """The answer about one aspect of two dialogues.

    better: the one on the first place, on the second, or about the same.
    feedback: a remark; may be empty.
    """

    better: Better
    feedback: str = ""


Answers = Mapping[str, Judgement | Preference]
"""A filled form: what was answered about each aspect, by its name; all of one class."""


class NotFilled(ValueError):
    """A form is not filled in as it should be; the message tells the judge what is missing."""


def aspects_of(form: Form) -> tuple[Aspect, ...]:
    """The aspects that a form asks about, in order: eight, and overall quality for a pair."""
    return ASPECTS if form == "dialogue" else (*ASPECTS, OVERALL)


def check(answers: Answers, form: Form, turns: int) -> None:
    """Whether a form is filled in: every aspect once, and each answer as its class says.

    Args:
        turns: how many the dialogue has; not looked at for a pair.

    Raises:
        NotFilled: an aspect without an answer, an unknown one, an answer of the other form, a no
            without turns, turns that do not exist or stand twice, turns or a remark with a yes, a
            remark of more than `LONGEST_FEEDBACK` characters or with half a character.
    """
    aspects = aspects_of(form)
    missing = [aspect.title for aspect in aspects if aspect.name not in answers]
    if missing:
        raise NotFilled(f"not answered yet: {', '.join(missing)}")
    unknown = sorted(set(answers) - {aspect.name for aspect in aspects})
    if unknown:
        raise NotFilled(f"this form does not ask about {', '.join(unknown)}")
    for aspect in aspects:
        answer = answers[aspect.name]
        if len(answer.feedback) > LONGEST_FEEDBACK:
            raise NotFilled(f"{aspect.title}: the remark is over {LONGEST_FEEDBACK} characters")
        if not is_text(answer.feedback):
            raise NotFilled(f"{aspect.title}: the remark holds half a character")
        if isinstance(answer, Preference) and form == "pair":
            if answer.better not in get_args(Better):
                raise NotFilled(f"{aspect.title}: {answer.better!r} is not an answer")
        elif isinstance(answer, Judgement) and form == "dialogue":
            _check_judgement(answer, aspect.title, turns)
        else:
            raise NotFilled(f"{aspect.title}: an answer for the other form")


def is_text(text: str) -> bool:
    """Whether a text can be stored: no half of a surrogate pair is in it."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def to_json(answers: Answers) -> dict[str, Any]:
    """Plain values; `from_json` takes them back."""
    return {name: asdict(answer) for name, answer in answers.items()}


def from_json(values: Any, form: Form) -> Answers:
    """A filled form from plain values; `check` has yet to look at it.

    Raises:
        NotFilled: values of another shape or type.
    """
    if not isinstance(values, dict):
        raise NotFilled(f"a filled form is an object, not {type(values).__name__}")
    read = _judgement if form == "dialogue" else _preference
    return {str(name): read(str(name), value) for name, value in values.items()}


def _check_judgement(answer: Judgement, title: str, turns: int) -> None:
    if answer.yes:
        if answer.turns or answer.feedback:
            raise NotFilled(f"{title}: turns and remarks belong to a No")
        return
    if not answer.turns:
        raise NotFilled(f"{title}: after a No, tick the turns in which something is wrong")
    if len(set(answer.turns)) < len(answer.turns):
        raise NotFilled(f"{title}: a turn is named twice in {_listed(answer.turns)}")
    wrong = [turn for turn in answer.turns if not 1 <= turn <= turns]
    if wrong:
        raise NotFilled(f"{title}: there is no turn {_listed(wrong)}; there are 1 to {turns}")


def _judgement(name: str, value: Any) -> Judgement:
    fields = _fields(name, value, {"yes", "turns", "feedback"}, {"yes"})
    turns: Sequence[Any] = fields.get("turns", ())
    if not isinstance(fields["yes"], bool):
        raise NotFilled(f"{name}: 'yes' is true or false, not {fields['yes']!r}")
    if not isinstance(turns, list | tuple) or any(type(turn) is not int for turn in turns):
        raise NotFilled(f"{name}: 'turns' is a list of whole numbers, not {turns!r}")
    return Judgement(fields["yes"], tuple(turns), fields.get("feedback", ""))


def _preference(name: str, value: Any) -> Preference:
    fields = _fields(name, value, {"better", "feedback"}, {"better"})
    return Preference(fields["better"], fields.get("feedback", ""))


def _fields(name: str, value: Any, allowed: set[str], needed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or not needed <= set(value) <= allowed:
        raise NotFilled(f"{name}: needs {', '.join(sorted(allowed))}, not {value!r}")
    if not isinstance(value.get("feedback", ""), str):
        raise NotFilled(f"{name}: 'feedback' is text, not {value['feedback']!r}")
    return value


def _listed(turns: Iterable[int]) -> str:
    return ", ".join(map(str, turns))
