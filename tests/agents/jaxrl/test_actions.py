import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces
from scipy import stats

from agents.jaxrl.actions import Choices, Gaussian, actions_of

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(5, 7)).astype(np.float32)
MASK = np.array([[1, 0, 1, 1, 1, 0, 1]] * 5, np.int8)


def probabilities(logits, mask):
    """Of the choices of one among three and one among four, masked ones left out."""
    found = []
    for part in (slice(0, 3), slice(3, 7)):
        weight = np.exp(logits[:, part].astype(float)) * mask[:, part]
        found.append(weight / weight.sum(1, keepdims=True))
    return found


def test_spaces():
    assert actions_of(spaces.Discrete(4)) == Choices((4,), single=True)
    assert actions_of(spaces.MultiDiscrete([3, 4])) == Choices((3, 4), single=False)
    assert actions_of(spaces.Box(-1, 1, (6,))) == Gaussian(6, -1.0, 1.0)
    with pytest.raises(ValueError, match="MultiBinary"):
        actions_of(spaces.MultiBinary(3))


@pytest.mark.parametrize("mask", [MASK, None])
def test_choices_agree_with_their_probabilities(mask):
    choices = Choices((3, 4), single=False)
    first, second = probabilities(LOGITS, np.ones_like(MASK) if mask is None else mask)
    action = np.array([[0, 0], [2, 1], [0, 3], [2, 1], [0, 0]])
    rows = np.arange(5)
    expected = np.log(first[rows, action[:, 0]]) + np.log(second[rows, action[:, 1]])
    np.testing.assert_allclose(choices.log_prob(LOGITS, mask, action), expected, rtol=1e-5)
    expected = stats.entropy(first, axis=1) + stats.entropy(second, axis=1)
    np.testing.assert_allclose(choices.entropy(LOGITS, mask), expected, rtol=1e-5)
    mode = np.stack([first.argmax(1), second.argmax(1)], axis=1)
    assert np.array_equal(choices.mode(LOGITS, mask), mode)


def test_samples_follow_the_masked_probabilities(goodness_of_fit):
    choices = Choices((3, 4), single=False)
    many = 4000
    outputs, mask = (np.broadcast_to(rows[0], (many, 7)) for rows in (LOGITS, MASK))
    drawn = np.asarray(choices.sample(jax.random.key(1), outputs, mask))
    assert drawn.shape == (many, 2)
    assert drawn.dtype == np.int32
    first, second = probabilities(LOGITS[:1], MASK[:1])
    joint = first[0][:, None] * second[0]
    counts = np.zeros((3, 4))
    np.add.at(counts, tuple(drawn.T), 1)
    assert goodness_of_fit(counts, joint) > 1e-3


def test_one_choice_has_no_axis_of_its_own():
    one = Choices((7,), single=True)
    assert one.sample(jax.random.key(0), LOGITS, MASK).shape == (5,)
    assert one.mode(LOGITS, MASK).shape == (5,)
    action = jnp.zeros(5, jnp.int32)
    pair = Choices((7,), single=False)
    found = one.log_prob(LOGITS, MASK, action)
    np.testing.assert_array_equal(found, pair.log_prob(LOGITS, MASK, action[:, None]))


def test_nothing_flows_into_what_is_forbidden():
    one = Choices((7,), single=True)
    gradient = jax.grad(lambda logits: one.entropy(logits, MASK).sum())(LOGITS)
    assert np.isfinite(gradient).all()
    assert not np.any(np.asarray(gradient)[MASK == 0])


def test_gaussian_agrees_with_scipy():
    gaussian = Gaussian(3, -1.0, 1.0)
    mean, log_std = RNG.normal(size=(2, 5, 3)).astype(np.float32)
    outputs = np.concatenate([mean, log_std], axis=1)
    action = RNG.normal(size=(5, 3)).astype(np.float32)
    normal = stats.norm(mean, np.exp(log_std))
    found = gaussian.log_prob(outputs, None, action)
    np.testing.assert_allclose(found, normal.logpdf(action).sum(1), rtol=1e-4)
    np.testing.assert_allclose(gaussian.entropy(outputs, None), normal.entropy().sum(1), rtol=1e-4)
    np.testing.assert_array_equal(gaussian.mode(outputs, None), np.clip(mean, -1, 1))
    many = np.broadcast_to(outputs[:1], (4000, 6))
    drawn = (gaussian.sample(jax.random.key(0), many, None) - mean[0]) / np.exp(log_std[0])
    assert stats.kstest(np.ravel(drawn), "norm").pvalue > 1e-3
