"""Trained policies and checkpoints as safetensors files; nothing is ever unpickled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors import SafetensorError, safe_open
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.sb3.policy import AttributePolicy, MacroFeatures, MaskableAttributePolicy
from agents.sb3.standardise import Standardise
from crs_gym.world import DataError

FORMAT = "crs-gym sb3 policy 2"


@dataclass
class Trained:
    """A policy that has been trained.

    policy: SB3's policy module.
    config: the arguments of the run, as JSON values, and `world_hash`.
    steps: environment steps behind it.
    curve: validations so far: steps, seconds, mean return, success, turns.
    """

    policy: Any
    config: dict[str, Any]
    steps: int
    curve: list[dict[str, float]]

    def predict(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        """(B, D) observations and (B, n) masks to the most probable actions (B, ...)."""
        masked = {} if self.config["algo"] == "ppo" else {"action_masks": masks}
        actions, _ = self.policy.predict(observations, deterministic=True, **masked)
        return np.asarray(actions)


def load_policy(path: str | Path) -> Trained:
    """The policy in a file that `train` wrote, or the final one of a run's folder.

    Raises:
        FileNotFoundError: there is none (yet).
        DataError: not such a file.
    """
    path = Path(path)
    if path.is_dir():
        saved = checkpoints(path)
        path = path / "final.safetensors"
        if not path.is_file() and saved:
            raise FileNotFoundError(
                f"{path} does not exist: the run has not finished. Continue it with --resume, or "
                f"load its newest checkpoint, {saved[-1]}"
            )
    tensors, state = read(path)
    observation_space, action_space = map(space, state["spaces"])
    policy = policy_class(state["config"])(
        observation_space, action_space, lambda _: 0.0, **policy_kwargs(state["config"])
    )
    load_weights(policy, tensors, path)
    policy.set_training_mode(False)
    return Trained(policy, state["config"], state["policy_steps"], state["curve"])


def policy_class(config: Mapping[str, Any]) -> Callable[..., Any]:
    """SB3's policy class for the settings of a run."""
    masked = config["algo"] == "maskable-ppo"
    chosen: Callable[..., Any]
    if config["network"] == "attribute":
        chosen = MaskableAttributePolicy if masked else AttributePolicy
    else:
        chosen = MaskableActorCriticPolicy if masked else ActorCriticPolicy
    return chosen


def policy_kwargs(config: Mapping[str, Any]) -> dict[str, Any]:
    """Its arguments."""
    if config["network"] == "attribute":
        return {
            "width": config["net_width"],
            "features_extractor_class": MacroFeatures,
            "features_extractor_kwargs": {"blocks": config["blocks"]},
        }
    return {
        "net_arch": [config["net_width"]] * 2,
        "features_extractor_class": Standardise,
    }


def own(name: str) -> bool:
    """Whether a weight is saved: SB3 registers the features extractor under several names."""
    return not name.startswith(("pi_features_extractor.", "vf_features_extractor."))


def load_weights(policy: Any, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Puts the tensors of a file into `policy`; DataError where they do not fit."""
    weights = {k.removeprefix("policy/"): v for k, v in tensors.items() if k.startswith("policy/")}
    for name in policy.state_dict():
        if not own(name):
            weights[name] = weights["features_extractor." + name.split(".", 1)[1]]
    try:
        policy.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise DataError(f"the weights in {path} do not fit its settings: {error}") from error


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and state of a file; DataError where it is not such a file or not whole."""
    if not path.is_file():
        raise FileNotFoundError(f"no policy file at {path}")
    try:
        with safe_open(path, "pt") as file:
            state = json.loads((file.metadata() or {}).get("state", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path} is not a whole policy file: {error}; delete it") from error
    if state.get("format") != FORMAT:
        raise DataError(f"{path} has format {state.get('format')!r}, this version reads {FORMAT!r}")
    return tensors, state


def checkpoints(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted((out / "checkpoints").glob("[0-9]*.safetensors"))


def space_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A space as JSON values."""
    if isinstance(space, spaces.Discrete):
        return {"n": int(space.n)}
    if isinstance(space, spaces.MultiDiscrete):
        return {"nvec": space.nvec.tolist()}
    if isinstance(space, spaces.Box):
        return {
            "shape": space.shape,
            "low": float(space.low.min()),
            "high": float(space.high.max()),
        }
    raise ValueError(f"a policy for {space} cannot be saved")


def space(values: dict[str, Any]) -> spaces.Space[Any]:
    """The space that `space_json` described."""
    if "n" in values:
        return spaces.Discrete(values["n"])
    if "nvec" in values:
        return spaces.MultiDiscrete(values["nvec"])
    return spaces.Box(values["low"], values["high"], tuple(values["shape"]), np.float32)
