"""Where a recommender that is a model learns and is measured: its users, and how it did."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents import store
from agents.lm import rollouts
from agents.lm.chats import ChatFormat
from agents.lm.rollouts import Played
from crs_gym.acts import Recommendation
from crs_gym.dialogue import NotUnderstood, understand
from crs_gym.envs.dialogue import rendered
from crs_gym.envs.text import Conversations, Opponent, make_opponent
from crs_gym.evaluation.judging.wording import distinct
from crs_gym.simulation import Simulator, episode_key, seed_key
from crs_gym.simulation.keys import evaluation_keys
from crs_gym.world import World, load_world

# environment seeds of the validation list: above all that evaluation lists use
_VALIDATION = 2**40


class Figures(NamedTuple):
    """How a recommender did in some conversations.

    conversations: how many. reward: mean return. success: share that ended with an accepted item.
    turns: mean number. understood, legal: shares of its turns. faithful: share of the turns that
    were understood whose words, read by themselves, say the same act. dist4: share of different
    4-grams among those of its words, None where there are none. user_failed: share of the
    conversations that broke off because the user could not be understood. recommender_failed: share
    in which first the recommender could not be understood. cut: share of its turns of which
    something was cut off: they went on for the other side, or were too long.
    """

    conversations: int
    reward: float
    success: float
    turns: float
    understood: float
    legal: float
    faithful: float
    dist4: float | None
    user_failed: float
    recommender_failed: float
    cut: float

    def as_dict(self) -> dict[str, float]:
        return {k: float(v) for k, v in self._asdict().items() if v is not None}


def figures(played: Sequence[Played], world: World) -> Figures:
    """Of conversations that are over, at least one."""
    turns = [exchange for one in played for exchange in one.exchanges]
    acts = [exchange.heard for exchange in turns if exchange.heard.act is not None]
    said = [understand(heard.words, world) for heard in acts]
    same = [
        not isinstance(act, NotUnderstood) and act == heard.act
        for act, heard in zip(said, acts, strict=True)
    ]
    words = [text for one in played for who, text in one.words if who == "Recommender"]
    return Figures(
        conversations=len(played),
        reward=float(np.mean([one.total for one in played])),
        success=float(np.mean([one.exchanges[-1].accepted >= 0 for one in played])),
        turns=float(np.mean([len(one.exchanges) for one in played])),
        understood=len(acts) / len(turns),
        legal=float(np.mean([exchange.legal for exchange in turns])),
        faithful=float(np.mean(same)) if same else 0.0,
        dist4=distinct(words, 4),
        user_failed=float(np.mean([one.exchanges[-1].fault == "user" for one in played])),
        recommender_failed=float(np.mean([one.fault == "recommender" for one in played])),
        cut=float(np.mean([was for one in played for was in one.cut])),
    )


@dataclass(frozen=True)
class Arena:
    """Users to talk to.

    world: whose films are spoken of.
    env_kwargs: arguments of `crs/Dialogue-v0` that the simulator takes, but world and split.
    train, held_out: conversations with users of the two splits.
    seed: of the training scenarios.
    """

    world: World
    env_kwargs: Mapping[str, Any]
    train: Conversations
    held_out: Conversations
    seed: int

    @classmethod
    def of(
        cls,
        world: str | World,
        user: str | Opponent = "icer",
        env_kwargs: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> Arena:
        """An arena; errors are those of `crs/Dialogue-v0`, and a ValueError for arguments of it
        that are not free here.
        """
        world, opponent = load_world(world), make_opponent(user)
        kwargs = dict(env_kwargs or {})
        if taken := {"world", "user", "split", "observation", "render_mode"} & kwargs.keys():
            raise ValueError(
                f"{', '.join(sorted(taken))} cannot be among env_kwargs: a world and a user are "
                "named by --world and --user; models learn with training users, are measured with "
                "others, and see whole conversations"
            )
        words: dict[str, Any] = {
            k: kwargs.pop(k) for k in ("variants", "max_length") if k in kwargs
        }

        def conversations(split: str) -> Conversations:
            simulator = Simulator.of(world, split=split, **kwargs)  # type: ignore[arg-type]
            return Conversations(world, simulator, opponent, **words)

        train, held_out = conversations("train"), conversations("evaluation")
        return cls(world, {**kwargs, **words}, train, held_out, seed)

    def with_user(self, opponent: Opponent) -> Arena:
        """The same with another to talk to."""

        def other(talk: Conversations) -> Conversations:
            return Conversations(
                self.world, talk.simulator, opponent,
                variants=talk.variants, max_length=talk.max_length,
            )  # fmt: skip

        return dataclasses.replace(self, train=other(self.train), held_out=other(self.held_out))

    def keys(self, scenarios: Sequence[int] | np.ndarray) -> jax.Array:
        """Episode keys of training scenarios: who the user is, and all of their luck."""
        first = seed_key(self.seed)
        numbers = jnp.asarray(np.asarray(scenarios, np.int64) % 2**31, jnp.int32)
        return jax.vmap(lambda n: episode_key(first, n))(numbers)

    def play(
        self,
        scenarios: Sequence[int] | np.ndarray,
        model: Any,
        chat: ChatFormat,
        words: bool = True,
        illegal_cost: float = 0.0,
        dense: float = 0.0,
        **options: Any,
    ) -> list[Played]:
        """Training conversations.

        Args:
            words: whether those of a turn are learnt from, or its act alone.
            illegal_cost: taken off the reward of a turn that is not legal.
            dense: weight of how near recommendations came to being accepted.
            options: those of `rollouts.play`.
        """
        played = rollouts.play(self.train, self.keys(scenarios), model, chat, **options)
        for one in played:
            for turn, exchange in enumerate(one.exchanges):
                one.rewards[turn] -= illegal_cost * (not exchange.legal)
            if dense:
                one.near = [
                    dense * e.near if isinstance(e.act, Recommendation) else math.nan
                    for e in one.exchanges
                ]
        if not words:
            for one in played:
                one.learn_acts(chat)
        return played

    def validate(
        self, model: Any, chat: ChatFormat, episodes: int, batch: int = 64, **options: Any
    ) -> tuple[Figures, list[Played]]:
        """On held-out users, always the same, and not those of the evaluation lists."""
        keys = evaluation_keys(_VALIDATION // 1_000_000, episodes)
        played = play_all(self.held_out, keys, model, chat, batch, **options)
        return figures(played, self.world), played


def play_all(
    talk: Conversations,
    keys: jax.Array,
    model: Any,
    chat: ChatFormat,
    batch: int = 64,
    progress: bool = False,
    **options: Any,
) -> list[Played]:
    """Any number of conversations, `batch` at a time at most; the last batch is filled up, so that
    nothing compiles twice.
    """
    from tqdm import tqdm

    played: list[Played] = []
    batch = min(batch, len(keys))
    seed = options.pop("seed", 0)
    starts = range(0, len(keys), batch)
    for start in tqdm(starts, desc="conversations", disable=not progress, leave=False):
        places = np.minimum(np.arange(start, start + batch), len(keys) - 1)
        played += rollouts.play(talk, keys[places], model, chat, seed=seed + start, **options)
    return played[: len(keys)]


def write_samples(played: Sequence[Played], path: Path, count: int = 5) -> str:
    """Some conversations to read, see `rendered`; replaced whole."""
    texts = []
    for one in played[:count]:
        told = rendered(one.words, one.exchanges)
        texts.append(f"{told}\n(return {one.total:.2f})")
    text = "\n\n".join(texts) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_text(path, text)
    return text
