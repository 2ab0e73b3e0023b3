"""Films to speak of, by their titles."""

import pytest

from crs_gym.world import World, load_world


@pytest.fixture(scope="session")
def films() -> World:
    return load_world("films")
