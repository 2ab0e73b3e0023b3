"""Counter-based random keys: what makes an episode the same under every adapter and batch size.

Episode n of a seed has the key `fold_in(seed key, n)`. Count 0 of an episode draws its user, count
t = 1, 2, ... its turn t; within a turn the user, the recommender and its belief have keys of their
own, so that two policies meet the same user with the same luck.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.utils import seeding


def seed_key(source: int | np.random.Generator) -> jax.Array:
    """The threefry key that belongs to a seed, or to an environment's `np_random`.

    An integer gives the key that `env.reset(seed=...)` uses; a generator is advanced by one draw.

    Raises:
        gymnasium.error.Error: a negative seed.
    """
    if not isinstance(source, np.random.Generator):
        source, _ = seeding.np_random(int(source))
    return jax.random.key(int(source.integers(2**31)), impl="threefry2x32")


def seed_keys(seeds: Iterable[int]) -> jax.Array:
    """`(B,)` what `seed_key` gives for each of B integers."""
    draws = [int(seeding.np_random(int(seed))[0].integers(2**31)) for seed in seeds]
    return jax.vmap(partial(jax.random.key, impl="threefry2x32"))(np.array(draws, np.uint32))


def episode_key(seed: jax.Array, episode: int | jax.Array) -> jax.Array:
    """Key of the n-th episode, counted from 0, after seeding."""
    return jax.random.fold_in(seed, episode)


def turn_keys(episode: jax.Array, turn: int | jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys of the user and of the recommender in turn t = 1, 2, ..."""
    key = jax.random.fold_in(episode, turn)
    return jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)


def belief_key(episode: jax.Array, turn: int | jax.Array) -> jax.Array:
    """Key of the belief after turn t; t = 0 before the first."""
    # 3 is past what `reset` and `turn_keys` take: `split(key, 3)` holds `fold_in(key, 0 to 2)`
    return jax.random.fold_in(jax.random.fold_in(episode, turn), 3)


def words_key(episode: jax.Array, turn: int | jax.Array) -> jax.Array:
    """Key of how turn t = 1, 2, ... is put into words."""
    return jax.random.fold_in(jax.random.fold_in(episode, turn), 4)


def evaluation_keys(seed: int, episodes: int) -> jax.Array:
    """`(episodes,)` keys of the fixed evaluation users: first episodes of consecutive seeds.

    Episode n is what `env.reset(seed=evaluation_seeds(seed, episodes)[n])` plays.
    """
    keys = seed_keys(evaluation_seeds(seed, episodes))
    return jax.vmap(episode_key)(keys, jnp.zeros(episodes, jnp.int32))


def evaluation_seeds(seed: int, episodes: int) -> np.ndarray:
    """`(episodes,)` int64 environment seeds of the evaluation list `seed`.

    Raises:
        ValueError: fewer than one episode, or a negative seed.
    """
    if episodes < 1 or seed < 0:
        raise ValueError(f"need episodes >= 1 and seed >= 0, not {episodes} and {seed}")
    return seed * 1_000_000 + np.arange(episodes, dtype=np.int64)
