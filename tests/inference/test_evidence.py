"""The likelihood of a history against the response models, turn by turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import null_space

from crs_gym.acts import (
    NONE,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    Recommendation,
    RecommenderAct,
    Reject,
    Turn,
    UserKind,
    no_turn,
)
from crs_gym.inference.evidence import (
    along,
    directions,
    evidence_of,
    features,
    log_likelihood,
    null_utilities,
    section,
)
from crs_gym.simulation.simulator import advance, legal
from crs_gym.users import User, UserModel, log_prob, n_uniforms, perceive, respond
from crs_gym.users.model import null_utility
from tests.inference.grid import as_history, beginning, make_items

N, D, G, TURNS, PLACES = 12, 5, 4, 8, 3
rng = np.random.default_rng(0)
ITEMS = make_items(rng.normal(size=(N, D)), rng.normal(size=(G, D)))
PHI = jnp.asarray(rng.normal(size=(7, D)), jnp.float32)
HARSH = {"leave_base": 0.1, "leave_turn": 0.05, "leave_question": 0.1, "leave_dissatisfaction": 0.2}
MODEL = UserModel(temperature=0.7, null_z=0.5, critique_rate=0.6, answer_noise=0.8, **HARSH)


def step(context, drawn):
    """A random turn, the log-probabilities of its response for PHI, and the context after it."""
    act, uniforms, pad, model = drawn
    act = legal(act, context, G)
    someone = User.typical(PHI[0], model)
    response = respond(uniforms, someone, act, perceive(PHI[0], act, ITEMS, model), context, model)
    # without context: padding comes where the conversation is over
    turn = jax.tree.map(
        lambda x, none: jnp.where(pad, none, x), Turn(act, response), no_turn(PLACES)
    )
    percept = perceive(PHI, turn.act, ITEMS, model)
    users = User.typical(PHI, model)
    value = log_prob(turn.response, users, turn.act, percept, context, model)
    return advance(context, turn), (turn, value, context)


@jax.jit
def converse(acts, uniforms, pad, model):
    models = jax.tree.map(lambda x: jnp.full(TURNS, x), model)
    drawn = (acts, uniforms, pad, models)
    _, (history, values, contexts) = jax.lax.scan(step, beginning(G, N), drawn)
    evidence = evidence_of(history, ITEMS)
    found = features(PHI, evidence, ITEMS)
    return history, values, contexts, evidence, log_likelihood(found, evidence, model)


@jax.jit
def look(phi, history):
    evidence = evidence_of(history, ITEMS)
    return log_likelihood(features(phi, evidence, ITEMS), evidence, MODEL)


def random_conversation(seed, model=MODEL):
    """Acts of all kinds, some with empty places or none filled; users who never leave for good."""
    rng = np.random.default_rng(seed)
    said = rng.integers(1, TURNS + 1)
    slates = rng.integers(-1, N, (TURNS, PLACES))
    slates[rng.random(TURNS) < 0.1] = NONE
    acts = RecommenderAct(
        rng.choice([0, 0, 1, 2], TURNS), slates, rng.integers(0, G, TURNS), np.ones(TURNS, int)
    )
    acts = jax.tree.map(lambda x: x.astype(np.int32), acts)
    uniforms = rng.random((TURNS, n_uniforms)).astype(np.float32)
    return said, converse(acts, uniforms, np.arange(TURNS) >= said, model)


@pytest.mark.parametrize("frozen", [{}, {"temperature": 0.0}, {"answer_noise": 0.0}])
def test_log_likelihood_is_the_sum_over_turns(frozen):
    heard, holes = set(), 0
    for seed in range(40):
        said, (history, values, contexts, evidence, value) = random_conversation(
            seed, MODEL._replace(**frozen)
        )
        np.testing.assert_allclose(value, values.sum(0), rtol=1e-4, atol=1e-4)
        assert np.isfinite(value[0])
        assert (values[said:] == 0).all()
        for name in ("turn", "questions", "critiqued"):
            np.testing.assert_array_equal(
                getattr(evidence.contexts, name)[:said], getattr(contexts, name)[:said]
            )
        heard |= {(int(a), int(r)) for a, r in zip(*(x.kind for x in history), strict=True)}
        filled = (np.asarray(history.act.slate) >= 0).sum(1)[:said]
        holes += ((filled < PLACES) & (np.asarray(history.act.kind)[:said] < 2)).sum()
    # recommendations accepted, rejected, criticised or left; queries answered or left; padding
    everything = {(0, 0), (0, 1), (0, 2), (0, 5), (1, 3), (1, 5), (2, 4), (2, 5), (-1, -1)}
    assert heard == everything
    assert holes > 10


def test_an_impossible_response_has_no_likelihood():
    history = as_history([(ItemQuery((0, 1)), Choice(1))] * 2, 4)
    kind = history.response.kind.at[1].set(UserKind.ACCEPT)
    history = history._replace(response=history.response._replace(kind=kind))
    np.testing.assert_array_equal(look(PHI, history), -np.inf)


def test_no_history_tells_nothing():
    history = as_history([], 4)
    np.testing.assert_array_equal(look(PHI.at[0].set(0), history), 0)
    assert not directions(evidence_of(history, ITEMS), ITEMS).any()


def test_features_by_hand():
    _, (history, *_, evidence, _) = random_conversation(1)
    found = features(PHI, evidence, ITEMS)
    phi, items = np.asarray(PHI, np.float64), np.asarray(ITEMS.embeddings, np.float64)
    utilities, slates = phi @ items.T, np.asarray(history.act.slate)
    expected = np.where(slates >= 0, utilities[:, slates], 0)
    np.testing.assert_allclose(found.utilities, expected, atol=1e-5)
    np.testing.assert_allclose(found.cavs, phi @ np.asarray(ITEMS.cavs).T, atol=1e-5)
    np.testing.assert_allclose(found.mean, utilities.mean(1), atol=1e-5)
    np.testing.assert_allclose(found.spread, utilities.var(1), rtol=1e-4)
    np.testing.assert_allclose(found.norm, (phi**2).sum(1), rtol=1e-5)
    null = null_utility(PHI, ITEMS, MODEL)
    np.testing.assert_allclose(null_utilities(found, MODEL), null, rtol=1e-5)


@pytest.mark.parametrize("r", [1, 3, D])
def test_along_a_plane_are_the_features_of_its_points(r):
    """For any basis, orthonormal or not."""
    rng = np.random.default_rng(r)
    _, (*_, evidence, _) = random_conversation(3)
    basis = jnp.asarray(rng.normal(size=(r, D)), jnp.float32)
    plane = section(PHI, basis, features(PHI, evidence, ITEMS), evidence, ITEMS)
    for scale in (0.0, 0.1, 3.0):
        y = jnp.asarray(scale * rng.normal(size=(len(PHI), r)), jnp.float32)
        expected = features(PHI + y @ basis, evidence, ITEMS)
        for one, other in zip(along(plane, y), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def spanned(turns, length=4):
    """Directions of a history, and whether a vector lies in their span."""
    found = np.asarray(directions(evidence_of(as_history(turns, length), ITEMS), ITEMS))
    assert found.shape == (length * (PLACES + 1), D)
    rank = np.linalg.matrix_rank(found, tol=1e-4)

    def holds(vector):
        return np.linalg.matrix_rank(np.vstack([found, vector]), tol=1e-4) == rank

    return rank, holds


def test_directions_span_what_was_spoken_of():
    items, cavs, mean = (np.asarray(x) for x in (ITEMS.embeddings, ITEMS.cavs, ITEMS.mean))
    rank, holds = spanned([(ItemQuery((2, 7, 5)), Choice(7))])
    assert rank == 2
    assert holds(items[2] - items[7])
    assert holds(items[7] - items[5])
    assert not holds(items[2])
    rank, holds = spanned([(Recommendation((2, 7)), Reject())])
    assert rank == 2
    assert holds(items[2] - mean)
    assert holds(items[7] - mean)
    assert not holds(mean)
    worst = min((2, 7), key=lambda i: ITEMS.attributes[i, 1])
    rank, holds = spanned([(Recommendation((2, 7)), Critique(worst, 1, 1))])
    assert rank == 3
    assert holds(cavs[1])
    rank, holds = spanned([(AttributeQuery(4, 3), Answer(3, -1))])
    assert rank == 1
    assert holds(cavs[3])
    rank, holds = spanned([(AttributeQuery(4, 3), Answer(3, -1)), (ItemQuery((0, 1)), Choice(0))])
    assert rank == 2
    assert spanned([(AttributeQuery(4, 3), Leave()), (Recommendation(()), Reject())])[0] == 0


def test_choices_depend_on_nothing_else_than_the_directions():
    """Moves of phi_u at right angles to them leave the likelihood of item queries as it is."""
    history = as_history([(ItemQuery((2, 7, 5)), Choice(7)), (ItemQuery((1, 2)), Choice(2))], 4)
    evidence = evidence_of(history, ITEMS)
    free = null_space(np.asarray(directions(evidence, ITEMS), np.float64), rcond=1e-5)
    assert free.shape[1] == D - 3
    moved = PHI + jnp.asarray(rng.normal(size=(7, D - 3)) @ free.T, jnp.float32)
    one, other = (
        log_likelihood(features(x, evidence, ITEMS), evidence, MODEL) for x in (PHI, moved)
    )
    np.testing.assert_allclose(one, other, atol=1e-3)
