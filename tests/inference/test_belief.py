"""Weighted prior samples against integration on a grid in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import norm

from crs_gym.acts import (
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
from crs_gym.inference import Prior, PriorSamples
from crs_gym.inference.belief import effective_size, mean_and_std
from crs_gym.simulation.simulator import advance
from crs_gym.users import Context, UserModel, items_of

PRIOR = Prior(jnp.array([0.3, -0.2]), jnp.array([0.8, 1.1]))
SAMPLES = 40_000


def beginning(world):
    return Context(
        jnp.int32(0),
        jnp.int32(0),
        jnp.zeros(world.n_attributes, bool),
        jnp.zeros(world.n_items, bool),
    )


def as_turn(act, response, slate_size=3):
    act = to_arrays(act, slate_size)
    return jax.tree.map(jnp.asarray, Turn(act, response_to_arrays(response, act)))


def wrong_way(world, items, attribute, direction):
    """The item of a slate that a critique names."""
    return min(items, key=lambda i: direction * world.attribute_scores[i, attribute])


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


init = jax.jit(lambda inference, *args: inference.init(*args))
update = jax.jit(lambda inference, *args: inference.update(*args))


def believe(world, turns, seed=0, samples=SAMPLES):
    inference = PriorSamples.of(samples, 2, seed)
    items, model = items_of(world), UserModel.of(world)
    belief, context = init(inference, PRIOR, items, model), beginning(world)
    for act, response in turns:
        turn = as_turn(act, response)
        belief = update(inference, belief, turn, context, items, model)
        context = jax.jit(advance)(context, turn)
    return inference.samples(belief)


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


@pytest.mark.parametrize("name", ["choices", "answers", "rejections", "critiques", "mixed"])
def test_posterior_agrees_with_a_grid(plane_world, name):
    turns = conversations(plane_world)[name]
    expected, deviation, phi, weights = grid_posterior(plane_world, turns)
    prior_mean, prior_deviation, *_ = grid_posterior(plane_world, [])
    np.testing.assert_allclose(prior_mean, PRIOR.mean, atol=1e-6)
    np.testing.assert_allclose(prior_deviation, PRIOR.std, atol=1e-5)
    # the responses say something, or the agreement would be empty
    assert np.abs(expected - prior_mean).max() > 0.1
    embeddings, weight, _ = believe(plane_world, turns)
    mean, std = mean_and_std(embeddings, weight)
    size = float(effective_size(weight))
    assert 100 < size < SAMPLES
    np.testing.assert_array_less(np.abs(mean - expected), 4 * deviation / np.sqrt(size))
    fourth = weights @ (phi - expected) ** 4
    error = np.sqrt((fourth - deviation**4) / size)  # of the variance
    np.testing.assert_array_less(np.abs(std**2 - deviation**2), 4 * error)


def test_order_of_queries_does_not_matter(plane_world):
    turns = [*conversations(plane_world)["choices"], *conversations(plane_world)["answers"]]
    _, weights, _ = believe(plane_world, turns, samples=100)
    _, backwards, _ = believe(plane_world, turns[::-1], samples=100)
    np.testing.assert_allclose(weights, backwards, rtol=1e-3, atol=1e-7)


def test_without_responses_the_belief_is_the_prior(plane_world):
    embeddings, weights, _ = believe(plane_world, [])
    np.testing.assert_allclose(weights, 1 / SAMPLES, rtol=1e-5)
    mean, std = mean_and_std(embeddings, weights)
    # the samples come in antithetic pairs: the mean is exact but for rounding
    np.testing.assert_allclose(mean, PRIOR.mean, atol=1e-4)
    relative = 4 / np.sqrt(SAMPLES)  # of a deviation from SAMPLES / 2 independent squares
    np.testing.assert_allclose(std, PRIOR.std, rtol=relative)
    assert effective_size(weights) == pytest.approx(SAMPLES, rel=1e-3)


def test_padding_changes_nothing(plane_world):
    inference, items, model = PriorSamples.of(50, 2), items_of(plane_world), UserModel()
    belief = init(inference, PRIOR, items, model)
    turn = jax.tree.map(jnp.asarray, no_turn(3))
    after = update(inference, belief, turn, beginning(plane_world), items, model)
    np.testing.assert_array_equal(after.log_weights, belief.log_weights)


def test_an_impossible_response_leaves_the_belief(plane_world):
    inference, items = PriorSamples.of(50, 2), items_of(plane_world)
    model = UserModel.of(plane_world, {"temperature": 0.0})
    belief = init(inference, PRIOR, items, model)
    context = beginning(plane_world)
    turn = as_turn(ItemQuery((0, 1)), Choice(1))
    # all samples lie where item 0 is better than item 1
    certain = belief._replace(
        prior=Prior(
            jnp.asarray(plane_world.item_embeddings[0] - plane_world.item_embeddings[1]),
            jnp.full(2, 1e-3),
        )
    )
    after = update(inference, certain, turn, context, items, model)
    np.testing.assert_array_equal(after.log_weights, certain.log_weights)
    # the other answer is sure, and leaves the weights even
    after = update(inference, certain, as_turn(ItemQuery((0, 1)), Choice(0)), context, items, model)
    np.testing.assert_allclose(after.log_weights, 0, atol=1e-6)
    # a response of the wrong kind
    wrong = Turn(turn.act, turn.response._replace(kind=jnp.int32(4)))
    after = update(inference, belief, wrong, context, items, model)
    np.testing.assert_array_equal(after.log_weights, belief.log_weights)


def test_log_weights_stay_bounded(plane_world):
    inference, items, model = PriorSamples.of(200, 2), items_of(plane_world), UserModel()
    turn, context = as_turn(ItemQuery((0, 1)), Choice(1)), beginning(plane_world)
    belief = init(inference, PRIOR, items, model)
    for _ in range(50):
        belief = update(inference, belief, turn, context, items, model)
    assert belief.log_weights.max() == 0
    weights = inference.samples(belief).weights
    assert weights.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_a_batch_of_beliefs_equals_single_beliefs(plane_world, shared):
    inference, items, model = (
        PriorSamples.of(80, 2),
        items_of(plane_world),
        UserModel.of(plane_world),
    )
    turns = [turn for turn, *_ in conversations(plane_world).values()]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *(as_turn(*turn) for turn in turns))
    contexts = jax.tree.map(lambda x: jnp.stack([x] * len(turns)), beginning(plane_world))
    shift = 0.0 if shared else 1.0
    means = PRIOR.mean + shift * jnp.arange(len(turns))[:, None] / 10
    priors = [Prior(mean, PRIOR.std) for mean in means]
    axes = inference.axes(shared)
    start = jax.vmap(
        lambda prior: inference.init(prior, items, model),
        in_axes=axes.prior.mean,
        out_axes=axes,
        axis_size=len(turns),
    )(PRIOR if shared else Prior(means, jnp.stack([PRIOR.std] * len(turns))))
    assert start.log_weights.shape == (len(turns), 80)
    assert start.null.shape == ((80,) if shared else (len(turns), 80))
    after = jax.jit(
        jax.vmap(
            lambda belief, turn, context: inference.update(belief, turn, context, items, model),
            in_axes=(axes, 0, 0),
            out_axes=axes,
        )
    )(start, batch, contexts)
    for b, turn in enumerate(turns):
        alone = init(inference, priors[b], items, model)
        alone = update(inference, alone, as_turn(*turn), beginning(plane_world), items, model)
        np.testing.assert_allclose(after.log_weights[b], alone.log_weights, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 7, -2])
def test_wrong_numbers_of_samples(samples):
    with pytest.raises(
        ValueError, match=f"samples must be an even number of at least 2, not {samples}"
    ):
        PriorSamples.of(samples, 3)


def test_the_bank_is_antithetic_and_standard_normal():
    noise = np.asarray(PriorSamples.of(20_000, 3, seed=2).noise)
    np.testing.assert_array_equal(noise[:10_000], -noise[10_000:])
    assert noise.std() == pytest.approx(1, abs=4 / np.sqrt(2 * 30_000))
    np.testing.assert_array_equal(noise, PriorSamples.of(20_000, 3, seed=2).noise)
    assert (noise != np.asarray(PriorSamples.of(20_000, 3, seed=3).noise)).any()


def test_effective_size_and_moments_by_hand():
    weights = jnp.array([0.5, 0.25, 0.25, 0.0])
    assert effective_size(weights) == pytest.approx(1 / (0.25 + 2 * 0.0625))
    assert effective_size(jnp.full(8, 0.125)) == 8
    mean, std = mean_and_std(jnp.array([[0.0], [4.0], [8.0], [99.0]]), weights)
    assert mean == pytest.approx(3)
    assert std == pytest.approx(np.sqrt(0.25 * 16 + 0.25 * 64 - 9))
