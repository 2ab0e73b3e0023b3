"""Actor-critic networks as plain functions of plain parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from agents.blocks import OWN, PER_ATTRIBUTE, PRICE, SUMMARY, places
from agents.jaxrl.actions import Actions

Params = dict[str, Any]


class Scale(NamedTuple):
    """Moments of all observations so far: count () and mean, square (D,), all float32."""

    count: Any
    mean: Any
    square: Any

    @staticmethod
    def of(size: int) -> Scale:
        """Before the first observation."""
        return Scale(jnp.zeros(()), jnp.zeros(size), jnp.zeros(size))

    def __call__(self, observations: jax.Array) -> jax.Array:
        """To mean 0 and variance 1, clipped to [-5, 5]."""
        # a feature that hardly varied so far must not be blown up when it does
        deviation = jnp.maximum(jnp.sqrt(self.square), 1e-3)
        return jnp.clip((observations - self.mean) / deviation, -5.0, 5.0)

    def update(self, observations: jax.Array) -> Scale:
        """With observations (n, D) taken in, weighted like all that came before."""
        count = self.count + len(observations)
        delta = jnp.mean(observations, axis=0) - self.mean
        share = len(observations) / count
        square = self.square + share * (jnp.var(observations, axis=0) - self.square)
        return Scale(count, self.mean + share * delta, square + share * (1 - share) * delta**2)


class Network(Protocol):
    """An actor and a critic; frozen and hashable."""

    def init(self, key: jax.Array) -> Params:
        """Parameters to begin with."""

    def apply(
        self, params: Params, scale: Scale, observations: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """(B, D) observations to what the actions are drawn from, (B, n), and values (B,)."""


@dataclass(frozen=True)
class Mlp:
    """Two tanh layers each for actor and critic over the standardised observation.

    size: D. actions: what the outputs are for. width: units of a layer.
    """

    size: int
    actions: Actions
    width: int

    def init(self, key: jax.Array) -> Params:
        actor, critic, value, head = jax.random.split(key, 4)
        return {
            "actor": _trunk(actor, self.size, self.width),
            "critic": _trunk(critic, self.size, self.width),
            "value": _orthogonal(value, self.width, 1, 1.0),
            "head": _orthogonal(head, self.width, self.actions.outputs, 0.01),
            "log_std": jnp.zeros(self.actions.spread),
        }

    def apply(
        self, params: Params, scale: Scale, observations: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        scaled = scale(observations)
        outputs = _linear(params["head"], _forward(params["actor"], scaled))
        spread = jnp.broadcast_to(params["log_std"], (len(outputs), self.actions.spread))
        return jnp.concatenate([outputs, spread], axis=1), _value(params, scaled)


@dataclass(frozen=True)
class AttributeNetwork:
    """For `crs/IcerMacro-v0`: treats all attributes alike.

    Two logits come from a trunk over the summary blocks of a belief observation, standardised, and
    one for each attribute from one small network for all. That sees the attribute's mean and
    deviation under the belief, what a question about it is worth, and a digest of the trunk; a bias
    of its own lets each attribute differ. The attributes' numbers are not standardised: each by
    itself, that would hide which question is worth most.

    summary, own: places in the observation of the summary and, one block after the other, of the
        attributes' numbers, then of the item query's worth. width, digest, hidden: units. lean: as
        in `PPOArgs`.
    """

    summary: tuple[int, ...]
    own: tuple[int, ...]
    width: int
    digest: int = 8
    hidden: int = 32
    lean: float = 0.0

    @property
    def attributes(self) -> int:
        return len(self.own) // len(PER_ATTRIBUTE)

    def init(self, key: jax.Array) -> Params:
        keys = jax.random.split(key, 7)
        size, width = len(self.summary), self.width
        return {
            "actor": _trunk(keys[0], size, width),
            "critic": _trunk(keys[1], size, width),
            "value": _orthogonal(keys[2], width, 1, 1.0),
            "direct": _orthogonal(keys[3], width, 2, 0.01),
            "digest": _uniform(keys[4], width, self.digest),
            "shared": [
                _uniform(keys[5], self.digest + 4, self.hidden),
                _orthogonal(keys[6], self.hidden, 1, 0.01),
            ],
            "bias": jnp.zeros(self.attributes),
            # from the start a question is the likelier to be asked the more it is worth
            "sharpness": jnp.float32(50.0),
        }

    def apply(
        self, params: Params, scale: Scale, observations: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        summary = scale(observations)[:, np.array(self.summary)]
        own = observations[:, np.array(self.own)]
        about, item_value = own[:, :-1], own[:, -1:]
        mean, deviation, value = jnp.split(about, len(PER_ATTRIBUTE), axis=1)
        hidden = _forward(params["actor"], summary)
        best = jnp.maximum(item_value, jnp.max(value, axis=1, keepdims=True))
        sharp = params["sharpness"] * (value - best)
        digest = _linear(params["digest"], hidden)[:, None]
        each = jnp.stack([mean, deviation, value, sharp], axis=2)
        digest = jnp.broadcast_to(digest, (*each.shape[:2], self.digest))
        first, last = params["shared"]
        seen = jnp.tanh(_linear(first, jnp.concatenate([digest, each], axis=2)))
        scores = _linear(last, seen)[..., 0] + sharp + params["bias"]
        recommends, asks = jnp.split(_linear(params["direct"], hidden), 2, axis=1)
        recommends += self.lean * (PRICE - best)
        asks += params["sharpness"] * (item_value - best)
        return jnp.concatenate([recommends, asks, scores], axis=1), _value(params, summary)


def network_of(config: Mapping[str, Any], size: int, actions: Actions) -> Network:
    """The network of a run with settings `config`, for observations (`size`,)."""
    if config["network"] == "mlp":
        return Mlp(size, actions, config["net_width"])
    summary, own = (tuple(places(config["blocks"], names)) for names in (SUMMARY, OWN))
    lean = config.get("lean", 0.0)
    return AttributeNetwork(summary, own, config["net_width"], lean=lean)


def _trunk(key: jax.Array, size: int, width: int) -> list[Params]:
    first, second = jax.random.split(key)
    gain = float(np.sqrt(2))
    return [_orthogonal(first, size, width, gain), _orthogonal(second, width, width, gain)]


def _orthogonal(key: jax.Array, size: int, width: int, gain: float) -> Params:
    weight = jax.nn.initializers.orthogonal(gain)(key, (size, width), jnp.float32)
    return {"weight": weight, "bias": jnp.zeros(width)}


def _uniform(key: jax.Array, size: int, width: int) -> Params:
    """As torch begins a linear layer."""
    weight, bias = jax.random.split(key)
    bound = 1 / float(np.sqrt(size))
    return {
        "weight": jax.random.uniform(weight, (size, width), minval=-bound, maxval=bound),
        "bias": jax.random.uniform(bias, (width,), minval=-bound, maxval=bound),
    }


def _linear(layer: Params, inputs: jax.Array) -> jax.Array:
    return inputs @ layer["weight"] + layer["bias"]


def _forward(layers: list[Params], inputs: jax.Array) -> jax.Array:
    for layer in layers:
        inputs = jnp.tanh(_linear(layer, inputs))
    return inputs


def _value(params: Params, inputs: jax.Array) -> jax.Array:
    return _linear(params["value"], _forward(params["critic"], inputs))[:, 0]
