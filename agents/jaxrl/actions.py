"""Distributions over actions, from what a network puts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

FORBIDDEN = -1e9


class Actions(Protocol):
    """A distribution over actions; frozen and hashable. All arrays have leading axes `(...)`.

    outputs: how many numbers a network's head gives. spread: how many parameters follow them that
    do not depend on the observation.
    """

    @property
    def outputs(self) -> int: ...

    @property
    def spread(self) -> int: ...

    def sample(self, key: jax.Array, outputs: jax.Array, mask: Any) -> jax.Array:
        """Actions drawn."""

    def mode(self, outputs: jax.Array, mask: Any) -> jax.Array:
        """The most probable actions."""

    def log_prob(self, outputs: jax.Array, mask: Any, action: jax.Array) -> jax.Array:
        """(...) float32."""

    def entropy(self, outputs: jax.Array, mask: Any) -> jax.Array:
        """(...) float32."""

    def played(self, action: jax.Array) -> jax.Array:
        """What the environment is given for a sample."""


@dataclass(frozen=True)
class Choices:
    """Independent choices of one of n_1, one of n_2, ...: Discrete and MultiDiscrete spaces.

    sizes: n_1, n_2, ... outputs are their logits (..., sum of sizes), and masks, of the same shape,
        say what may be chosen. single: actions are (...) int32, not (..., len(sizes)).
    """

    sizes: tuple[int, ...]
    single: bool

    @property
    def outputs(self) -> int:
        return sum(self.sizes)

    @property
    def spread(self) -> int:
        return 0

    def sample(self, key: jax.Array, outputs: jax.Array, mask: Any) -> jax.Array:
        parts = self._parts(outputs, mask)
        keys = jax.random.split(key, len(parts))
        drawn = [jax.random.categorical(k, p) for k, p in zip(keys, parts, strict=True)]
        return self._join(drawn)

    def mode(self, outputs: jax.Array, mask: Any) -> jax.Array:
        return self._join([jnp.argmax(part, axis=-1) for part in self._parts(outputs, mask)])

    def log_prob(self, outputs: jax.Array, mask: Any, action: jax.Array) -> jax.Array:
        chosen = action[..., None] if self.single else action
        return sum(
            jnp.take_along_axis(part, chosen[..., i, None], axis=-1)[..., 0]
            for i, part in enumerate(self._parts(outputs, mask))
        )  # type: ignore[return-value]

    def entropy(self, outputs: jax.Array, mask: Any) -> jax.Array:
        parts = self._parts(outputs, mask)
        return -sum(jnp.sum(jnp.exp(part) * part, axis=-1) for part in parts)  # type: ignore[return-value]

    def played(self, action: jax.Array) -> jax.Array:
        return action

    def _parts(self, outputs: jax.Array, mask: Any) -> list[jax.Array]:
        """Log-probabilities of each choice."""
        if mask is not None:
            outputs = jnp.where(mask.astype(bool), outputs, FORBIDDEN)
        logits = jnp.split(outputs, np.cumsum(self.sizes)[:-1], axis=-1)
        return [jax.nn.log_softmax(part, axis=-1) for part in logits]

    def _join(self, parts: list[jax.Array]) -> jax.Array:
        joined = jnp.stack(parts, axis=-1).astype(jnp.int32)
        return joined[..., 0] if self.single else joined


@dataclass(frozen=True)
class Gaussian:
    """Independent normal numbers, clipped to [low, high] for the environment only: Box spaces.

    Outputs are means and log deviations, (..., 2 size).
    """

    size: int
    low: float
    high: float

    @property
    def outputs(self) -> int:
        return self.size

    @property
    def spread(self) -> int:
        return self.size

    def sample(self, key: jax.Array, outputs: jax.Array, mask: Any) -> jax.Array:
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)

    def mode(self, outputs: jax.Array, mask: Any) -> jax.Array:
        return self.played(outputs[..., : self.size])

    def log_prob(self, outputs: jax.Array, mask: Any, action: jax.Array) -> jax.Array:
        mean, log_std = jnp.split(outputs, 2, axis=-1)
        return jnp.sum(jax.scipy.stats.norm.logpdf(action, mean, jnp.exp(log_std)), axis=-1)

    def entropy(self, outputs: jax.Array, mask: Any) -> jax.Array:
        return jnp.sum(outputs[..., self.size :] + 0.5 * np.log(2 * np.pi * np.e), axis=-1)

    def played(self, action: jax.Array) -> jax.Array:
        return jnp.clip(action, self.low, self.high)


def actions_of(space: spaces.Space[Any]) -> Actions:
    """The distribution for an action space.

    Raises:
        ValueError: neither Discrete nor MultiDiscrete nor a Box of one axis.
    """
    if isinstance(space, spaces.Discrete):
        return Choices((int(space.n),), single=True)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return Choices(tuple(space.nvec.tolist()), single=False)
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return Gaussian(space.shape[0], float(space.low.min()), float(space.high.max()))
    raise ValueError(f"there is no distribution over {space}")
