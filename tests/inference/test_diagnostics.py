"""Effective sizes and R-hat against processes whose values are known, and against NumPyro's."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.acts import NONE
from crs_gym.inference import InferenceWarning, Metropolis, diagnose, population_prior
from crs_gym.inference.diagnostics import effective_draws, split_rhat
from crs_gym.policies import Icer
from crs_gym.simulation import Simulator, evaluation_keys, rollout


def autoregressive(rho, chains, steps, seed=0):
    rng = np.random.default_rng(seed)
    x = np.empty((chains, steps))
    x[:, 0] = rng.normal(size=chains)
    for t in range(1, steps):
        x[:, t] = rho * x[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=chains)
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.4])
def test_effective_draws_of_an_autoregressive_process(rho):
    x = autoregressive(rho, 40, 2000)
    exact = x.size * (1 - rho) / (1 + rho)
    assert effective_draws(x) == pytest.approx(exact, rel=0.1)


def test_effective_draws_of_constant_chains_are_the_draws():
    assert effective_draws(np.ones((3, 10))) == 30


def test_split_rhat_by_hand():
    chains = np.array([[0.0, 2.0, 0.0, 2.0], [4.0, 6.0, 0.0, 2.0]])
    # halves have means 1, 1, 5, 1 and variances 2; between = 2 * 4, within = 2
    assert split_rhat(chains) == pytest.approx(np.sqrt(0.5 + 8 / (2 * 2)))
    assert split_rhat(np.ones((2, 8))) == 1
    assert split_rhat(np.repeat([[0.0], [1.0]], 8, axis=1)) == np.inf


def test_both_agree_with_numpyro():
    diagnostics = pytest.importorskip("numpyro.diagnostics", reason="NumPyro is not installed")
    x = autoregressive(0.7, 8, 500, seed=1) + np.arange(8)[:, None] / 10
    assert split_rhat(x) == pytest.approx(float(diagnostics.split_gelman_rubin(x)), rel=0.01)
    theirs = float(diagnostics.effective_sample_size(x))
    assert effective_draws(x) == pytest.approx(theirs, rel=0.2)


def test_short_chains():
    with pytest.raises(ValueError, match="3 steps are too short"):
        split_rhat(np.zeros((2, 3)))


@pytest.fixture(scope="module")
def talk(small_world):
    """A belief after seven answers, as a conversation made it."""
    simulator = Simulator.of(small_world, max_turns=8)
    inference, keys = Metropolis.of(64), evaluation_keys(0, 2)
    policy = Icer(threshold=-jnp.inf, queries="both")
    history = rollout(simulator, policy, inference, keys).history
    history = jax.tree.map(lambda x: jnp.asarray(x[0, :7]), history)
    prior = population_prior(small_world)
    return simulator, inference, history, prior


def believe(simulator, inference, history, prior, model):
    from crs_gym.inference.evidence import evidence_of

    belief = inference.init(jax.random.key(0), prior, simulator.items, model)
    contexts = evidence_of(history, simulator.items).contexts
    update = jax.jit(inference.update)
    for turn in range(7):
        past = jax.tree.map(
            lambda x, t=turn: jnp.where(
                (jnp.arange(7) <= t).reshape((-1,) + (1,) * (x.ndim - 1)), x, NONE
            ),
            history,
        )
        context = jax.tree.map(lambda x, t=turn: x[t], contexts)
        belief = update(jax.random.key(turn), belief, past, context, simulator.items, model)
    return belief


def test_a_good_belief_is_not_warned_of(talk):
    simulator, inference, history, prior = talk
    belief = believe(simulator, inference, history, prior, simulator.model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = diagnose(
            inference, jax.random.key(1), belief, history, simulator.items, simulator.model
        )
    assert found.quantities[0] == "log-likelihood"
    assert len(found.quantities) == len(found.effective_draws) == len(found.split_rhat) == 9
    assert 0.9 < found.split_rhat.min() <= found.split_rhat.max() < 1.05
    assert 6.4 < found.per_sweep <= 2 * 64
    assert 0 < found.survivors <= 1
    assert 0.05 < found.acceptance < 1


def test_chains_that_hardly_move_are_warned_of(talk):
    """Answers much sharper than the steps: nearly nothing is accepted."""
    simulator, _, history, prior = talk
    model = simulator.model._replace(temperature=1e-4, answer_noise=1e-4)
    stuck = Metropolis.of(8, steps=(0.0,), refreshments=1)
    belief = believe(simulator, stuck, history, prior, model)
    with pytest.warns(InferenceWarning, match="the belief may be wrong: .*Use more draws"):
        diagnose(stuck, jax.random.key(1), belief, history, simulator.items, model)
