"""Do a user's answers come from their own taste? (behavioural consistency, ICER, section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crs_gym.acts import Turn, UserAct, no_turn, response_to_arrays
from crs_gym.evaluation.judging.belief import opening
from crs_gym.evaluation.judging.figures import Figure
from crs_gym.evaluation.judging.hearing import Heard
from crs_gym.evaluation.judging.histories import history_of, widest
from crs_gym.generation.records import Dialogue
from crs_gym.simulation.simulator import advance
from crs_gym.users import Context, Items, User, UserModel, items_of, log_prob, perceive
from crs_gym.users.model import null_utility
from crs_gym.world import World

FLOOR = -30.0
"""Least log-probability of a response: an impossible one is a surprise, but no infinite one."""


def consistency(
    dialogues: Sequence[Dialogue],
    heard: Sequence[tuple[Heard, ...]],
    world: World,
    *,
    impostors: int = 32,
    user_model: Mapping[str, float] | None = None,
    seed: int = 0,
    chunk: int = 64,
    progress: bool = False,
) -> list[Figure]:
    """How much better the user explains the answers than others would.

    The likelihood of all answers of a dialogue, as they were understood, under the user's own phi_u
    is compared with that under phi_u of users of other dialogues, who have all else in common with
    the user (temperature, patience, critique rate).

    Args:
        impostors: how many others each user is compared with, drawn with replacement.
        user_model: parameters of the user model, where they were changed for the dialogues.
        seed: of the drawing.

    Returns:
        the share of (dialogue, impostor) pairs in which the user explains the answers better, ties
        counting half (the area under the ROC curve: 0.5 for answers that have nothing to do with
        taste, 1 for answers that only this taste gives); the mean of log P(answers | user) - log
        P(answers | impostor) per answer, in nats.

    Raises:
        ValueError: fewer than two users.
    """
    kept = [n for n, turns in enumerate(heard) if any(turn.response for turn in turns)]
    users = np.array([dialogues[n].user_id for n in kept])
    names = "consistency (AUC)", "consistency (nats an answer)"
    if not kept:
        return [Figure(name, 0) for name in names]
    if len(np.unique(users)) < 2:
        raise ValueError("consistency compares users, and needs dialogues of at least two")
    taste = np.stack([dialogues[n].embedding for n in kept])
    others = _others(users, impostors, np.random.default_rng(seed))
    embeddings = np.concatenate([taste[:, None], taste[others]], axis=1)
    length = max(len(dialogues[n].turns) for n in kept)
    slate_size = widest(turn.act for n in kept for turn in dialogues[n].turns)
    histories = [_history(dialogues[n], heard[n], length, slate_size) for n in kept]
    traits = np.array(
        [(d.temperature, d.patience, d.critique_rate) for d in (dialogues[n] for n in kept)],
        np.float32,
    )
    items = items_of(world)
    model = UserModel(*map(jnp.float32, UserModel.of(world, user_model)))
    found = []
    bar = tqdm(total=len(kept), desc="consistency", unit="dialogue", disable=not progress)
    for start in range(0, len(kept), chunk):
        places = np.minimum(np.arange(start, start + chunk), len(kept) - 1)
        said, understood = (
            jax.tree.map(lambda *rows: np.stack(rows), *(histories[n][part] for n in places))
            for part in (0, 1)
        )
        found.append(_explain(items, model, embeddings[places], traits[places], said, understood))
        bar.update(min(chunk, len(kept) - start))
    bar.close()
    likelihood = np.concatenate([np.asarray(part) for part in found])[: len(kept)]
    gap = likelihood[:, :1].astype(np.float64) - likelihood[:, 1:]
    answers = np.array([sum(turn.response is not None for turn in heard[n]) for n in kept])
    better = (0.5 + 0.5 * np.sign(gap)).mean(1)
    return [
        Figure.of(names[0], better, users),
        Figure.of(names[1], gap.mean(1) / answers, users),
    ]


def _others(users: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """(B, count) rows whose user is another one, drawn evenly."""
    order = np.argsort(users, kind="stable")
    ordered = users[order]
    first = np.searchsorted(ordered, users)
    same = np.searchsorted(ordered, users, side="right") - first
    drawn = generator.integers(0, (len(users) - same)[:, None], (len(users), count))
    # the rows of the user's own are stepped over
    return order[drawn + np.where(drawn >= first[:, None], same[:, None], 0)]


def _history(
    dialogue: Dialogue, heard: Sequence[Heard], length: int, slate_size: int
) -> tuple[Turn, UserAct]:
    """What was done, and the responses as understood, padding where they were not."""
    turns = [(turn.act, turn.response) for turn in dialogue.turns]
    done = history_of(turns, length, slate_size)
    nothing = no_turn(slate_size).response
    rows = [nothing] * length
    for n, turn in enumerate(heard):
        if turn.response is not None:
            act = jax.tree.map(lambda x, n=n: x[n], done.act)
            rows[n] = response_to_arrays(turn.response, act)
    return done, jax.tree.map(lambda *fields: np.stack(fields), *rows)


@jax.jit
def _explain(
    items: Items,
    model: UserModel,
    embeddings: jax.Array,
    traits: jax.Array,
    histories: Turn,
    responses: UserAct,
) -> jax.Array:
    """(B, P) log-likelihood of each dialogue's responses under each of P embeddings (B, P, d)."""

    def one(
        embeddings: jax.Array, traits: jax.Array, history: Turn, responses: UserAct
    ) -> jax.Array:
        user = User(embeddings, *traits)
        null = null_utility(embeddings, items, model)

        def follow(context: Context, now: tuple[Turn, UserAct]) -> tuple[Context, jax.Array]:
            turn, response = now
            percept = perceive(embeddings, turn.act, items, model, null=null)
            value = log_prob(response, user, turn.act, percept, context, model)
            value = jnp.broadcast_to(value, null.shape)
            return advance(context, turn), jnp.maximum(value, FLOOR)

        steps = jax.lax.scan(follow, opening(items), (history, responses))[1]
        return jnp.sum(steps, axis=0)

    return jax.vmap(one)(embeddings, traits, histories, responses)
