"""The first two stages of a data set, shard by shard: behaviour, then templates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from crs_gym.acts import (
    NONE,
    Accept,
    Leave,
    ReadableRecommenderAct,
    ReadableUserAct,
    RecommenderAct,
    UserAct,
    response_to_readable,
    to_readable,
)
from crs_gym.dialogue import say, say_response
from crs_gym.generation.behaviour import Beginnings, Moves, behave
from crs_gym.generation.records import Dialogue, Exchange, Words
from crs_gym.generation.settings import Settings
from crs_gym.inference import Metropolis
from crs_gym.policies.icer import Icer
from crs_gym.simulation import Simulator, episode_key, seed_key
from crs_gym.world import World


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes the shards of a data set; what they have in common is prepared once."""

    world: World
    settings: Settings

    def __post_init__(self) -> None:
        if self.world.hash != self.settings.world:
            raise ValueError(
                f"the settings are for a world of hash {self.settings.world}, not {self.world.hash}"
            )

    @cached_property
    def simulator(self) -> Simulator:
        return self.settings.simulator(self.world)

    @cached_property
    def policy(self) -> Icer:
        # a weak type would compile a second time
        return replace(self.settings.policy(), threshold=jnp.float32(self.settings.threshold))

    @cached_property
    def inference(self) -> Metropolis:
        return self.settings.inference()

    def keys(self, numbers: Sequence[int]) -> jax.Array:
        """The keys of the dialogues of these numbers."""
        counts = jnp.asarray(np.array(numbers, np.uint32))
        return jax.vmap(episode_key, in_axes=(None, 0))(seed_key(self.settings.seed), counts)

    def dialogues(self, shard: int) -> list[Dialogue]:
        """The dialogues of a shard, in the words of templates."""
        rows = self.settings.rows(shard)
        # every shard has the same shape, also the last, so that it is one program that runs
        size = min(self.settings.shard, self.settings.dialogues)
        keys = self.keys(range(rows.start, rows.start + size))
        begun, moves = jax.tree.map(
            np.asarray,
            behave(
                self.simulator, self.policy, self.inference, keys, len(rows), self.settings.lanes
            ),
        )
        data = np.asarray(jax.random.key_data(keys))
        return [self._dialogue(number, n, data[n], begun, moves) for n, number in enumerate(rows)]

    def _dialogue(
        self, number: int, n: int, key: np.ndarray, begun: Beginnings, moves: Moves
    ) -> Dialogue:
        turns = tuple(self._exchanges(jax.tree.map(lambda x: x[n], moves)))
        last = turns[-1].response
        return Dialogue(
            number=number,
            user_id=int(begun.user_id[n]),
            embedding=begun.user.embedding[n],
            prior_mean=begun.prior.mean[n],
            prior_std=begun.prior.std[n],
            temperature=float(begun.user.temperature[n]),
            patience=float(begun.user.patience[n]),
            critique_rate=float(begun.user.critique_rate[n]),
            utility_mean=float(begun.utility_mean[n]),
            utility_best=float(begun.utility_best[n]),
            utility_null=float(begun.utility_null[n]),
            accepted=last.item if isinstance(last, Accept) else NONE,
            left=isinstance(last, Leave),
            reward=float(moves.reward[n, : len(turns)].sum()),
            key=(int(key[0]), int(key[1])),
            turns=turns,
            version=self.settings.version,
            world=self.settings.world,
        )

    def _exchanges(self, moves: Moves) -> Iterator[Exchange]:
        for t in range(int((moves.turn.act.kind >= 0).sum())):
            move: Moves = jax.tree.map(lambda x, t=t: x[t], moves)
            arrays = RecommenderAct(*move.turn.act)
            act = to_readable(arrays)
            response = response_to_readable(UserAct(*move.turn.response), arrays)
            variants = map(int, move.variants if self.settings.variants else (0, 0))
            recommender, user = self.templates(act, response, *variants)
            yield Exchange(
                act=act,
                response=response,
                recommender=recommender,
                user=user,
                draws=tuple(map(float, move.draws)),
                probability=float(np.exp(move.log_prob)),
                utilities=tuple(float(u) for u in move.utilities[arrays.slate >= 0]),
                evoi=float(move.evoi),
                expected_utility=float(move.expected_utility),
                believed=int(move.believed),
                regret=float(move.regret),
            )

    def templates(
        self, act: ReadableRecommenderAct, response: ReadableUserAct, first: int, second: int
    ) -> tuple[Words, Words]:
        """What recommender and user say, in the variants of that number."""
        said = say(act, self.world, first)
        answered = say_response(response, act, self.world, second)
        return Words(said, first, said), Words(answered, second, answered)
