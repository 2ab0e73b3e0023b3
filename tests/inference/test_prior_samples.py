"""Weighted prior samples against integration on a grid in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.acts import Answer, AttributeQuery, Choice, ItemQuery, Turn, UserKind
from crs_gym.inference import Prior, PriorSamples
from crs_gym.inference.belief import effective_size, mean_and_std
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
)

SAMPLES, FEW = 40_000, 80
KEY = jax.random.key(0)  # draws nothing

update = jax.jit(lambda inference, *args: inference.update(KEY, *args))
init = jax.jit(lambda inference, *args: inference.init(KEY, *args))


def held(world, turns, samples=SAMPLES, updates=None, prior=PRIOR, **changes):
    updates = len(turns) if updates is None else updates
    model = UserModel.of(world, changes)
    inference = PriorSamples.of(samples, 2)
    return believe(inference, KEY, prior, as_history(turns), updates, items_of(world), model)


def samples_of(belief, samples=SAMPLES, draws=None):
    return PriorSamples.of(samples, 2, draws=draws).samples(belief)


@pytest.mark.parametrize("name", NAMES)
def test_posterior_agrees_with_a_grid(plane_world, posterior, name):
    expected, deviation, phi, weights = posterior(name)
    # the responses say something, or the agreement would be empty
    assert np.abs(expected - PRIOR.mean).max() > 0.1
    embeddings, weight, _ = samples_of(held(plane_world, conversations(plane_world)[name]))
    mean, std = mean_and_std(embeddings, weight)
    size = float(effective_size(weight))
    assert 100 < size < SAMPLES
    np.testing.assert_array_less(np.abs(mean - expected), 4 * deviation / np.sqrt(size))
    fourth = weights @ (phi - expected) ** 4
    error = np.sqrt((fourth - deviation**4) / size)  # of the variance
    np.testing.assert_array_less(np.abs(std**2 - deviation**2), 4 * error)


def test_the_grid_holds_the_prior(posterior):
    mean, deviation, *_ = posterior("nothing")
    np.testing.assert_allclose(mean, PRIOR.mean, atol=1e-6)
    np.testing.assert_allclose(deviation, PRIOR.std, atol=1e-5)


def test_order_of_queries_does_not_matter(plane_world):
    turns = [*conversations(plane_world)["choices"], *conversations(plane_world)["answers"]]
    forwards, backwards = (
        samples_of(held(plane_world, said, FEW), FEW).weights for said in (turns, turns[::-1])
    )
    np.testing.assert_allclose(forwards, backwards, rtol=1e-3, atol=1e-7)


def test_without_responses_the_belief_is_the_prior(plane_world):
    embeddings, weights, null = samples_of(held(plane_world, [], updates=2))
    np.testing.assert_allclose(weights, 1 / SAMPLES, rtol=1e-5)
    mean, std = mean_and_std(embeddings, weights)
    # the samples come in antithetic pairs: the mean is exact but for rounding
    np.testing.assert_allclose(mean, PRIOR.mean, atol=1e-4)
    relative = 4 / np.sqrt(SAMPLES)  # of a deviation from SAMPLES / 2 independent squares
    np.testing.assert_allclose(std, PRIOR.std, rtol=relative)
    assert effective_size(weights) == pytest.approx(SAMPLES, rel=1e-3)
    expected = null_utility(embeddings, items_of(plane_world), UserModel.of(plane_world))
    np.testing.assert_allclose(null, expected, atol=1e-5)


@pytest.mark.parametrize("said", [2, TURNS])
def test_after_the_end_nothing_changes(plane_world, said):
    """A full history too: its last turn is not applied again."""
    turns = conversations(plane_world)["mixed"][:said]
    before, once, thrice = (
        held(plane_world, turns, FEW, said + more).log_weights for more in (-1, 0, 2)
    )
    np.testing.assert_allclose(thrice, once, atol=1e-5)
    assert np.abs(once - before).max() > 0.1


def test_an_impossible_response_leaves_the_belief(plane_world):
    # all samples lie where item 0 is better than item 1
    mean = plane_world.item_embeddings[0] - plane_world.item_embeddings[1]
    certain = Prior(jnp.asarray(mean), jnp.full(2, 1e-3, jnp.float32))
    for said in (0, 1):  # impossible is the second; the first is sure, and leaves the weights even
        turns = [(ItemQuery((0, 1)), Choice(said))]
        after = held(plane_world, turns, FEW, prior=certain, temperature=0.0)
        np.testing.assert_allclose(after.log_weights, 0, atol=1e-6)
    # a response of the wrong kind
    inference, items, model = PriorSamples.of(FEW, 2), items_of(plane_world), UserModel()
    belief = init(inference, PRIOR, items, model)
    act, response = as_history([(ItemQuery((0, 1)), Choice(1))])
    wrong = Turn(act, response._replace(kind=response.kind.at[0].set(UserKind.ANSWER)))
    after = update(inference, belief, wrong, beginning(4, 40), items, model)
    np.testing.assert_array_equal(after.log_weights, belief.log_weights)


def test_contradictory_answers_leave_what_the_first_said(plane_world):
    turns = [(AttributeQuery(5, 0), Answer(0, direction)) for direction in (-1, 1)]
    one, two = (held(plane_world, turns[:n], FEW, answer_noise=0.0).log_weights for n in (1, 2))
    np.testing.assert_array_equal(two, one)
    assert 0.05 < np.isfinite(one).mean() < 0.95


def test_log_weights_stay_bounded(plane_world):
    inference, items, model = PriorSamples.of(FEW, 2), items_of(plane_world), UserModel()
    history, context = as_history([(ItemQuery((0, 1)), Choice(1))]), beginning(4, 40)
    belief = init(inference, PRIOR, items, model)
    for _ in range(200):
        belief = update(inference, belief, history, context, items, model)
    assert belief.log_weights.max() == 0
    samples = inference.samples(belief)
    assert samples.weights.sum() == pytest.approx(1, abs=1e-5)
    # everybody left prefers item 1
    gap = plane_world.item_embeddings[1] - plane_world.item_embeddings[0]
    assert samples.weights @ (samples.embeddings @ gap > 0) == pytest.approx(1, abs=1e-5)


def test_draws_are_the_weighted_samples_again(plane_world):
    """Even weights, the moments of the weighted samples, and none of the unlikely ones."""
    belief = held(plane_world, conversations(plane_world)["mixed"])
    full, drawn = samples_of(belief), samples_of(belief, draws=512)
    np.testing.assert_allclose(drawn.weights, 1 / 512)
    assert drawn.embeddings.shape == (512, 2)
    assert drawn.null.shape == (512,)
    (mean, std), (about, width) = (mean_and_std(x.embeddings, x.weights) for x in (full, drawn))
    np.testing.assert_array_less(np.abs(about - mean), 4 * std / np.sqrt(512))
    np.testing.assert_allclose(width, std, rtol=4 / np.sqrt(512))
    bank = {tuple(row): i for i, row in enumerate(np.asarray(full.embeddings).tolist())}
    rows = jnp.array([bank[tuple(row)] for row in np.asarray(drawn.embeddings).tolist()])
    np.testing.assert_array_equal(drawn.null, full.null[rows])
    assert full.weights[rows].min() > 1e-9


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_of_beliefs_equals_single_beliefs(plane_world, shared):
    inference, items = PriorSamples.of(FEW, 2), items_of(plane_world)
    model = UserModel.of(plane_world)
    firsts = [turns[:1] for turns in conversations(plane_world).values()]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *map(as_history, firsts))
    shift = 0.0 if shared else 0.1
    priors = Prior(
        PRIOR.mean + shift * jnp.arange(len(firsts))[:, None], jnp.stack([PRIOR.std] * len(firsts))
    )
    axes = inference.axes(shared)

    def one(prior, history):
        belief = inference.init(KEY, prior, items, model)
        return inference.update(KEY, belief, history, beginning(4, 40), items, model)

    prior = PRIOR if shared else priors
    after = jax.jit(jax.vmap(one, in_axes=(axes.prior.mean, 0), out_axes=axes))(prior, batch)
    assert after.log_weights.shape == (len(firsts), FEW)
    assert after.null.shape == ((FEW,) if shared else (len(firsts), FEW))
    for b, turns in enumerate(firsts):
        prior = jax.tree.map(lambda x, b=b: x[b], priors)
        single = held(plane_world, turns, FEW, prior=prior).log_weights
        np.testing.assert_allclose(after.log_weights[b], single, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 7, -2])
def test_wrong_numbers_of_samples(samples):
    with pytest.raises(
        ValueError, match=f"samples must be an even number of at least 2, not {samples}"
    ):
        PriorSamples.of(samples, 3)


@pytest.mark.parametrize("draws", [0, -1])
def test_wrong_numbers_of_draws(draws):
    with pytest.raises(ValueError, match=f"draws must be at least 1, not {draws}"):
        PriorSamples.of(10, 3, draws=draws)


def test_the_bank_is_antithetic_and_standard_normal():
    noise = np.asarray(PriorSamples.of(20_000, 3, seed=2).noise)
    np.testing.assert_array_equal(noise[:10_000], -noise[10_000:])
    assert noise.std() == pytest.approx(1, abs=4 / np.sqrt(2 * 30_000))
    np.testing.assert_array_equal(noise, PriorSamples.of(20_000, 3, seed=2).noise)
    assert (noise != np.asarray(PriorSamples.of(20_000, 3, seed=3).noise)).any()
