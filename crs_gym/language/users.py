"""Users of conversations in words that a language model plays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from crs_gym.acts import ReadableRecommenderAct, Recommendation, Reject
from crs_gym.dialogue import (
    NotUnderstood,
    RecommenderTurn,
    UserTurn,
    format_turn,
    greet,
    parse_response,
    say_response,
    understand_response,
)
from crs_gym.dialogue.lexicon import lexicon
from crs_gym.envs.text import Person, Situation, split_endpoint, trim
from crs_gym.language.card import Card, card_of, trained
from crs_gym.language.connection import DEFAULT_CACHE, connect
from crs_gym.language.model import Failure, LanguageModel, Message, Reply, Request, check_asked
from crs_gym.language.persona import Persona, persona_of
from crs_gym.world import World

_RULES = """\
You look for a film to watch, and talk with a recommender who does not know you. Answer in one \
line: <action>ACT</action><response>what you say</response>
When films are offered, ACT is <accept><movie_title>FILM</movie_title> if one suits you very well, \
else <reject>, or, for more of something than one of them has, \
<critique><more>ATTRIBUTE</more><movie_title>FILM</movie_title>.
When asked which film you prefer, ACT is <choose><movie_title>FILM</movie_title>.
When asked whether you want more or less of something, ACT is <answer><more>ATTRIBUTE</more>.
For less of something write <less>ATTRIBUTE</less>. To give up, ACT is <leave>.
ATTRIBUTE is one of: {attributes}."""


def user_messages(
    persona: Persona,
    turns: Sequence[tuple[RecommenderTurn, UserTurn]],
    words: str,
    *,
    rules: bool = True,
) -> list[Message]:
    """The chat that a user's next turn continues, for playing as for training.

    The system message, which does not change in the course of a conversation, says who the user is
    and how to answer. What the recommender says is the chat's user, and the user's own structured
    turns are the assistant.

    Args:
        turns: those before: what the recommender and then the user did and said.
        words: what the recommender says now.
        rules: whether to say how to answer; a model that was trained to can do without.
    """
    system = persona.text()
    if rules:
        names = lexicon(persona.world).attributes
        system += "\n" + _RULES.format(attributes=", ".join(names))
    messages = [Message("system", system)]
    for said, response in turns:
        own = format_turn(response.act, response.words, persona.world)
        messages += [Message("user", said.words), Message("assistant", own)]
    return [*messages, Message("user", words)]


class HeardUser(NamedTuple):
    """What a recommender hears of a user's text.

    turn: what the user does and says, or why that cannot be told.
    cut: why some of the text was cut off; empty where nothing was.
    """

    turn: UserTurn | NotUnderstood
    cut: str


def hear_user(text: str, act: ReadableRecommenderAct, world: World) -> HeardUser:
    """A user's text in reply to `act`, a structured turn or free text.

    The words are on one line, and those of a template where a structured turn has none.
    """
    text, cut = trim(text, "user")
    turn: UserTurn | NotUnderstood
    if not text:
        turn = NotUnderstood("nothing is said")
    elif "<action>" in text:
        turn = parse_response(text, act, world)
    else:
        response = understand_response(text, act, world)
        turn = response if isinstance(response, NotUnderstood) else UserTurn(response, text)
    if isinstance(turn, UserTurn):
        words = " ".join(turn.words.split()) or say_response(turn.act, act, world)
        turn = UserTurn(turn.act, words)
    return HeardUser(turn, cut)


@dataclass
class Counts:
    """What came of asking, over all conversations.

    turns: that users had to respond to.
    asked: requests; those after the first for a turn are `retried`.
    failures: requests to which no reply could be had.
    cut: replies that went on for the other side, after their turn, or too long.
    given_up: turns for which no reply would do.
    """

    turns: int = 0
    asked: int = 0
    retried: int = 0
    failures: int = 0
    cut: int = 0
    given_up: int = 0


class LanguageUser(ABC):
    """Asks a language model for the users' turns, all at once, and again for those that won't do.

    What is drawn follows from the situations' seeds: with a model whose equal requests have equal
    replies, equal episodes have equal users.

    Args:
        model: writes the turns.
        retries: further attempts at a turn, at least 0; at temperature 0 they meet the same reply
            again.
        max_tokens: longest reply, in the model's tokens.
        temperature: of sampling, at least 0.

    Attributes:
        counts: what came of asking so far.

    Raises:
        ValueError: negative retries.
    """

    stop: tuple[str, ...] = ()

    def __init__(
        self,
        model: LanguageModel,
        *,
        retries: int = 2,
        max_tokens: int = 160,
        temperature: float = 0.7,
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries must be at least 0, not {retries}")
        self.model, self.retries = model, retries
        self.max_tokens, self.temperature = max_tokens, temperature
        self.counts = Counts()

    @classmethod
    def of(cls, model: str) -> Self:
        """Users by the name of a model: a folder, a model of the hub, or MODEL@URL of an endpoint.

        The replies of an endpoint are kept in the default cache, so that equal episodes have equal
        users; a local model needs none for that.

        Raises:
            ImportError, OSError, ValueError: as of `connect`; a URL without its scheme.
        """
        name, url = split_endpoint(model)
        if url:
            return cls(connect(name, endpoint=url, cache=DEFAULT_CACHE))
        at_hand, _, place = model.rpartition("@")
        if at_hand and not Path(model).expanduser().is_dir():
            raise ValueError(
                f"{model} is neither a folder nor MODEL@URL, where the URL begins with http:// or "
                f"https://: {at_hand}@http://{place}"
            )
        source = trained(name)
        return cls(connect(str(source), cache=None), **cls.settings_of(card_of(source)))

    @classmethod
    def settings_of(cls, card: Card | None) -> dict[str, Any]:
        """Arguments that a model of this card wants."""
        return {}

    @property
    def kind(self) -> str:
        return f"lm:{self.model.name}"

    def greet(self, persons: Sequence[Person]) -> list[str]:
        """Greetings are those of templates: nothing is decided yet."""
        return [greet(person.variant) for person in persons]

    def respond(self, situations: Sequence[Situation]) -> list[UserTurn | NotUnderstood]:
        """What each does and says.

        Raises:
            ConnectionError: the model fails for a reason that lasts.
            ValueError: the model gives more or fewer replies than it was asked for.
        """
        requests = [
            Request(
                self.messages(situation),
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                stop=self.stop,
            )
            for situation in situations
        ]
        turns: list[UserTurn | NotUnderstood] = [NotUnderstood("") for _ in situations]
        self.counts.turns += len(situations)
        for attempt in range(self.retries + 1):
            pending = [i for i, turn in enumerate(turns) if isinstance(turn, NotUnderstood)]
            if not pending:
                break
            replies = self.model.generate(
                [replace(requests[i], seed=_seed(situations[i], attempt)) for i in pending]
            )
            check_asked(self.model, replies)
            self.counts.asked += len(pending)
            self.counts.retried += len(pending) if attempt else 0
            for i, reply in zip(pending, replies, strict=True):
                turns[i] = self._take(situations[i], reply)
        for i, turn in enumerate(turns):
            if isinstance(turn, NotUnderstood):
                self.counts.given_up += 1
                turns[i] = self.give_up(situations[i], turn)
        return turns

    @abstractmethod
    def messages(self, situation: Situation) -> tuple[Message, ...]:
        """What the model is to continue."""

    @abstractmethod
    def read(self, situation: Situation, reply: Reply) -> HeardUser:
        """What a reply does and says, or why it won't do."""

    def give_up(self, situation: Situation, last: NotUnderstood) -> UserTurn | NotUnderstood:
        """What stands where no reply would do; `last` says why the last would not."""
        return last

    def _take(self, situation: Situation, reply: Reply | Failure) -> UserTurn | NotUnderstood:
        if isinstance(reply, Failure):
            self.counts.failures += 1
            return NotUnderstood(f"no reply could be had: {reply.reason}")
        turn, cut = self.read(situation, reply)
        self.counts.cut += bool(cut)
        return turn


