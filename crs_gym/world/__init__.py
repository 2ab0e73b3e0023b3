"""The world: items, soft attributes, a population of users, and the builders of worlds."""

from crs_gym.world.catalogue import DEFAULT_WORLD, bundled_worlds, load_world
from crs_gym.world.errors import DataError
from crs_gym.world.world import Attribute, World

__all__ = ["DEFAULT_WORLD", "Attribute", "DataError", "World", "bundled_worlds", "load_world"]
