"""Dialogues without ICER: a language model talks to itself (ICER, section 5.2, A.5 and A.6).

One plays the recommender, one the user, and both know the user's text profile. With elicitation
the recommender is told of ICER's three acts and shown a dialogue; without, it is free. The prompts
say what the paper's say, in words of our own.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from crs_gym.acts import Accept
from crs_gym.dialogue import NotUnderstood, understand, understand_response
from crs_gym.evaluation.judging.pairs import Case
from crs_gym.generation.records import Speaker
from crs_gym.language import Failure, LanguageModel, Message, Request, check_asked
from crs_gym.world import DataError, World

TAKEN = "ACCEPTED"
"""With this word the user's model says that it takes a film; transcripts leave it out."""

_RECOMMENDER = """\
You recommend films. You are friendly, and you want to find one film for the user you talk to \
that they do not know yet and will enjoy. Below you read what is known of their taste; it is \
little, and not certain.

The conversation has at most {turns} turns. Each time, first think over what the user has told \
you, then say one thing to them, in one or two sentences.{acts}Recommend films at least once \
before the conversation ends; it ends when the user accepts a film. Name films with their year, \
as in Heat (1995)."""
_RECOMMENDER_ACTS = """ \
What you say is one of three things:
- A question about films: name a few and ask which one the user likes most. Two are easier to \
compare than many.
- A question about a quality: ask whether the user wants more or less of it than a film you name \
has, for instance something funnier than Forrest Gump (1994). From then on, do as they say.
- A recommendation: offer a few films and see whether the user accepts one. Who declines may say \
what they want more or less of.
"""
_USER = """\
You are a person who talks to a film recommender, in the first person. Below you read what is \
known of your taste. You do not know yet what to watch, and need the recommender's help to find it.

Answer what you were just told in one or two sentences, in agreement with your taste and with \
what you said before.{acts}If a film you are offered suits you, you may accept it: then end your \
answer with the word {taken}."""
_USER_ACTS = """ \
The recommender does one of three things:
- It names films and asks which one you like most: choose one, with a reason if you want.
- It asks whether you want more or less of some quality than a film has: say which.
- It recommends films: accept one, or decline. When you decline you may say of what you want more \
or less than the films have.
"""
_EXAMPLE = "\n\nHere is an example of such a conversation:\n{example}"
_CONTEXT = "\n\nWhat is known of {whose} taste: {profile}"
_BEGIN = "Hello, I am looking for a film."
_LABEL = re.compile(r"^\s*(?:\**(?:Recommender|Assistant|User|Q|A)\**:\s*)+", re.IGNORECASE)
_MARK = re.compile(rf"\s*\b{TAKEN}\b[.!]?")
_STOP = ("\nUser:", "\nRecommender:", "\nQ:", "\nA:")


@dataclass(frozen=True)
class Transcript:
    """A conversation of which only the words are known.

    number: of the dialogue whose user this is.
    user_id: row of the world's population.
    profile: the text that both sides knew.
    turns: (recommender's, user's) words of each turn.
    accepted: whether the user accepted a film, which ends the conversation.
    elicitation: whether the prompts told of ICER's acts.
    model: the language model's name.
    failure: why it broke off, where the model failed; else empty.
    """

    number: int
    user_id: int
    profile: str
    turns: tuple[tuple[str, str], ...]
    accepted: bool
    elicitation: bool
    model: str
    failure: str = ""

    def lines(self, turns: int | None = None) -> list[tuple[Speaker, str]]:
        """What is said in the first `turns` turns (all if None), speaker by speaker."""
        found: list[tuple[Speaker, str]] = []
        for said, answered in self.turns[:turns]:
            found += [("Recommender", said), ("User", answered)]
        return found


def converse(
    model: LanguageModel,
    cases: Sequence[Case],
    world: World,
    *,
    elicitation: bool = True,
    example: str = "",
    turns: int = 7,
    temperature: float = 0.7,
    max_tokens: int = 128,
    seed: int = 0,
    progress: bool = True,
) -> list[Transcript]:
    """One conversation with the user of each case, all of them turn by turn.

    Args:
        elicitation: whether the prompts tell of ICER's three acts.
        example: a dialogue to show with them, as `Dialogue.transcript` writes it; only used with
            `elicitation`, and best one that is not judged.
        turns: at most so many.
        temperature, max_tokens, seed: of the replies.

    Raises:
        ValueError: fewer than one turn.
        ConnectionError: the model cannot be asked until somebody acts; the message says how.
    """
    if turns < 1:
        raise ValueError(f"a conversation needs at least one turn, not {turns}")
    talks = [_Talk(case, case.profile.text(world), elicitation, example, turns) for case in cases]
    bar = tqdm(total=turns, desc=f"{model.name} twice", unit="turn", disable=not progress)
    with bar:
        for turn in range(turns):
            for as_user in (False, True):
                going = [talk for talk in talks if talk.going]
                if not going:
                    break
                # every talk has luck of its own, and every turn
                requests = [
                    Request(
                        talk.chat(as_user),
                        max_tokens=max_tokens,
                        temperature=temperature,
                        stop=_STOP,
                        seed=seed + turns * talk.case.number + turn,
                    )
                    for talk in going
                ]
                replies = model.generate(requests)
                check_asked(model, replies)
                for talk, reply in zip(going, replies, strict=True):
                    if isinstance(reply, Failure):
                        talk.failure = reply.reason
                    else:
                        talk.hear(reply.text, as_user, world)
            bar.update()
    return [talk.transcript(model.name) for talk in talks]