class ModelUser(LanguageUser):
    """Users that a language model plays by a persona: it decides, and finds the words.

    It writes a structured turn or free text. Where nothing that it writes is understood, its
    conversation is broken off; but where the recommender offers nothing that counts (films that
    were rejected before), all that a user can do is to reject that, and a template says so.

    Args:
        model: decides, and finds the words.
        rules: as of `user_messages`.
        settings: further arguments of `LanguageUser`.
    """

    def __init__(self, model: LanguageModel, *, rules: bool = True, **settings: Any) -> None:
        super().__init__(model, **settings)
        self.rules = rules

    @classmethod
    def settings_of(cls, card: Card | None) -> dict[str, Any]:
        """A model that was trained to play a user is told what it was told then.

        Raises:
            ValueError: it was trained to play the recommender.
        """
        if card is None:
            return {}
        if card.role != "user":
            raise ValueError(f"this model was trained to play the {card.role}, not the user")
        return {"rules": card.rules, "temperature": card.temperature}

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        persona = persona_of(situation.person)
        said = situation.turns, situation.words
        return tuple(user_messages(persona, *said, rules=self.rules))

    def read(self, situation: Situation, reply: Reply) -> HeardUser:
        heard = hear_user(reply.text, situation.act, situation.person.world)
        if reply.finish == "length" and not heard.cut and "<action>" not in reply.text:
            return HeardUser(NotUnderstood("the reply comes to no end"), "it comes to no end")
        return heard

    def give_up(self, situation: Situation, last: NotUnderstood) -> UserTurn | NotUnderstood:
        act, world = situation.act, situation.person.world
        if act != Recommendation(()):
            return last
        return UserTurn(Reject(), say_response(Reject(), act, world, situation.variant))


def _seed(situation: Situation, attempt: int) -> int:
    """31 bits, which every server takes."""
    return (situation.seed + 104_729 * attempt) % 2**31
