"""What recommender and user send each other."""

from __future__ import annotations

from typing import Literal

from openenv.core.env_server.types import Action, Observation
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from crs_gym.acts import AttributeQuery, ItemQuery, ReadableRecommenderAct, Recommendation
from crs_gym.dialogue import turn_of_names

_ACTS: dict[str, type[ReadableRecommenderAct]] = {
    "recommend": Recommendation,
    "ask_item": ItemQuery,
    "ask_attribute": AttributeQuery,
}


class RecommenderAction(Action):
    """One turn of the recommender: an act, or anything in words.

    Films are named by title and year; a title may be misspelt a little. Names that are not known
    are no error here: such a turn is not understood.
    """

    kind: Literal["recommend", "ask_item", "ask_attribute", "say"] = Field(
        description="recommend offers films; ask_item asks which of them is preferred; "
        "ask_attribute asks for more or less of an attribute than a film has; say is free text "
        "or a structured turn"
    )
    titles: list[str] = Field(
        default_factory=list, description='films, as in "Heat (1995)"; one for ask_attribute'
    )
    attribute: str = Field(default="", description='for ask_attribute, as in "funny"')
    more: bool = Field(default=True, description="for ask_attribute: more of it, or less")
    text: str = Field(default="", description="for say: the words")

    @model_validator(mode="after")
    def _has_its_parts(self) -> RecommenderAction:
        """Raises a ValidationError where a part is missing or belongs to another kind."""
        if (self.kind == "say") != bool(self.text):
            raise _wrong("text is for say, which needs it")
        if (self.kind == "ask_attribute") != bool(self.attribute):
            raise _wrong("attribute is for ask_attribute, which needs it")
        if self.kind == "ask_attribute" and len(self.titles) != 1:
            raise _wrong("ask_attribute takes one title")
        if self.kind == "ask_item" and not self.titles:
            raise _wrong("ask_item needs titles")
        if self.kind == "say" and self.titles:
            raise _wrong("say takes no titles")
        return self

    def as_text(self) -> str:
        """The turn as `crs/Dialogue-v0` takes it."""
        if self.kind == "say":
            return self.text
        wish = (self.attribute, 1 if self.more else -1) if self.attribute else None
        return turn_of_names(_ACTS[self.kind], self.titles, wish)


class UserObservation(Observation):
    """What the user says, and what became of the turn; `metadata` is the info of
    `crs/Dialogue-v0`.
    """

    words: str = Field(description="what the user says")
    turn: int = Field(default=0, ge=0, description="turns so far")
    understood: bool = Field(default=True, description="whether the turn was understood")
    reason: str = Field(
        default="", description="why it was not, or what of it did not count; else empty"
    )


def _wrong(reason: str) -> PydanticCustomError:
    # of all errors that a validator may raise, this one can be sent as JSON
    return PydanticCustomError("recommender_action", reason)
