"""Tools by which a language model recommends: one method for each act.

    from crs_gym.envs.tools import tools
    trainer = trl.GRPOTrainer(..., environment_factory=tools(world="films"))

for rows with a prompt and a `seed`, which names the user who is met.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gymnasium.error import ResetNeeded

from crs_gym.acts import AttributeQuery, ItemQuery, ReadableRecommenderAct, Recommendation
from crs_gym.dialogue import turn_of_names
from crs_gym.dialogue.grammar import MAX_TURN
from crs_gym.envs.dialogue import DialogueEnv
from crs_gym.envs.text import Opponent, make_opponent
from crs_gym.world import DEFAULT_WORLD, World, load_world

OVER = "The conversation is over."

# models write booleans as words
_DIRECTIONS = {
    **dict.fromkeys(("true", "yes", "1", "more"), 1),
    **dict.fromkeys(("false", "no", "0", "less"), -1),
}


class RecommenderTools:
    """A conversation of `crs/Dialogue-v0` whose acts are methods, to be called by a model.

    What TRL's `GRPOTrainer` asks of an environment: it makes instances by `environment_factory`,
    resets and reuses them, and offers the methods to the model; whatever method is added here
    becomes a tool. The same seed is the same user with the same luck as in `crs/Dialogue-v0` and
    `crs/Icer-v0`, and each call is a turn.

    A film is named by its title; the year decides between films of one title, and a title may be
    misspelt a little. What cannot be understood (an unknown or ambiguous title, an unknown
    attribute, more films than a slate has places, a `more` that is neither true nor false) costs a
    turn, and the answer says why, in brackets after the user's words. After the end a call changes
    nothing.

    Args:
        arguments: as `DialogueEnv` takes them.

    Raises:
        ValueError, TypeError: as `DialogueEnv` does.
    """

    def __init__(self, **arguments: Any) -> None:
        self._env = DialogueEnv(**{"max_length": MAX_TURN, **arguments})
        self._rewards: list[float] = []

    def reset(self, seed: int | None = None, **row: Any) -> str:
        """Begins a conversation.

        Args:
            seed: names the user, and its luck; without one, the next episode of the seed before.
            row: other columns of a data set; nothing is read from them.

        Returns:
            What the user says first.
        """
        words, _ = self._env.reset(seed=None if seed is None else int(seed))
        self._rewards = []
        return words

    def recommend(self, titles: list[str]) -> str:
        """Offer films to the user, who accepts one of them or says what is wrong with them.

        Args:
            titles: Titles of the films, each with its year, as in "Heat (1995)".

        Returns:
            What the user answers.
        """
        return self._act(Recommendation, titles)

    def ask_item(self, titles: list[str]) -> str:
        """Ask the user which of several films they like best, without offering them.

        Args:
            titles: Titles of the films, each with its year, as in "Heat (1995)".

        Returns:
            What the user answers.
        """
        return self._act(ItemQuery, titles)

    def ask_attribute(self, title: str, attribute: str, more: bool) -> str:
        """Ask the user whether they want more or less of an attribute than a film has.

        Args:
            title: Title of the film, with its year, as in "Heat (1995)".
            attribute: Name of the attribute, as in "funny" or "scary".
            more: Whether to ask for more of it (true) or for less (false).

        Returns:
            What the user answers.
        """
        direction = _DIRECTIONS.get(str(more).strip().lower())
        if direction is None:
            return self._say("", f"more is true or false, not {more!r}")
        return self._act(AttributeQuery, title, (str(attribute), direction))

    def get_reward(self) -> float:
        """The sum of the rewards of the conversation's turns.

        A turn that was left unused costs what a silent one does, `turn_cost`: else a model would
        learn to say nothing where it accomplishes little.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, as the tools do.
        """
        simulator = self._env.simulator
        unused = 0 if self._over() else simulator.max_turns - len(self._rewards)
        return sum(self._rewards) - unused * float(simulator.turn_cost)

    def _act(
        self,
        act: type[ReadableRecommenderAct],
        titles: Any,
        wish: tuple[str, int] | None = None,
    ) -> str:
        # models give one title where a list is asked for, and the other way round
        named = titles if isinstance(titles, list | tuple) else [titles]
        return self._say(turn_of_names(act, [str(name) for name in named], wish))

    def _say(self, text: str, fault: str = "") -> str:
        """One turn; `fault` is why there is nothing to say."""
        if self._over():
            return OVER
        words, reward, *_, info = self._env.step(text)
        self._rewards.append(float(reward))
        reason = fault or info["cut"] or info["reason"]
        notes = [reason, OVER if self._over() else ""]
        return " ".join([words, *(f"({note})" for note in notes if note)]).strip()

    def _over(self) -> bool:
        if not len(self._env.talk):
            raise ResetNeeded("call reset first")
        return bool(self._env.talk.done[0])


def tools(
    world: str | World = DEFAULT_WORLD, user: str | Opponent = "icer", **arguments: Any
) -> Callable[[], RecommenderTools]:
    """What makes `RecommenderTools`, for TRL's `environment_factory`.

    Args:
        world, user, arguments: as `DialogueEnv` takes them. The world is loaded and the user made
            once, for all that are made.

    Raises:
        ValueError: an unknown world or user.
    """
    return partial(RecommenderTools, world=load_world(world), user=make_opponent(user), **arguments)