class _Talk:
    """A conversation in the making."""

    def __init__(
        self, case: Case, profile: str, elicitation: bool, example: str, turns: int
    ) -> None:
        self.case, self.profile, self.elicitation = case, profile, elicitation
        self.said: list[str] = []
        self.accepted = False
        self.failure = ""
        shown = _EXAMPLE.format(example=example) if elicitation and example else ""
        acts = (_RECOMMENDER_ACTS, _USER_ACTS) if elicitation else (" ", " ")
        self.system = (
            _RECOMMENDER.format(turns=turns, acts=acts[0])
            + shown
            + _CONTEXT.format(whose="the user's", profile=profile),
            _USER.format(acts=acts[1], taken=TAKEN)
            + shown
            + _CONTEXT.format(whose="your", profile=profile),
        )

    @property
    def going(self) -> bool:
        return not self.accepted and not self.failure

    def chat(self, as_user: bool) -> tuple[Message, ...]:
        """The conversation as one side's model sees it: what it said is the assistant's."""
        opening = [] if as_user else [Message("user", _BEGIN)]
        spoken = [
            Message("assistant" if place % 2 == as_user else "user", text)
            for place, text in enumerate(self.said)
        ]
        return (Message("system", self.system[as_user]), *opening, *spoken)

    def hear(self, text: str, as_user: bool, world: World) -> None:
        words = " ".join(_LABEL.sub("", text).split())
        if as_user:
            rest = _MARK.sub("", words).strip()
            self.accepted = rest != words or _takes(words, self.said[-1], world)
            words = rest or words
        if words:
            self.said.append(words)
        else:
            self.failure = "the model said nothing"

    def transcript(self, model: str) -> Transcript:
        # a recommender that was not answered has not had its turn
        pairs = tuple(zip(self.said[::2], self.said[1::2], strict=False))
        return Transcript(
            number=self.case.number,
            user_id=self.case.user_id,
            profile=self.profile,
            turns=pairs,
            accepted=self.accepted,
            elicitation=self.elicitation,
            model=model,
            failure=self.failure,
        )


def _takes(answered: str, said: str, world: World) -> bool:
    """Whether the words alone are understood as taking what was offered."""
    act = understand(said, world)
    if isinstance(act, NotUnderstood):
        return False
    return isinstance(understand_response(answered, act, world), Accept)


def retold(cases: Sequence[Case], transcripts: Iterable[Transcript], world: World) -> list[Case]:
    """The same questions about these transcripts, for judges of words.

    Raises:
        ValueError: a transcript that is about none of the cases' dialogues, or whose sides knew
            another profile than the case's, as of another seed: its films might be asked about.
    """
    by_number = {case.number: case for case in cases}
    found = []
    for transcript in transcripts:
        case = by_number.get(transcript.number)
        if case is None or case.user_id != transcript.user_id:
            raise ValueError(
                f"transcript {transcript.number} with user {transcript.user_id} belongs to none of "
                "the dialogues; judge it with those that it was made from"
            )
        if transcript.profile != case.profile.text(world):
            raise ValueError(
                f"transcript {transcript.number} was made with another profile of its user; judge "
                "with the --seed that it was made with"
            )
        found.append(case.retold(transcript.turns))
    return found


def write_transcripts(transcripts: Iterable[Transcript], path: str | Path) -> None:
    """One JSON object a line; an interrupted write leaves no broken file.

    Raises:
        OSError: the folder does not exist, or the disk is full.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    # ASCII holds whatever a model wrote: half a surrogate pair, line separators
    lines = (json.dumps(asdict(t)) + "\n" for t in transcripts)
    try:
        partial.write_text("".join(lines), encoding="ascii")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_transcripts(path: str | Path) -> list[Transcript]:
    """What `write_transcripts` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: a line is not a transcript.
    """
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            pairs = tuple((str(said), str(answered)) for said, answered in row.pop("turns"))
            found.append(Transcript(turns=pairs, **row))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path}, line {number}, is no transcript: {error}") from error
    return found
