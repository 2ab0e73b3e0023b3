"""Policies trained with Stable-Baselines3, and their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.sb3.policy import AttributePolicy, MacroFeatures, MaskableAttributePolicy
from agents.sb3.standardise import Standardise
from agents.store import final_policy, read, space
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

    @property
    def name(self) -> str:
        """What results call it."""
        return f"sb3-{self.config['algo']}"

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
    path = final_policy(Path(path))
    tensors, state = read(path, FORMAT)
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
            "lean": config.get("lean", 0.0),
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


def load_weights(policy: Any, tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Puts the tensors of a file into `policy`; DataError where they do not fit."""
    weights = {
        name.removeprefix("policy/"): torch.tensor(value)
        for name, value in tensors.items()
        if name.startswith("policy/")
    }
    for name in policy.state_dict():
        if not own(name):
            weights[name] = weights["features_extractor." + name.split(".", 1)[1]]
    try:
        policy.load_state_dict(weights)
    except (KeyError, RuntimeError) as error:
        raise DataError(f"the weights in {path} do not fit its settings: {error}") from error
