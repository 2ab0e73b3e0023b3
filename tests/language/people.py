"""Persons of a world, and a language model that writes what it is told to."""

from collections.abc import Callable, Sequence

import numpy as np

from crs_gym.envs.text import Person
from crs_gym.language import Failure, Reply, Request
from crs_gym.users import User
from crs_gym.world import World


def people(world: World, count: int) -> list[Person]:
    """Users with phi_u drawn from their priors; their seeds are 0, 1, ..."""
    rng = np.random.default_rng(0)
    users = rng.integers(world.n_users, size=count)
    tastes = rng.normal(world.user_mean[users], world.user_std[users]).astype(np.float32)
    return [person(world, taste, int(users[n]), n) for n, taste in enumerate(tastes)]


def person(world: World, embedding: np.ndarray, user_id: int = 0, seed: int = 0) -> Person:
    """A user of this phi_u."""
    return Person(world, user_id, User(embedding, 0.1, 1.0, 0.1), seed, variant=0)


class Scripted:
    """Writes what a function makes of each request.

    calls: the requests of each call.
    """

    name = "scripted"

    def __init__(self, write: Callable[[Request], str | Reply | Failure]) -> None:
        self._write = write
        self.calls: list[list[Request]] = []

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        self.calls.append(list(requests))
        written = [self._write(request) for request in requests]
        return [Reply(text) if isinstance(text, str) else text for text in written]


def in_turn(*texts: str | Reply | Failure) -> Scripted:
    """Writes these, one after the other."""
    left = iter(texts)
    return Scripted(lambda request: next(left))
