"""Policies trained with JAX, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from agents.jaxrl.actions import Actions, actions_of
from agents.jaxrl.network import Network, Params, Scale, network_of
from agents.store import final_policy, read, space
from crs_gym.world import DataError

FORMAT = "crs-gym jax policy 1"

Tree = TypeVar("Tree")


@dataclass
class Trained:
    """A policy that has been trained.

    network, actions: what the policy is made of. params, scale: its weights.
    config: the arguments of the run, as JSON values, and `world_hash`.
    steps: environment steps behind it.
    curve: validations so far: steps, seconds of training, mean return, success, turns.
    """

    network: Network
    actions: Actions
    params: Params
    scale: Scale
    config: dict[str, Any]
    steps: int
    curve: list[dict[str, float]]

    @property
    def name(self) -> str:
        """What results call it."""
        return "jax-ppo"

    def predict(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        """(B, D) observations and (B, n) masks to the most probable actions (B, ...)."""
        found = _mode(self.network, self.actions, self.params, self.scale, observations, masks)
        return np.asarray(found)


def load_policy(path: str | Path) -> Trained:
    """The policy in a file that `train` wrote, or the final one of a run's folder.

    Raises:
        FileNotFoundError: there is none (yet).
        DataError: not such a file.
    """
    path = final_policy(Path(path))
    tensors, state = read(path, FORMAT)
    observation_space, action_space = map(space, state["spaces"])
    (size,) = observation_space.shape or ()
    actions = actions_of(action_space)
    network = network_of(state["config"], size, actions)
    like = jax.eval_shape(network.init, jax.random.key(0)), jax.eval_shape(lambda: Scale.of(size))
    params, scale = unflatten("policy", like, tensors, path)
    steps, curve = state["policy_steps"], state["curve"]
    return Trained(network, actions, params, scale, state["config"], steps, curve)


def flatten(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a pytree of arrays under their paths, `prefix` first."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(prefix, path): np.asarray(leaf) for path, leaf in leaves}


def unflatten(prefix: str, like: Tree, tensors: Mapping[str, np.ndarray], path: Path) -> Tree:
    """What `flatten` took apart, in the structure, shapes and types of `like`.

    Raises:
        DataError: a leaf is missing, or of another shape or type; `path` is named.
    """

    def leaf(place: Any, expected: Any) -> jax.Array:
        name = _name(prefix, place)
        found = tensors.get(name)
        if found is None or (found.shape, found.dtype) != (expected.shape, expected.dtype):
            shown = "nothing" if found is None else f"{found.dtype} {found.shape}"
            raise DataError(
                f"the weights in {path} do not fit its settings: {name} should be "
                f"{expected.dtype} {expected.shape}, there is {shown}"
            )
        return jnp.array(found)

    filled: Tree = jax.tree_util.tree_map_with_path(leaf, like)
    return filled


def _name(prefix: str, place: Any) -> str:
    return f"{prefix}/{jax.tree_util.keystr(place, simple=True, separator='/')}"


@partial(jax.jit, static_argnames=("network", "actions"))
def _mode(
    network: Network, actions: Actions, params: Params, scale: Scale, observations: Any, masks: Any
) -> jax.Array:
    return actions.mode(network.apply(params, scale, observations)[0], masks)
