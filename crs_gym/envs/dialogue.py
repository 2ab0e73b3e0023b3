"""`crs/Dialogue-v0`: recommending in words."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any, Literal, SupportsFloat

import gymnasium
import jax
import numpy as np
from gymnasium import spaces

from crs_gym.envs.icer import wrap_key
from crs_gym.envs.text import Conversations, Exchange, Opponent, make_opponent
from crs_gym.envs.text.hearing import MAX_LENGTH, printable
from crs_gym.simulation import Simulator, acceptance_reward, episode_key, seed_key
from crs_gym.simulation.simulator import Reward, Split
from crs_gym.world import DEFAULT_WORLD, World, load_world

_TYPED = "–—‘’“”…«»£€°½ \t\n"  # what people and models type besides ASCII


class DialogueEnv(gymnasium.Env[str, str]):
    """
    ## Description

    A recommender and a user talk about films, in words. The user has a taste, phi_u, that the
    recommender is not told; no target film is shown to either. The recommender offers films, asks
    which of several is preferred, or asks whether something should be more or less of an attribute;
    the user answers, criticises, accepts or leaves.

    What is said is one of the acts of `crs/Icer-v0`, and the same seed is the same user with the
    same luck there: the same acts meet the same responses and rewards.

    ## Action Space

    `Text(1, max_length, charset)`: the recommender's turn, structured,

        <action><recommend><movie_title>Heat (1995)</movie_title></action>
        <response>How about <movie_title>Heat (1995)</movie_title>?</response>

    on one line (see `crs_gym.dialogue`), or free text, which is understood if it is clear:
    "How about Heat?". What speaks for the user, goes on after the turn or is longer than
    `max_length` is cut there. A turn that cannot be understood costs a turn, and the user says so.
    Films named twice or rejected before do not count, as in `crs/Icer-v0`.

    ## Observation Space

    `Text(0, ..., charset)`. `observation="last"`: what the user said last, at first a greeting.
    `observation="transcript"`: all that was said, a line for each speaker's turn ("User: ...",
    "Recommender: ..."). The charset holds every title, ASCII and common punctuation; other
    characters become "?".

    ## Rewards

    As in `crs/Icer-v0`: by default the accepted item's utility on a scale where the user's mean item
    is 0 and the best is 1, minus `turn_cost` in every turn.

    ## Starting State

    A user of the split is drawn, then phi_u from that user's prior P_U. Episode n after
    `reset(seed=s)` depends on s and n alone, as far as the opponent does.

    ## Episode End

    Terminated when the user accepts or leaves; truncated after `max_turns` turns, or where a user
    (a language model, a person) could not be understood.

    ## Information

    At reset and step: `turn` (int), `user_id` (int, row of the world), `accepted_item` (int, -1 for
    none), `quality` (float, utility of the accepted item on the scale above, else 0), `left`,
    `is_success`, `understood` and `legal` (bool, of this turn: whether an act was understood, and
    whether all of it counts), `reason` (str, why not, else empty), `cut` (str, why some of the text
    was cut off, else empty), `failed` (str: who first could not be understood in this episode,
    "recommender", "user" or "neither").

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `world` | `"films"` | bundled name, path of a world file, or a `World` |
    | `user` | `"icer"` | who answers: `"icer"`, the ICER model in the words of templates; `"icer-words:MODEL"`, the ICER model in the words of a language model; `"lm:MODEL"`, a language model that decides by itself; `"person"`, whoever sits at the keyboard; or an `Opponent`. MODEL is a folder, a model of the hub, or MODEL@URL of an endpoint |
    | `observation` | `"last"` | see Observation Space |
    | `slate_size` | 2 | films that an act may name, at least 2 |
    | `max_turns` | 7 | turn limit |
    | `split` | `"train"` | users of the `"train"` or the `"evaluation"` split |
    | `turn_cost` | 0.02 | subtracted from the reward in each turn |
    | `user_model` | None | parameters of `UserModel` that differ from the world's, by name |
    | `reward` | acceptance | a function as `crs_gym.simulation.Reward` |
    | `variants` | True | whether the words of templates vary; else each act always has the same |
    | `max_length` | 1000 | characters of the longest turn |
    | `render_mode` | None | `"ansi"`: `render()` gives the conversation, with what was not understood |

    ## Version History

    * v0: first version. What changes an episode's course, observations or rewards gets a new one.
    """  # noqa: E501

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012

    def __init__(
        self,
        world: str | World = DEFAULT_WORLD,
        user: str | Opponent = "icer",
        observation: Literal["last", "transcript"] = "last",
        slate_size: int = 2,
        max_turns: int = 7,
        split: Split = "train",
        turn_cost: float = 0.02,
        user_model: dict[str, float] | None = None,
        reward: Reward = acceptance_reward,
        variants: bool = True,
        max_length: int = MAX_LENGTH,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"unknown render_mode {render_mode!r}; there are None and 'ansi'")
        if observation not in ("last", "transcript"):
            raise ValueError(f"unknown observation {observation!r}; there are last, transcript")
        self.world = load_world(world)
        self.render_mode, self.observation = render_mode, observation
        self.simulator = Simulator.of(
            self.world,
            slate_size=slate_size,
            max_turns=max_turns,
            split=split,
            turn_cost=turn_cost,
            reward=reward,
            user_model=user_model,
        )
        self.talk = Conversations(
            self.world,
            self.simulator,
            make_opponent(user),
            variants=variants,
            max_length=max_length,
        )
        self._charset = frozenset(charset(self.world))
        # both sides' turns with the speakers' names before them; a short limit is not the user's
        longest = max(max_length, MAX_LENGTH) + len("Recommender: \n")
        size = longest if observation == "last" else longest * (2 * max_turns + 1)
        letters = "".join(sorted(self._charset))
        self.action_space = spaces.Text(max_length, charset=letters)
        self.observation_space = spaces.Text(size, min_length=0, charset=letters)
        self._size = size
        self._seed_key = seed_key(0)
        self._episode = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Starts the next episode; with a seed, the first episode of that seed."""
        super().reset(seed=seed)
        if seed is not None or self._episode < 0:
            self._seed_key, self._episode = seed_key(self.np_random), -1
        self._episode += 1
        key = episode_key(self._seed_key, self._episode)
        self.talk.begin(key[None])
        return self._observe(), self._info(None)

    def step(self, action: str) -> tuple[str, SupportsFloat, bool, bool, dict[str, Any]]:
        """One turn.

        Raises:
            TypeError: an action that is no text.
            gymnasium.error.ResetNeeded: before the first reset, or after the episode's end.
        """
        if not isinstance(action, str):
            raise TypeError(f"an action is a text, not {action!r}")
        if not len(self.talk):
            raise gymnasium.error.ResetNeeded("call reset before step")
        if self.talk.done[0]:
            raise gymnasium.error.ResetNeeded("the conversation is over: call reset")
        exchange = self.talk.say([action])[0]
        assert exchange is not None
        ends = exchange.terminated, exchange.truncated
        return self._observe(), exchange.reward, *ends, self._info(exchange)

    def render(self) -> str | None:
        """The conversation so far, for `render_mode="ansi"`; notes stand in brackets."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() was called without a render_mode")
            return None
        if not len(self.talk):
            return ""
        return rendered(self.talk.past[0], self.talk.exchanges[0])

    def _observe(self) -> str:
        past = self.talk.past[0]
        text = past[-1][1] if self.observation == "last" else self.talk.transcript(0)
        return "".join(c if c in self._charset else "?" for c in text[: self._size])

    def _info(self, exchange: Exchange | None) -> dict[str, Any]:
        accepted = exchange.accepted if exchange else -1
        return {
            "turn": len(self.talk.exchanges[0]),
            "user_id": self.talk.persons[0].user_id,
            "accepted_item": accepted,
            "quality": exchange.quality if exchange else 0.0,
            "left": exchange.left if exchange else False,
            "is_success": accepted >= 0,
            "understood": exchange.heard.act is not None if exchange else True,
            "legal": exchange.legal if exchange else True,
            "reason": exchange.reason if exchange else "",
            "cut": exchange.heard.cut if exchange else "",
            "failed": self.talk.fault(0),
        }

    def __getstate__(self) -> dict[str, Any]:
        # typed random keys do not pickle; their data does
        return dict(self.__dict__, _seed_key=np.asarray(jax.random.key_data(self._seed_key)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._seed_key = wrap_key(self._seed_key)


def charset(world: World) -> str:
    """Every character of the world's titles and wordings, ASCII, and common punctuation."""
    words = [world.label(item) for item in range(world.n_items)]
    words += [text for attribute in world.attributes for text in attribute]
    return "".join(sorted({*string.printable[:95], *_TYPED, *"".join(words)}))


def rendered(past: Sequence[tuple[str, str]], exchanges: Sequence[Exchange]) -> str:
    """A conversation with, in brackets, what was cut off, not understood or not legal.

    Args:
        past: (speaker, words), first of the greeting.
        exchanges: the turns.

    Returns:
        lines of which all can be printed: "?" stands for what cannot.
    """
    (who, greeting), *_ = past
    lines = [f"{who}: {greeting}"]
    for exchange in exchanges:
        heard = exchange.heard
        lines.append(f"Recommender: {heard.words}")
        if heard.cut:
            lines.append(f"  [cut off: {heard.cut}]")
        if exchange.reason and exchange.fault != "user":
            what = "understood" if heard.act is None else "legal"
            lines.append(f"  [not {what}: {exchange.reason}]")
        lines.append(f"User: {exchange.reply}")
        if exchange.fault == "user":
            lines.append(f"  [user not understood: {exchange.reason}]")
    return "\n".join(map(printable, lines))
