"""All that a data set of dialogues follows from."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crs_gym import __version__
from crs_gym.generation.prompts import Style
from crs_gym.generation.rewriting import Order
from crs_gym.inference import Metropolis
from crs_gym.policies.icer import Icer, Offer, Queries
from crs_gym.simulation import Simulator
from crs_gym.simulation.simulator import PriorKind, Split
from crs_gym.world import DataError, World


@dataclass(frozen=True)
class Rewriting:
    """How a language model rewrites the templates, see `crs_gym.generation.rewriting.rewrite`.

    model: its name. The others are arguments of `rewrite`.
    """

    model: str
    order: Order = "users-first"
    retries: int = 2
    max_tokens: int = 128
    temperature: float = 0.8
    style: Style = "full"


@dataclass(frozen=True)
class Settings:
    """Settings of a data set; with a world they determine all of it.

    world: the world's hash.
    dialogues: how many.
    seed: dialogue n is the n-th episode after `env.reset(seed=seed)`.
    split, prior, slate_size, max_turns, user_model: of the conversation, see `crs/Icer-v0`.
    threshold, queries, offer, effort: of the recommender, see `crs_gym.policies.icer.Icer`.
    draws: of its belief.
    variants: whether sentences vary, or each act always has the same.
    shard: dialogues in a file.
    lanes: conversations played at a time.
    rewriting: how templates are rewritten; None where they are not.
    version: of crs-gym.
    """

    world: str
    dialogues: int = 1000
    seed: int = 0
    split: Split = "train"
    prior: PriorKind = "personal"
    slate_size: int = 2
    max_turns: int = 7
    user_model: Mapping[str, float] = field(default_factory=dict)
    threshold: float = 0.04
    queries: Queries = "both"
    offer: Offer = "sample"
    effort: int = 16
    draws: int = 256
    variants: bool = True
    shard: int = 1000
    lanes: int = 16
    rewriting: Rewriting | None = None
    version: str = __version__

    def __post_init__(self) -> None:
        for name in ("dialogues", "shard", "lanes", "effort"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, not {self.seed}")
        if not math.isfinite(self.threshold):
            raise ValueError(f"threshold must be finite, not {self.threshold}")

    @property
    def shards(self) -> int:
        """How many files there are."""
        return -(-self.dialogues // self.shard)

    def rows(self, shard: int) -> range:
        """The dialogues in a file."""
        return range(shard * self.shard, min((shard + 1) * self.shard, self.dialogues))

    def simulator(self, world: World) -> Simulator:
        """What the users are played with.

        Raises:
            ValueError: settings that the simulator refuses.
        """
        return Simulator.of(
            world,
            slate_size=self.slate_size,
            max_turns=self.max_turns,
            prior=self.prior,
            split=self.split,
            user_model=dict(self.user_model),
        )

    def policy(self) -> Icer:
        """The recommender."""
        return Icer(self.threshold, self.queries, self.offer, self.effort)

    def inference(self) -> Metropolis:
        """How it holds its belief."""
        return Metropolis.of(self.draws)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """The settings that `to_json` wrote.

        Raises:
            DataError: not such settings, or those of a later version.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            if values.get("rewriting") is not None:
                values["rewriting"] = Rewriting(**values["rewriting"])
            return cls(**values)
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"not the settings of a data set of this version: {error}") from error

    def differences(self, other: Settings) -> str:
        """What differs, as `name: theirs, not ours`; empty where nothing does."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return "; ".join(f"{k}: {theirs[k]}, not {mine[k]}" for k in mine if mine[k] != theirs[k])
