"""What a training run with Stable-Baselines3 can be told, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gymnasium import spaces

from agents.args import PPOArgs
from agents.args import check as check_shared
from crs_gym.envs.icer import IcerEnv


@dataclass
class Args(PPOArgs):
    """Trains a recommender with Stable-Baselines3."""

    out: Path = Path("runs/sb3")
    """folder of the run"""
    algo: Literal["ppo", "maskable-ppo"] = "ppo"
    """learner; maskable-ppo never tries what the action mask forbids"""
    torch_threads: int = 1
    """threads of torch; more seldom help networks as small as these"""


def check(args: Args, env: IcerEnv) -> None:
    """Raises a ValueError for arguments that do not fit together or with the environment."""
    check_shared(args, env)
    if args.algo == "maskable-ppo" and isinstance(env.action_space, spaces.Box):
        raise ValueError(
            f"maskable-ppo needs discrete actions, and those of {args.env} are continuous here: "
            'use algo "ppo", or another `action` in env_kwargs'
        )
