"""Conversations in the plane world, how to believe them, and their posterior on a grid in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax
from scipy.stats import norm

from crs_gym.acts import (
    NONE,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Recommendation,
    Reject,
    Turn,
    no_turn,
    response_to_arrays,
    to_arrays,
)
from crs_gym.inference import Prior
from crs_gym.simulation.simulator import advance
from crs_gym.users import Context, Items

PRIOR = Prior(jnp.array([0.3, -0.2]), jnp.array([0.8, 1.1]))
PLACES = 3
TURNS = 5
NAMES = ["choices", "answers", "rejections", "critiques", "mixed"]


def beginning(n_attributes, n_items):
    return Context(
        jnp.int32(0), jnp.int32(0), jnp.zeros(n_attributes, bool), jnp.zeros(n_items, bool)
    )


def as_turn(act, response, places=PLACES):
    act = to_arrays(act, places)
    return jax.tree.map(jnp.asarray, Turn(act, response_to_arrays(response, act)))


def as_history(turns, length=TURNS, places=PLACES):
    """`Turn` with a leading axis (length,), padded."""
    turns = [as_turn(*turn, places) for turn in turns]
    turns += [no_turn(places)] * (length - len(turns))
    return jax.tree.map(lambda *x: jnp.stack(list(map(jnp.asarray, x))), *turns)


def wrong_way(world, items, attribute, direction):
    """The item of a slate that a critique names."""
    return min(items, key=lambda i: direction * world.attribute_scores[i, attribute])


def conversations(world):
    low, high = (
        Critique(wrong_way(world, slate, g, d), g, d)
        for slate, g, d in (((4, 9, 30), 1, 1), ((2, 7), 3, -1))
    )
    chosen = [(ItemQuery((0, 1, 2)), Choice(2)), (ItemQuery((11, 3)), Choice(11))]
    answered = [(AttributeQuery(5, 0), Answer(0, -1)), (AttributeQuery(8, 2, -1), Answer(2, 1))]
    critiqued = [(Recommendation((4, 9, 30)), low), (Recommendation((2, 7)), high)]
    return {
        "choices": chosen,
        "answers": answered,
        "rejections": [(Recommendation((6, 12)), Reject()), (Recommendation((13, 1)), Reject())],
        "critiques": critiqued,
        "mixed": [chosen[0], answered[0], critiqued[0], answered[1], critiqued[1]],
    }


def grid_posterior(world, turns, points=401):
    """Mean and deviation by summing prior times likelihood, all of it written out in NumPy."""
    p = world.user_model
    mean, std = (np.asarray(x, np.float64) for x in PRIOR)
    axes = [np.linspace(m - 7 * s, m + 7 * s, points) for m, s in zip(mean, std, strict=True)]
    phi = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    items, cavs = (np.asarray(x, np.float64) for x in (world.item_embeddings, world.cavs))
    utilities = phi @ items.T
    null = utilities.mean(1) + p["null_z"] * utilities.std(1)
    target = p["target_scale"] * phi / np.linalg.norm(phi, axis=1, keepdims=True) @ cavs.T
    log_density = norm.logpdf(phi, mean, std).sum(1)
    critiqued = np.zeros(world.n_attributes, bool)
    for act, response in turns:
        match act, response:
            case ItemQuery(slate), Choice(item):
                choice = log_softmax(utilities[:, slate] / p["temperature"], axis=1)
                log_density += choice[:, slate.index(item)]
            case AttributeQuery(item, g, _), Answer(_, direction):
                gap = target[:, g] - items[item] @ cavs[g]
                log_density += norm.logcdf(direction * gap / p["answer_noise"])
            case Recommendation(slate), _:
                offer = np.column_stack([utilities[:, slate], null]) / p["temperature"]
                log_density += log_softmax(offer, axis=1)[:, -1]
                if isinstance(response, Critique):
                    gap = target - (items[list(slate)] @ cavs.T).mean(0)
                    salience = np.where(critiqued, -np.inf, np.abs(gap) / 0.5)
                    log_density += log_softmax(salience, axis=1)[:, response.attribute]
                    z = response.direction * gap[:, response.attribute] / p["answer_noise"]
                    log_density += norm.logcdf(z)
                    critiqued[response.attribute] = True
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    centre = weights @ phi
    return centre, np.sqrt(weights @ (phi - centre) ** 2), phi, weights


def follow(inference, key, prior, history, updates, items, model):
    """The belief after `updates` of them, the history growing by a turn with each."""
    turns, places = history.act.slate.shape
    context = beginning(items.cavs.shape[0], items.embeddings.shape[0])
    key, first = jax.random.split(key)
    blank = no_turn(places)

    def step(i, state):
        belief, context, key = state
        key, now = jax.random.split(key)
        past = jnp.arange(turns) <= i
        known = jax.tree.map(
            lambda x, none: jnp.where(past.reshape(-1, *[1] * (x.ndim - 1)), x, none),
            history,
            blank,
        )
        belief = inference.update(now, belief, known, context, items, model)
        turn = jax.tree.map(lambda x: x[jnp.minimum(i, turns - 1)], known)
        # what has ended stays as it is
        more = (turn.act.kind != NONE) & (i < turns)
        context = jax.tree.map(
            lambda new, old: jnp.where(more, new, old), advance(context, turn), context
        )
        return belief, context, key

    start = inference.init(first, prior, items, model)
    return jax.lax.fori_loop(0, updates, step, (start, context, key))[0]


believe = jax.jit(follow)


@jax.jit
def many(inference, keys, prior, history, updates, items, model):
    """As many beliefs as there are `keys`, and their samples."""
    beliefs = jax.vmap(follow, in_axes=(None, 0, *[None] * 5))(
        inference, keys, prior, history, updates, items, model
    )
    return beliefs, jax.vmap(inference.samples)(beliefs)


def make_items(embeddings, cavs):
    embeddings, cavs = np.asarray(embeddings, np.float32), np.asarray(cavs, np.float32)
    centred = embeddings - embeddings.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(embeddings))
    root = vectors * np.sqrt(values.clip(0))
    attributes = embeddings @ cavs.T
    order = np.argsort(attributes, axis=0, kind="stable").T.astype(np.int32)
    return Items(
        *map(jnp.float32, (embeddings, attributes, cavs, embeddings.mean(0), root)),
        order=jnp.asarray(order),
    )
