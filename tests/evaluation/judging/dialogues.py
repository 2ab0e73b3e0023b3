"""Templated dialogues as records: what `rollout` plays, told by `crs_gym.dialogue`."""

from dataclasses import replace

import jax
import numpy as np

from crs_gym import __version__
from crs_gym.acts import Accept, AttributeQuery, Leave, readable_turns
from crs_gym.dialogue import say, say_response
from crs_gym.generation.records import Dialogue, Exchange, Words
from crs_gym.inference import Metropolis
from crs_gym.policies import Icer
from crs_gym.simulation import Simulator, evaluation_keys, play
from crs_gym.simulation.simulator import advance
from crs_gym.users import log_prob, perceive


def simulate(world, count, policy=None, draws=64, seed=0, chunk=64, **settings):
    """`count` dialogues of a policy, ICER by default, as a data set would hold them.

    What tells of the recommender's search (EVOI, EU*, regret) is left at 0.
    """
    simulator = Simulator.of(world, **settings)
    keys = evaluation_keys(seed, count)
    policy = policy or Icer(threshold=0.05, effort=8)
    episodes = play(simulator, policy, Metropolis.of(draws), keys, chunk)
    states = jax.device_get(
        jax.jit(jax.vmap(lambda key: simulator.reset(key)._replace(key=0)))(keys)
    )
    return [
        record(world, n, row(states, n), readable_turns(row(episodes.history, n)))
        for n in range(count)
    ]


def row(tree, n):
    return jax.tree.map(lambda x: x[n], tree)


def record(world, number, state, turns):
    embedding = np.asarray(state.user.embedding)
    utilities = world.item_embeddings @ embedding
    last = turns[-1][1]
    return Dialogue(
        number=number,
        user_id=int(state.user_id),
        embedding=embedding,
        prior_mean=np.asarray(state.prior.mean),
        prior_std=np.asarray(state.prior.std),
        temperature=float(state.user.temperature),
        patience=float(state.user.patience),
        critique_rate=float(state.user.critique_rate),
        utility_mean=float(state.utility_mean),
        utility_best=float(state.utility_best),
        utility_null=float(state.utility_null),
        accepted=last.item if isinstance(last, Accept) else -1,
        left=isinstance(last, Leave),
        reward=0.0,
        key=(0, number),
        turns=tuple(exchange(world, utilities, *turn, number + t) for t, turn in enumerate(turns)),
        version=__version__,
        world=world.hash,
    )


def exchange(world, utilities, act, response, variant=0):
    items = (act.item,) if isinstance(act, AttributeQuery) else act.items
    said, answered = say(act, world, variant), say_response(response, act, world, variant)
    return Exchange(
        act=act,
        response=response,
        recommender=Words(said, variant % 4, said),
        user=Words(answered, variant % 4, answered),
        draws=(0.0,) * 5,
        probability=1.0,
        utilities=tuple(float(utilities[i]) for i in items),
        evoi=0.0,
        expected_utility=0.0,
        believed=0,
        regret=0.0,
    )


def told(dialogue, world, *turns):
    """The dialogue with other turns."""
    utilities = world.item_embeddings @ dialogue.embedding
    return replace(dialogue, turns=tuple(exchange(world, utilities, *turn) for turn in turns))


def means(figures):
    return {figure.name: figure.mean for figure in figures}


@jax.jit
def follow(items, model, user, turn, context):
    """log P of one response, and the context after it."""
    percept = perceive(user.embedding, turn.act, items, model)
    value = log_prob(turn.response, user, turn.act, percept, context, model)
    return value, advance(context, turn)
