"""The ICER model as the user of conversations, in the words of a language model."""

from __future__ import annotations

from typing import Any

from crs_gym.dialogue import NotUnderstood, UserTurn, say_response, understand_response
from crs_gym.envs.text import Situation, trim
from crs_gym.generation.checks import check_response, tidy
from crs_gym.generation.prompts import Style, prompt
from crs_gym.generation.records import Speaker
from crs_gym.language import LanguageModel, Message, Reply
from crs_gym.language.users import HeardUser, LanguageUser


class WordedUser(LanguageUser):
    """The ICER model decides, and a language model finds the words.

    A template is put into other words, as in data sets of dialogues (ICER, section 3.4). The words
    have to be understood as the very response, and to pass the checks of rewritten turns; where
    none do, the template stands.

    Args:
        model: finds the words.
        style: of the prompts, see `crs_gym.generation.prompts`.
        settings: further arguments of `LanguageUser`.

    Raises:
        ValueError: as of `LanguageUser`, and an unknown style, once a turn is asked for.
    """

    stop = ("\n",)

    def __init__(self, model: LanguageModel, *, style: Style = "full", **settings: Any) -> None:
        super().__init__(model, **settings)
        self.style: Style = style

    def messages(self, situation: Situation) -> tuple[Message, ...]:
        said: list[tuple[Speaker, str]] = [
            ("User" if who == "User" else "Recommender", words) for who, words in situation.past
        ]
        said.append(("Recommender", situation.words))
        return prompt(said, _template(situation), situation.icer, self.style)

    def read(self, situation: Situation, reply: Reply) -> HeardUser:
        if reply.finish == "length":
            return HeardUser(NotUnderstood("the reply comes to no end"), "it comes to no end")
        text, cut = trim(tidy(reply.text), "user")
        act, response, world = situation.act, situation.icer, situation.person.world
        if rejection := check_response(text, response, act, world):
            return HeardUser(NotUnderstood(rejection.detail), cut)
        # what is understood is the response, the checks see to that; but they let much pass that
        # no recommender could read
        understood = understand_response(text, act, world)
        if isinstance(understood, NotUnderstood):
            return HeardUser(understood, cut)
        return HeardUser(UserTurn(response, text), cut)

    def give_up(self, situation: Situation, last: NotUnderstood) -> UserTurn:
        return UserTurn(situation.icer, _template(situation))


def _template(situation: Situation) -> str:
    return say_response(situation.icer, situation.act, situation.person.world, situation.variant)
