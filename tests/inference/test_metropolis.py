"""Draws by Metropolis-Hastings against integration on a grid, and against weighted samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats

from crs_gym.acts import (
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Recommendation,
    RecommenderAct,
    Turn,
    UserAct,
)
from crs_gym.inference import Metropolis, Prior, PriorSamples
from crs_gym.inference.metropolis import TABLE, Quality
from crs_gym.users import UserModel, items_of
from crs_gym.users.model import null_utility
from tests.inference.grid import (
    NAMES,
    PRIOR,
    TURNS,
    as_history,
    beginning,
    believe,
    conversations,
    grid_posterior,
    make_items,
    many,
)

ENSEMBLES, DRAWS = 512, 128
SWEEPS = 24
METROPOLIS, METROPOLIS_OF_16 = Metropolis.of(DRAWS), Metropolis.of(16)
KEYS = jax.random.split(jax.random.key(1), ENSEMBLES)

extend = jax.jit(
    jax.vmap(
        lambda *args: METROPOLIS.extend(*args, sweeps=SWEEPS), in_axes=(0, 0, None, None, None)
    )
)


def hold(world, turns, updates=None, keys=KEYS, prior=PRIOR, **changes):
    updates = len(turns) if updates is None else updates
    items, model = items_of(world), UserModel.of(world, changes)
    return many(METROPOLIS, keys, prior, as_history(turns), updates, items, model)


def moments(phi, centre):
    """(..., m, d) to the mean, and to the second moments about `centre`, (..., d + d d)."""
    gap = np.asarray(phi, np.float64) - centre
    second = np.einsum("...i,...j->...ij", gap, gap).reshape(*gap.shape[:-1], -1)
    return np.concatenate([gap, second], axis=-1).mean(-2)


def agree(embeddings, phi, weights, centre, drawn=False, rtol=0.06):
    """Moments of independent ensembles against those of the weighted points.

    drawn: the points are random themselves, so that their own error counts.
    rtol: of the variances.
    """
    gap = phi - centre
    second = np.einsum("mi,mj->mij", gap, gap).reshape(len(phi), -1)
    each = np.concatenate([gap, second], axis=1)
    expected = weights @ each
    found = moments(embeddings, centre)
    error = found.var(0, ddof=1) / len(found)
    if drawn:
        error += weights**2 @ (each - expected) ** 2
    z = (found.mean(0) - expected) / np.sqrt(error)
    # one error in a thousand runs
    assert np.abs(z).max() < stats.t.isf(1e-3 / 2 / len(z), len(found) - 1), z
    d = phi.shape[1]
    variances = [d + i * (d + 1) for i in range(d)]
    np.testing.assert_allclose(found.mean(0)[variances], expected[variances], rtol=rtol)


@pytest.mark.parametrize("name", NAMES)
def test_posterior_agrees_with_a_grid(plane_world, posterior, name):
    centre, _, phi, weights = posterior(name)
    _, samples = hold(plane_world, conversations(plane_world)[name])
    agree(samples.embeddings, phi, weights, centre)
    np.testing.assert_allclose(samples.weights, 1 / DRAWS)
    model = UserModel.of(plane_world)
    null = null_utility(samples.embeddings, items_of(plane_world), model)
    np.testing.assert_allclose(samples.null, null, atol=1e-3)


@pytest.mark.parametrize("updates", [0, 3])
def test_without_responses_the_belief_is_the_prior(plane_world, posterior, updates):
    centre, _, phi, weights = posterior("nothing")
    beliefs, samples = hold(plane_world, [], updates)
    agree(samples.embeddings, phi, weights, centre)
    np.testing.assert_allclose(beliefs.quality.survivors, 1, rtol=1e-5)
    np.testing.assert_array_equal(beliefs.quality.refreshment, 1)
    assert beliefs.quality.acceptance.min() > 0.7


@pytest.mark.slow
def test_in_ten_dimensions_against_weighted_samples():
    """Most of them outside the plane of two turns, which fresh draws of the prior must cover."""
    rng = np.random.default_rng(5)
    items = make_items(rng.normal(size=(60, 10)), rng.normal(size=(4, 10)) / 3)
    model = UserModel(temperature=0.5, null_z=0.5, target_scale=2.0, answer_noise=0.5)
    prior = Prior(np.full(10, 0.2, np.float32), np.linspace(0.5, 1.0, 10, dtype=np.float32))
    about = Recommendation((3, 8))
    worst = min(about.items, key=lambda i: items.attributes[i, 2])
    turns = [(ItemQuery((0, 1)), Choice(1)), (about, Critique(worst, 2, 1))]
    history = as_history(turns, 2, 2)
    beliefs, samples = many(METROPOLIS, KEYS, prior, history, 2, items, model)
    assert 0.3 < beliefs.quality.refreshment.mean() < 1
    bank = PriorSamples.of(60_000, 10)
    phi, weights, _ = bank.samples(believe(bank, KEYS[0], prior, history, 2, items, model))
    phi, weights = np.asarray(phi, np.float64), np.asarray(weights, np.float64)
    assert 1 / (weights**2).sum() > 5_000
    agree(samples.embeddings, phi, weights / weights.sum(), weights @ phi, drawn=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["choices", "mixed"])
def test_extending_keeps_the_posterior(plane_world, posterior, name):
    """Independent draws of it, made on the grid, stay draws of it."""
    centre, _, phi, weights = posterior(name)
    rng = np.random.default_rng(6)
    cell = phi[402] - phi[0]  # one step of the grid in either dimension
    start = phi[rng.choice(len(phi), (ENSEMBLES, DRAWS), p=weights)]
    start += (rng.random(start.shape) - 0.5) * cell
    points = jnp.asarray((start - PRIOR.mean) / PRIOR.std, jnp.float32)
    turns = conversations(plane_world)[name]
    beliefs = hold(plane_world, turns, 0)[0]._replace(points=points)
    last, trace = extend(
        KEYS, beliefs, as_history(turns), items_of(plane_world), UserModel.of(plane_world)
    )
    assert trace.embeddings.shape == (ENSEMBLES, SWEEPS, DRAWS, 2)
    np.testing.assert_allclose(trace.weights, 1 / DRAWS)
    final = jax.vmap(METROPOLIS.samples)(last)
    np.testing.assert_allclose(trace.embeddings[:, -1], final.embeddings, atol=1e-5)
    np.testing.assert_allclose(trace.null[:, -1], final.null, atol=1e-5)
    agree(trace.embeddings.reshape(ENSEMBLES, -1, 2), phi, weights, centre)
    moved = np.abs(np.diff(trace.embeddings, axis=1)).max(-1) > 1e-4
    assert moved.mean() > 0.8


@pytest.mark.slow
def test_extending_reaches_the_posterior(plane_world, posterior):
    """From draws of the prior, which no response has weighed."""
    centre, _, phi, weights = posterior("choices")
    turns = conversations(plane_world)["choices"]
    beliefs, _ = hold(plane_world, turns, 0)
    _, trace = extend(
        KEYS, beliefs, as_history(turns), items_of(plane_world), UserModel.of(plane_world)
    )
    late = trace.embeddings[:, SWEEPS // 2 :]
    agree(late.reshape(ENSEMBLES, -1, 2), phi, weights, centre)


@pytest.mark.slow
def test_the_same_answer_200_times(plane_world):
    turns = [(ItemQuery((0, 1)), Choice(1))] * 200
    centre, _, phi, weights = grid_posterior(plane_world, turns, points=101)
    items, model = items_of(plane_world), UserModel.of(plane_world)
    few = Metropolis.of(32, steps=(0.0, 0.6), refreshments=1)
    beliefs, samples = many(few, KEYS[:8], PRIOR, as_history(turns, 200), 200, items, model)
    assert np.isfinite(samples.null).all()
    agree(samples.embeddings, phi, weights, centre, rtol=0.2)
    assert beliefs.quality.survivors.min() > 0.9


@pytest.mark.parametrize("said", [2, TURNS])
def test_after_the_end_the_posterior_stays(plane_world, posterior, said):
    """A full history too: its last turn is not applied again."""
    name = {2: "choices", TURNS: "mixed"}[said]
    centre, _, phi, weights = posterior(name)
    beliefs, samples = hold(plane_world, conversations(plane_world)[name], said + 2)
    agree(samples.embeddings, phi, weights, centre)
    np.testing.assert_allclose(beliefs.quality.survivors, 1, rtol=1e-5)


def test_an_impossible_response_leaves_the_draws(plane_world):
    # all draws lie where item 0 is better than item 1
    mean = plane_world.item_embeddings[0] - plane_world.item_embeddings[1]
    certain = Prior(jnp.asarray(mean), jnp.full(2, 1e-3, jnp.float32))
    turns = [(ItemQuery((0, 1)), Choice(1))]
    settings = {"prior": certain, "temperature": 0.0}
    _, before = hold(plane_world, turns, 0, **settings)
    beliefs, after = hold(plane_world, turns, 1, **settings)
    np.testing.assert_allclose(
        np.sort(after.embeddings, axis=1), np.sort(before.embeddings, axis=1), atol=1e-5
    )
    np.testing.assert_array_equal(beliefs.quality.acceptance, 0)
    np.testing.assert_allclose(beliefs.quality.survivors, 1, rtol=1e-5)
    # the other answer is sure, and the belief stays the prior
    beliefs, _ = hold(plane_world, [(ItemQuery((0, 1)), Choice(0))], 1, **settings)
    np.testing.assert_allclose(moments(beliefs.points, 0).mean(0)[:2], 0, atol=0.1)
    assert beliefs.quality.acceptance.min() > 0.7


def test_contradictory_answers_leave_what_the_first_said(plane_world):
    turns = [(AttributeQuery(5, 0), Answer(0, direction)) for direction in (-1, 1)]
    world_and_model = items_of(plane_world), UserModel.of(plane_world, {"answer_noise": 0.0})
    for said in (1, 2):
        _, samples = many(METROPOLIS, KEYS, PRIOR, as_history(turns), said, *world_and_model)
        phi = np.asarray(samples.embeddings, np.float64)
        target = phi / np.linalg.norm(phi, axis=-1, keepdims=True) @ plane_world.cavs[0]
        limit = plane_world.attribute_scores[5, 0] / plane_world.user_model["target_scale"]
        assert (target < limit + 1e-4).all()


@given(
    embeddings=npst.arrays(np.float32, (6, 3), elements=st.integers(-3, 3)),
    cavs=npst.arrays(np.float32, (4, 3), elements=st.integers(-1, 1)),
    std=npst.arrays(np.float32, 3, elements=st.sampled_from([0.0, 1e-3, 0.5, 2.0])),
    kinds=npst.arrays(np.int32, (4, 2), elements=st.integers(-1, 5)),
    slates=npst.arrays(np.int32, (4, 3), elements=st.integers(-1, 5)),
    places=npst.arrays(np.int32, 4, elements=st.integers(-1, 2)),
    attributes=npst.arrays(np.int32, (4, 2), elements=st.integers(-1, 3)),
    directions=npst.arrays(np.int32, 4, elements=st.sampled_from([-1, 0, 1])),
    temperature=st.sampled_from([0.0, 0.2, np.inf]),
    noise=st.sampled_from([0.0, 0.2, np.inf]),
    updates=st.integers(0, 6),
)
@settings(deadline=None, max_examples=60)
def test_draws_are_finite_whatever_was_said(
    embeddings,
    cavs,
    std,
    kinds,
    slates,
    places,
    attributes,
    directions,
    temperature,
    noise,
    updates,
):
    """Impossible responses, no or equal items in a slate, items of length 0."""
    history = Turn(
        RecommenderAct(kinds[:, 0].clip(max=2), slates, attributes[:, 0], directions),
        UserAct(kinds[:, 1], places, attributes[:, 1], directions),
    )
    model = UserModel(temperature=temperature, answer_noise=noise, leave_base=0.1)
    prior = Prior(np.zeros(3, np.float32), std)
    few = METROPOLIS_OF_16
    belief = believe(few, KEYS[0], prior, history, updates, make_items(embeddings, cavs), model)
    assert np.isfinite(belief.points).all()
    assert np.isfinite(belief.null).all()
    assert belief.points.shape == (16, 3)
    quality = np.array(belief.quality)
    assert ((quality >= 0) & (quality <= 1 + 1e-5)).all()


def test_the_key_decides(plane_world):
    turns = conversations(plane_world)["mixed"]
    args = (PRIOR, as_history(turns), len(turns), items_of(plane_world), UserModel.of(plane_world))
    one, again, other = (believe(METROPOLIS, key, *args) for key in KEYS[jnp.array([0, 0, 1])])
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (one.points != other.points).mean() > 0.99
    # and the batch is made of what the single ones are
    beliefs, _ = hold(plane_world, turns)
    for single, b in ((one, 0), (other, 1)):
        same = np.isclose(beliefs.points[b], single.points, atol=1e-3).all(-1)
        assert same.mean() > 0.98  # rounding may turn an acceptance


def test_a_batch_with_a_prior_each(plane_world):
    """`axes` put to use."""
    items, model = items_of(plane_world), UserModel.of(plane_world)
    history = as_history(conversations(plane_world)["choices"][:1])
    means = PRIOR.mean + 0.1 * jnp.arange(3)[:, None]
    priors = Prior(means, jnp.stack([PRIOR.std] * 3))
    axes = METROPOLIS.axes(False)
    keys = jax.vmap(jax.random.split)(KEYS[:3])  # as `follow` splits them

    def one(keys, belief):
        return METROPOLIS.update(keys, belief, history, beginning(4, 40), items, model)

    start = jax.vmap(lambda key, prior: METROPOLIS.init(key, prior, items, model), out_axes=axes)(
        keys[:, 1], priors
    )
    update = jax.jit(jax.vmap(one, in_axes=(0, axes), out_axes=axes))
    after = update(jax.vmap(jax.random.split)(keys[:, 0])[:, 1], start)
    for b in range(3):
        prior = Prior(means[b], PRIOR.std)
        single = believe(METROPOLIS, KEYS[b], prior, history, 1, items, model)
        same = np.isclose(after.points[b], single.points, atol=1e-3).all(-1)
        assert same.mean() > 0.98  # rounding may turn an acceptance


def test_a_batch_may_share_its_prior(plane_world):
    items, model = items_of(plane_world), UserModel.of(plane_world)
    axes = METROPOLIS.axes(True)
    start = jax.vmap(lambda key: METROPOLIS.init(key, PRIOR, items, model), out_axes=axes)(KEYS[:3])
    np.testing.assert_array_equal(start.prior.mean, PRIOR.mean)
    assert start.points.shape == (3, DRAWS, 2)
    after = jax.eval_shape(
        jax.vmap(
            lambda key, belief: METROPOLIS.update(
                key, belief, as_history([]), beginning(4, 40), items, model
            ),
            in_axes=(0, axes),
            out_axes=axes,
        ),
        KEYS[:3],
        start,
    )
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, start)


@pytest.mark.parametrize("draws", [1000, 2 * (TABLE // 32)])
def test_the_first_draws_are_standard_normal(items, draws):
    """From the table, and without it where it is too short."""
    inference = Metropolis.of(draws)
    belief = inference.init(KEYS[0], PRIOR, items, UserModel())
    points = np.asarray(belief.points)
    assert points.shape == (draws, 2)
    assert stats.kstest(points.ravel(), "norm").pvalue > 1e-4
    assert len(np.unique(points)) > 0.99 * points.size
    assert belief.quality == Quality(1, 1, 1)


@pytest.mark.parametrize("draws", [-2, 0, 2, 7])
def test_wrong_numbers_of_draws(draws):
    with pytest.raises(
        ValueError, match=f"draws must be an even number of at least 4, not {draws}"
    ):
        Metropolis.of(draws)


@pytest.mark.parametrize("rho", [-0.1, 1.0, np.nan])
def test_wrong_correlations(rho):
    with pytest.raises(ValueError, match="steps must be correlations in"):
        Metropolis.of(8, steps=(0.0, rho))
