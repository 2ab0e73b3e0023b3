"""Parameters, items, percepts, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from crs_gym.acts import NONE, RecommenderAct, RecommenderKind
from crs_gym.users import User, UserModel, items_of, perceive
from crs_gym.users.model import null_utility, target_attributes


def embeddings_of(world, n=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.4, (n, world.dim)).astype(np.float32)


def test_items_of(small_world):
    items = items_of(small_world)
    phi = small_world.item_embeddings.astype(np.float64)
    np.testing.assert_array_equal(items.embeddings, small_world.item_embeddings)
    np.testing.assert_allclose(
        items.attributes, phi @ small_world.cavs.T.astype(np.float64), atol=1e-5
    )
    root = np.asarray(items.root, np.float64)
    np.testing.assert_allclose(root @ root.T, np.cov(phi.T, bias=True), atol=1e-5)
    np.testing.assert_allclose(items.mean, phi.mean(0), atol=1e-6)
    for name, array in items._asdict().items():
        assert array.dtype == (jnp.int32 if name == "order" else jnp.float32)
    for g, order in enumerate(items.order):
        assert (np.diff(items.attributes[order, g]) >= 0).all()
        assert len(set(order.tolist())) == len(phi)


@pytest.mark.parametrize("z", [-1.0, 0.0, 2.5])
def test_null_utility_is_mean_plus_z_deviations_of_the_utilities(small_world, z):
    shifted = small_world.replace(item_embeddings=small_world.item_embeddings + 0.7)
    embeddings = embeddings_of(shifted)
    utilities = embeddings.astype(np.float64) @ shifted.item_embeddings.astype(np.float64).T
    expected = utilities.mean(1) + z * utilities.std(1)
    actual = null_utility(embeddings, items_of(shifted), UserModel(null_z=z))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_null_utility_is_a_quantile_of_normal_utilities(small_world):
    # the generated items are normal: the share of items above the null item is Phi(-z)
    embeddings = embeddings_of(small_world, n=200)
    null = null_utility(embeddings, items_of(small_world), UserModel(null_z=1.0))
    above = (embeddings @ small_world.item_embeddings.T > np.asarray(null)[:, None]).mean()
    assert above == pytest.approx(norm.sf(1.0), abs=0.015)


def test_target_has_the_direction_of_the_user_and_the_norm_given(small_world):
    embeddings = embeddings_of(small_world)
    items, model = items_of(small_world), UserModel(target_scale=3.0)
    phi = embeddings.astype(np.float64)
    target = 3.0 * phi / np.linalg.norm(phi, axis=1, keepdims=True)
    expected = target @ small_world.cavs.T.astype(np.float64)
    np.testing.assert_allclose(target_attributes(embeddings, items, model), expected, atol=1e-5)
    scaled = target_attributes(7 * embeddings, items, model)
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


def test_user_without_preferences(small_world):
    items, model = items_of(small_world), UserModel()
    nobody = jnp.zeros(small_world.dim)
    np.testing.assert_array_equal(target_attributes(nobody, items, model), np.zeros(6))
    assert null_utility(nobody, items, model) == 0


def test_perceive(small_world):
    items, model = items_of(small_world), UserModel.of(small_world)
    embeddings = embeddings_of(small_world)
    act = RecommenderAct(
        jnp.int32(RecommenderKind.RECOMMEND), jnp.array([7, NONE, 599]), NONE, jnp.int32(0)
    )
    percept = jax.jit(perceive)(embeddings, act, items, model)
    utilities = embeddings @ small_world.item_embeddings[[7, 599]].T
    np.testing.assert_allclose(percept.utilities[:, ::2], utilities, rtol=1e-4, atol=1e-5)
    assert (np.asarray(percept.utilities[:, 1]) == -np.inf).all()
    np.testing.assert_array_equal(percept.filled, [True, False, True])
    np.testing.assert_allclose(
        percept.slate[::2], small_world.attribute_scores[[7, 599]], atol=1e-5
    )
    np.testing.assert_array_equal(percept.slate[1], np.zeros(6))
    assert percept.target.shape == (5, 6)
    np.testing.assert_allclose(percept.null, null_utility(embeddings, items, model), rtol=1e-5)


def test_perceive_uses_the_null_utility_given(small_world):
    items, model = items_of(small_world), UserModel()
    act = RecommenderAct(jnp.int32(0), jnp.array([1, 2]), jnp.int32(NONE), jnp.int32(0))
    percept = perceive(embeddings_of(small_world), act, items, model, null=jnp.arange(5.0))
    np.testing.assert_array_equal(percept.null, np.arange(5.0))


def test_typical_user():
    model = UserModel(temperature=0.3, critique_rate=0.6, patience_spread=2.0)
    user = User.typical(np.ones(3), model)
    assert (user.temperature, user.patience, user.critique_rate) == (0.3, 1.0, 0.6)


def test_parameters_come_from_the_world_and_can_be_changed(small_world):
    model = UserModel.of(small_world, {"answer_noise": 0.0, "temperature": np.inf})
    assert model.answer_noise == 0
    assert model.temperature == np.inf
    assert model.null_z == small_world.user_model["null_z"] != UserModel().null_z
    assert model.critique_rate == UserModel().critique_rate
    assert UserModel.of(small_world, {"null_z": -1.0}).null_z == -1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temprature": 1.0}, r"temprature.*there are temperature, null_z, .*critique_spread"),
        ({"temperature": -0.1}, "temperature must be at least 0, not -0.1"),
        ({"answer_noise": np.nan}, "answer_noise must be at least 0, not nan"),
        ({"null_z": np.nan}, "null_z"),
        ({"critique_rate": 1.5}, "critique_rate is a probability, not 1.5"),
    ],
)
def test_wrong_parameters(small_world, changes, message):
    with pytest.raises(ValueError, match=message):
        UserModel.of(small_world, changes)
