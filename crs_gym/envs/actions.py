"""What a number from an agent means: codecs from gym actions to recommender acts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind
from crs_gym.envs.menu import Believer, Course
from crs_gym.inference.recommend import top_items
from crs_gym.simulation import Simulator


class ActionCodec(Protocol):
    """How actions are numbered; frozen and hashable, so that compiled steps are found again.

    wanted: what it takes from the `Menu`, and so from the belief.
    """

    wanted: ClassVar[frozenset[Course]]

    def space(self, simulator: Simulator) -> spaces.Space[Any]:
        """The Gymnasium space."""

    def decode(self, action: jax.Array, believer: Believer) -> RecommenderAct:
        """The act that `action` stands for."""

    def mask(self, believer: Believer) -> jax.Array | None:
        """int8, 1 for what may be done, in MaskablePPO's layout; None for continuous actions."""


@dataclass(frozen=True)
class ItemActions:
    """MultiDiscrete([3, N, ..., N, G]): mode, k items of the whole catalogue, attribute.

    An attribute query uses the first item and the attribute; the other modes use the items. The
    mask leaves out rejected items in every mode: marginal masks cannot depend on the mode.
    """

    wanted: ClassVar[frozenset[Course]] = frozenset()

    def space(self, simulator: Simulator) -> spaces.MultiDiscrete:
        items = [simulator.n_items] * simulator.slate_size
        return spaces.MultiDiscrete([len(RecommenderKind), *items, simulator.n_attributes])

    def decode(self, action: jax.Array, believer: Believer) -> RecommenderAct:
        return RecommenderAct(action[0], action[1:-1], action[-1], jnp.int32(1))

    def mask(self, believer: Believer) -> jax.Array:
        # of bytes from the start: converted at the end, this costs five times as much
        sim = believer.simulator
        items = [(~believer.view.context.rejected).astype(jnp.int8)] * sim.slate_size
        modes = jnp.ones(len(RecommenderKind), jnp.int8)
        return jnp.concatenate([modes, *items, jnp.ones(sim.n_attributes, jnp.int8)])


@dataclass(frozen=True)
class CandidateActions:
    """Discrete: every slate of the C items most likely to be accepted, as a recommendation or as an
    item query, then every attribute query about one of them.

    With n = C choose k: 0 to n - 1 recommend, n to 2n - 1 ask an item query (slates in
    lexicographic order of ranks), 2n + c G + g asks about attribute g of candidate c. Candidates
    are ranked anew each turn and leave out what was rejected. The mask is exact: it forbids slates
    with a place that could not be filled.
    """

    candidates: int = 10
    slate_size: int = 2

    wanted: ClassVar[frozenset[Course]] = frozenset({"items"})

    @cached_property
    def slates(self) -> np.ndarray:
        """(n, k) int32 ranks."""
        return np.array(list(combinations(range(self.candidates), self.slate_size)), np.int32)

    def space(self, simulator: Simulator) -> spaces.Discrete:
        return spaces.Discrete(2 * len(self.slates) + self.candidates * simulator.n_attributes)

    def decode(self, action: jax.Array, believer: Believer) -> RecommenderAct:
        n, g = len(self.slates), believer.simulator.n_attributes
        top = believer.menu.items
        asks_attribute = action >= 2 * n
        rest = jnp.maximum(action - 2 * n, 0)
        slate = top[jnp.asarray(self.slates)[action % n]]
        single = jnp.full(self.slate_size, NONE, jnp.int32).at[0].set(top[rest // g])
        kind = jnp.where(
            asks_attribute,
            RecommenderKind.ASK_ATTRIBUTE,
            jnp.where(action >= n, RecommenderKind.ASK_ITEM, RecommenderKind.RECOMMEND),
        )
        return RecommenderAct(
            kind, jnp.where(asks_attribute, single, slate), rest % g, jnp.int32(1)
        )

    def mask(self, believer: Believer) -> jax.Array:
        left = jnp.sum(~believer.view.context.rejected)
        usable = jnp.asarray(self.slates).max(1) < left
        single = jnp.repeat(jnp.arange(self.candidates) < left, believer.simulator.n_attributes)
        return jnp.concatenate([usable, usable, single]).astype(jnp.int8)


@dataclass(frozen=True)
class EmbeddingActions:
    """Box(-1, 1, (3 + d + G,)): scores of the modes, a point in item space, scores of attributes.

    The largest mode and attribute scores count; the slate is made of the items nearest to the
    point by inner product (its length does not matter), rejected items left out.
    """

    wanted: ClassVar[frozenset[Course]] = frozenset()

    def space(self, simulator: Simulator) -> spaces.Box:
        size = len(RecommenderKind) + simulator.dim + simulator.n_attributes
        return spaces.Box(-1.0, 1.0, (size,), np.float32)

    def decode(self, action: jax.Array, believer: Believer) -> RecommenderAct:
        sim, modes = believer.simulator, len(RecommenderKind)
        point = action[modes : modes + sim.dim]
        slate = top_items(
            sim.items.embeddings @ point, sim.slate_size, believer.view.context.rejected
        )
        return RecommenderAct(
            jnp.argmax(action[:modes]), slate, jnp.argmax(action[modes + sim.dim :]), jnp.int32(1)
        )

    def mask(self, believer: Believer) -> None:
        del believer


@dataclass(frozen=True)
class MacroActions:
    """Discrete(2 + G): 0 recommends, 1 asks an item query, 2 + g asks about attribute g.

    The belief fills the slate: the items most likely to be accepted, the item query of highest
    EVOI that a quick search finds, the item about which the question for attribute g is worth most.
    """

    wanted: ClassVar[frozenset[Course]] = frozenset({"slate", "query", "about"})

    def space(self, simulator: Simulator) -> spaces.Discrete:
        return spaces.Discrete(2 + simulator.n_attributes)

    def decode(self, action: jax.Array, believer: Believer) -> RecommenderAct:
        menu = believer.menu
        attribute = jnp.maximum(action - 2, 0)
        about = jnp.full_like(menu.slate, NONE).at[0].set(menu.about.items[attribute])
        return RecommenderAct(
            jnp.minimum(action, RecommenderKind.ASK_ATTRIBUTE),
            jnp.stack([menu.slate, menu.query.slate, about])[jnp.minimum(action, 2)],
            attribute,
            jnp.int32(1),
        )

    def mask(self, believer: Believer) -> jax.Array:
        sim = believer.simulator
        some_left = ~believer.view.context.rejected.all()
        return jnp.ones(2 + sim.n_attributes, jnp.int8).at[0].set(some_left.astype(jnp.int8))
