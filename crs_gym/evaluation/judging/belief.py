"""A judge that needs no language model: the Bayesian belief follows the acts of a dialogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crs_gym.acts import Turn, no_turn
from crs_gym.evaluation.judging.automatic import ENDED, Verdicts
from crs_gym.evaluation.judging.histories import history_of, widest
from crs_gym.evaluation.judging.pairs import Case
from crs_gym.inference import Inference, Metropolis, Prior
from crs_gym.simulation.simulator import advance
from crs_gym.users import Context, Items, UserModel, items_of
from crs_gym.world import World

Start = Literal["stored", "personal"]


@dataclass(frozen=True)
class BeliefJudge:
    """Picks the film of higher expected utility under P(phi_u | H).

    An ideal listener: it tells how much the acts of a dialogue say of the user, whatever the words,
    and so what a judge of the words may reach.

    world: whose dialogues they are.
    start: the belief at t = 0. "stored": what the dialogue's own recommender knew. "personal": the
        prior P_U of the user, from which profiles are drawn. P_U says far more than ten films of it
        do: in the world of films its mean alone picks the right film 98 times in 100, which leaves
        a dialogue nothing to tell. Hence "stored" is the default.
    draws: of the belief; an even number.
    user_model: parameters of the user model, where they were changed for the dialogues.
    seed: of the belief.
    """

    world: World
    start: Start = "stored"
    draws: int = 256
    user_model: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    chunk: int = 64
    progress: bool = True

    def __post_init__(self) -> None:
        if self.start not in get_args(Start):
            raise ValueError(
                f"unknown start {self.start!r}; there are {', '.join(get_args(Start))}"
            )

    @property
    def name(self) -> str:
        return f"belief-{self.start}"

    def judge(self, cases: Sequence[Case], turns: int) -> Verdicts:
        """As `Judge.judge`.

        Raises:
            ValueError: a case of which only the words are known.
        """
        if any(case.words and not case.turns for case in cases):
            raise ValueError("the belief follows acts: it cannot judge transcripts")
        items, inference = items_of(self.world), Metropolis.of(self.draws, self.seed)
        model = UserModel(*map(jnp.float32, UserModel.of(self.world, self.user_model)))
        slate_size = widest(turn.act for case in cases for turn in case.turns)
        key, margins = jax.random.key(self.seed, impl="threefry2x32"), []
        bar = tqdm(total=len(cases), desc=self.name, unit="dialogue", disable=not self.progress)
        for start in range(0, len(cases), self.chunk):
            real = cases[start : start + self.chunk]
            rows = [*real, *[real[-1]] * (self.chunk - len(real))]
            followed = _follow(
                inference,
                items,
                model,
                _keys(key, np.array([case.number for case in rows], np.uint32)),
                self._priors(rows),
                _histories(rows, turns, slate_size),
                np.array([case.pair.items for case in rows], np.int32),
            )
            margins.append(np.asarray(followed)[: len(real)])
            bar.update(len(real))
        bar.close()
        places = (np.concatenate(margins)[:, : turns + 1] < 0).astype(np.int8)
        lengths = np.array([len(case.turns) for case in cases])
        places[np.arange(turns + 1) > lengths[:, None]] = ENDED
        none = np.zeros(places.shape, bool)
        return Verdicts(places, none, none)

    def _priors(self, cases: Sequence[Case]) -> Prior:
        if self.start == "stored":
            priors = [case.prior for case in cases]
            return Prior(*(np.stack(field) for field in zip(*priors, strict=True)))
        users = [case.user_id for case in cases]
        return Prior(self.world.user_mean[users], self.world.user_std[users])


def _histories(cases: Sequence[Case], turns: int, slate_size: int) -> Turn:
    rows = [
        history_of([(t.act, t.response) for t in case.turns[:turns]], max(turns, 1), slate_size)
        for case in cases
    ]
    stacked: Turn = jax.tree.map(lambda *fields: np.stack(fields), *rows)
    return stacked


@jax.jit
def _keys(key: jax.Array, numbers: jax.Array) -> jax.Array:
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


@jax.jit
def _follow(
    inference: Inference,
    items: Items,
    model: UserModel,
    keys: jax.Array,
    priors: Prior,
    histories: Turn,
    pairs: jax.Array,
) -> jax.Array:
    """(B, H + 1): E[phi_u] . (phi_first - phi_second) after each number of turns."""

    def one(key: jax.Array, prior: Prior, history: Turn, pair: jax.Array) -> jax.Array:
        contrast = items.embeddings[pair[0]] - items.embeddings[pair[1]]

        def margin(belief: object) -> jax.Array:
            samples = inference.samples(belief)
            return (samples.weights @ samples.embeddings) @ contrast

        def follow(carried: tuple, turn: Turn) -> tuple[tuple, jax.Array]:
            belief, past, context = carried
            past = jax.tree.map(lambda x, now: x.at[context.turn].set(now), past, turn)
            moving = jax.random.fold_in(key, context.turn + 1)
            belief = inference.update(moving, belief, past, context, items, model)
            return (belief, past, advance(context, turn)), margin(belief)

        length, slate_size = history.act.slate.shape
        blank = jax.tree.map(lambda x: jnp.broadcast_to(x, (length, *x.shape)), no_turn(slate_size))
        belief = inference.init(jax.random.fold_in(key, 0), prior, items, model)
        start = (belief, blank, opening(items))
        return jnp.append(margin(belief), jax.lax.scan(follow, start, history)[1])

    return jax.vmap(one)(keys, priors, histories, pairs)


def opening(items: Items) -> Context:
    """The context before the first turn."""
    return Context(
        turn=jnp.int32(0),
        questions=jnp.int32(0),
        critiqued=jnp.zeros(items.cavs.shape[0], bool),
        rejected=jnp.zeros(items.embeddings.shape[0], bool),
    )
