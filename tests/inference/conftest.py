"""What several tests of the inference compare with."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest

from crs_gym.inference import Samples
from crs_gym.users import UserModel, items_of
from crs_gym.users.model import null_utility
from tests.inference.grid import conversations, grid_posterior


@pytest.fixture(scope="session")
def posterior(plane_world):
    """The name of a conversation to `grid_posterior` of it."""
    turns = {"nothing": [], **conversations(plane_world)}
    return cache(lambda name: grid_posterior(plane_world, turns[name]))


@pytest.fixture(scope="session")
def items(plane_world):
    return items_of(plane_world)


@pytest.fixture(scope="session")
def model():
    return UserModel(temperature=0.3, null_z=1.0, target_scale=2.0, answer_noise=0.4)


@pytest.fixture(scope="session")
def samples(items, model):
    """A belief in the plane, of uneven weights."""
    rng = np.random.default_rng(3)
    embeddings = (rng.normal(size=(500, 2)) * [0.8, 1.2] + [0.2, 0.1]).astype(np.float32)
    weights = rng.exponential(size=500).astype(np.float32)
    embeddings, weights = jnp.asarray(embeddings), jnp.asarray(weights / weights.sum())
    return Samples(embeddings, weights, null_utility(embeddings, items, model))
