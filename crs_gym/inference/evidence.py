"""The likelihood of a whole history, from the few numbers of phi_u that it depends on.

Every response depends on phi_u through its inner products with some items and CAVs, its norm and
the spread of its utilities. `features` computes these; `Section` gives them for all points of a
low-dimensional plane through phi_u, at a cost that does not grow with the embedding's dimension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from crs_gym.acts import NONE, RecommenderKind, Turn, UserKind
from crs_gym.users import (
    Context,
    Items,
    Percept,
    User,
    UserModel,
    log_prob_given_topic,
    log_prob_topic,
)


class Evidence(NamedTuple):
    """A history as the likelihood sees it; H is the most turns that it can hold.

    history: `Turn`, fields with a leading axis (H,); padding (kind -1) tells nothing.
    contexts: `Context` in which each turn began, leading axis (H,), without `rejected`.
    embeddings: (H, k, d) of the slates, 0 in empty places.
    attributes: (H, k, G) of the slates, 0 in empty places.
    filled: (H, k) bool, which places hold an item.
    """

    history: Turn
    contexts: Context
    embeddings: Any
    attributes: Any
    filled: Any


class Features(NamedTuple):
    """What responses depend on, for any batch shape `(...)` of user embeddings.

    utilities: `(..., H, k)` of the slates.
    cavs: `(..., G)` c_g . phi_u.
    mean: `(...)` utility of the mean item.
    spread: `(...)` variance of the utilities, phi_u' S_I phi_u.
    norm: `(...)` |phi_u|^2.
    """

    utilities: Any
    cavs: Any
    mean: Any
    spread: Any
    norm: Any


def evidence_of(history: Turn, items: Items) -> Evidence:
    """Looks up what the turns of `history` speak of."""
    act, response = history
    filled = act.slate >= 0
    slate = jnp.maximum(act.slate, 0)
    asked = (act.kind > RecommenderKind.RECOMMEND).astype(jnp.int32)
    critiqued = jax.nn.one_hot(
        jnp.where(response.kind == UserKind.CRITIQUE, response.attribute, NONE),
        items.cavs.shape[0],
        dtype=jnp.int32,
    )
    before = jnp.cumsum(critiqued, axis=0) - critiqued
    contexts = Context(
        turn=jnp.arange(len(act.kind), dtype=jnp.int32),
        questions=jnp.cumsum(asked) - asked,
        critiqued=before > 0,
        rejected=None,
    )
    return Evidence(
        history,
        contexts,
        jnp.where(filled[..., None], items.embeddings[slate], 0.0),
        jnp.where(filled[..., None], items.attributes[slate], 0.0),
        filled,
    )


def features(embeddings: jax.Array, evidence: Evidence, items: Items) -> Features:
    """The features of users `(..., d)`."""
    return Features(
        jnp.einsum("...d,hkd->...hk", embeddings, evidence.embeddings),
        embeddings @ items.cavs.T,
        embeddings @ items.mean,
        jnp.sum((embeddings @ items.root) ** 2, axis=-1),
        jnp.sum(embeddings**2, axis=-1),
    )


def null_utilities(found: Features, model: UserModel) -> jax.Array:
    """`(...)` utility of the null item."""
    null: jax.Array = found.mean + model.null_z * jnp.sqrt(jnp.maximum(found.spread, 0.0))
    return null


def log_likelihood(found: Features, evidence: Evidence, model: UserModel) -> jax.Array:
    """`(...)` log P(all responses | phi_u), the sum over turns of `users.log_prob`."""
    null = null_utilities(found, model)
    root = jnp.sqrt(jnp.maximum(found.norm, 0.0))
    target = model.target_scale * found.cavs / jnp.where(root > 0, root, 1.0)[..., None]
    user = User.typical(None, model)

    def perceived(utilities: jax.Array, attributes: jax.Array, filled: jax.Array) -> Percept:
        return Percept(jnp.where(filled, utilities, -jnp.inf), null, target, attributes, filled)

    def one(turn: Turn, context: Context, *seen: jax.Array) -> jax.Array:
        percept = perceived(*seen)
        return log_prob_given_topic(turn.response, user, turn.act, percept, context, model)

    known = (evidence.history, evidence.contexts)
    looks = (evidence.attributes, evidence.filled)
    each = jax.vmap(one, in_axes=(0, 0, -2, 0, 0))(*known, found.utilities, *looks)

    # critiques are few: a loop over them costs less than all attributes in all turns
    critiques = evidence.history.response.kind == UserKind.CRITIQUE
    order = jnp.argsort(~critiques)

    def topic(i: jax.Array, total: jax.Array) -> jax.Array:
        turn, context = jax.tree.map(lambda x: x[order[i]], known)
        percept = perceived(found.utilities[..., order[i], :], *(x[order[i]] for x in looks))
        return total + log_prob_topic(turn.response, percept, context, model)

    return jax.lax.fori_loop(0, critiques.sum(), topic, each.sum(0))


def directions(evidence: Evidence, items: Items) -> jax.Array:
    """(H (k + 1), d) the directions of phi_u of which the responses tell most.

    For each turn the items of the slate against the mean item (recommendations) or against the
    first one (item queries), and the CAV of the attribute spoken of. Zero where there is none.
    """
    act, response = evidence.history
    first = evidence.embeddings[:, :1]
    recommended = act.kind == RecommenderKind.RECOMMEND
    asked = act.kind == RecommenderKind.ASK_ITEM
    places = evidence.embeddings - jnp.where(recommended[:, None, None], items.mean, first)
    heard = response.kind != NONE
    speaks = evidence.filled & ((recommended | asked) & heard)[:, None]
    places = jnp.where(speaks[..., None], places, 0.0)
    about = heard & (response.attribute >= 0)
    topic = jnp.where(about[:, None], items.cavs[jnp.maximum(response.attribute, 0)], 0.0)
    return jnp.concatenate([places, topic[:, None]], axis=1).reshape(-1, topic.shape[-1])


class Section(NamedTuple):
    """Features along phi(y) = origin + basis' y, for m origins and (r, d) one basis.

    start: `Features` at y = 0.
    slopes: `Features` of the basis: derivatives of utilities, cavs and mean, leading axis (r,).
    spread, norm: (m, r) half the derivatives of the two quadratic forms at y = 0.
    spread_form, norm_form: (r, r) the forms themselves.
    """

    start: Features
    slopes: Features
    spread: Any
    norm: Any
    spread_form: Any
    norm_form: Any


def section(
    origins: jax.Array, basis: jax.Array, start: Features, evidence: Evidence, items: Items
) -> Section:
    """The plane through each of `origins` (m, d) along `basis`; `start` are their features."""
    rooted = basis @ items.root
    return Section(
        start,
        features(basis, evidence, items),
        (origins @ items.root) @ rooted.T,
        origins @ basis.T,
        rooted @ rooted.T,
        basis @ basis.T,
    )


def along(plane: Section, y: jax.Array) -> Features:
    """Features at the points `y` (m, r)."""
    start, slopes = plane.start, plane.slopes
    return Features(
        start.utilities + jnp.tensordot(y, slopes.utilities, axes=1),
        start.cavs + y @ slopes.cavs,
        start.mean + y @ slopes.mean,
        start.spread + jnp.sum(y * (2 * plane.spread + y @ plane.spread_form), axis=-1),
        start.norm + jnp.sum(y * (2 * plane.norm + y @ plane.norm_form), axis=-1),
    )
