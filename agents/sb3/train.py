"""PPO and MaskablePPO from Stable-Baselines3 on the Icer environments.

    python -m agents.sb3.train --env crs/IcerMacro-v0 --total-steps 150000 --out runs/macro

What a run's folder holds: see `agents.runs`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import set_random_seed

from agents import runs
from agents.args import settings, training_kwargs
from agents.sb3.args import Args, check
from agents.sb3.standardise import Standardise
from agents.sb3.store import (
    FORMAT,
    Trained,
    load_policy,
    load_weights,
    own,
    policy_class,
    policy_kwargs,
)
from agents.sb3.tracking import LogFormat
from agents.tracking import Tracker
from crs_gym.envs.sb3 import IcerVecEnv


class TrainingEnv(IcerVecEnv):
    """An `IcerVecEnv` whose turn limit ends the episode, unless `bootstrap` says otherwise.

    SB3 adds the value of the observation after a truncation. Here the limit is part of the task,
    the observation counts the turns, and no state beyond the limit is ever visited, so that value
    is never learnt.
    """

    bootstrap: bool = False

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observations, rewards, dones, infos = super().step_wait()
        if not self.bootstrap:
            for info in infos:
                info.pop("TimeLimit.truncated", None)
        return observations, rewards, dones, infos


def train(args: Args) -> Trained:
    """Trains, validates, saves and evaluates as `args` say.

    Raises:
        ValueError: arguments that make no sense, or differ from those of the run to resume.
        FileExistsError: `args.out` holds a run and `resume` is off.
        gymnasium.error.Error: no such environment.
    """
    torch.set_num_threads(args.torch_threads)
    venv = TrainingEnv(args.env, args.n_envs, args.seed, training_kwargs(args))
    venv.bootstrap = args.bootstrap_at_limit
    check(args, venv.env)
    trained = runs.train(_Run(args, venv))
    assert isinstance(trained, Trained)
    return trained


class _Run(runs.Run):
    """A run of one of SB3's learners."""

    form = FORMAT

    def __init__(self, args: Args, venv: TrainingEnv) -> None:
        super().__init__(args, settings(args, venv.env), venv.env)
        self.venv, self.model = venv, _model(args, self.config, venv)

    @property
    def standardise(self) -> Standardise:
        extractor = self.model.policy.features_extractor
        inner: Standardise = getattr(extractor, "standardise", extractor)
        return inner

    def learn(self, tracker: Tracker | None) -> None:
        self.model.set_logger(Logger(None, [] if tracker is None else [LogFormat(tracker)]))
        super().learn(tracker)

    def warm_up(self) -> None:
        self.venv.seed(self.args.seed)
        rng = np.random.default_rng(self.args.seed)
        self.venv.action_space.seed(self.args.seed)
        steps = 3 * self.env.core.simulator.max_turns
        first = self.venv.reset()
        seen = [self.venv.step(_any_actions(self.venv, rng))[0] for _ in range(steps)]
        self.standardise.update(np.concatenate([first, *seen]))

    def begin_conversations(self, seeds: np.ndarray) -> None:
        set_random_seed(int(seeds[0]))
        self.venv.seed(int(seeds[1]))
        self.model._last_obs = None

    def update(self, share: float) -> dict[str, float]:
        args, model = self.args, self.model
        rollout = args.n_envs * args.n_steps
        model.lr_schedule = lambda _: share * args.learning_rate
        model.ent_coef = share * args.ent_coef
        model.learn(rollout, reset_num_timesteps=False)
        # between rollouts, so that collection and update see the same scale
        self.standardise.update(model.rollout_buffer.observations.reshape(rollout, -1))
        return {}

    def policy(self) -> Trained:
        self.model.policy.set_training_mode(False)
        return Trained(self.model.policy, self.config, self.steps, self.curve)

    def weights(self) -> dict[str, np.ndarray]:
        weights = self.model.policy.state_dict()
        # the extractor is registered under several names; one of them is enough
        return {f"policy/{name}": value.numpy() for name, value in weights.items() if own(name)}

    def optimiser(self) -> dict[str, np.ndarray]:
        slots = self.model.policy.optimizer.state_dict()["state"].items()
        return {
            f"optimiser/{i}/{name}": value.numpy()
            for i, state in slots
            for name, value in state.items()
        }

    def put(self, tensors: dict[str, np.ndarray], path: Path) -> None:
        load_weights(self.model.policy, tensors, path)
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser/"):
                _, i, key = name.split("/")
                slots.setdefault(int(i), {})[key] = torch.tensor(value)
        optimiser = self.model.policy.optimizer
        optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
        self.model.num_timesteps = self.steps
        rollouts = self.steps // (self.args.n_envs * self.args.n_steps)
        self.model._n_updates = rollouts * self.args.n_epochs

    def load(self, path: Path) -> Trained:
        return load_policy(path)


def _model(args: Args, config: dict[str, Any], venv: TrainingEnv) -> PPO | MaskablePPO:
    masked = args.algo == "maskable-ppo"
    return (MaskablePPO if masked else PPO)(
        policy_class(config),
        venv,
        n_steps=args.n_steps,
        batch_size=min(args.batch_size, args.n_envs * args.n_steps),
        n_epochs=args.n_epochs,
        learning_rate=args.learning_rate,
        gamma=args.gamma,
        gae_lambda=args.gae_lambda,
        clip_range=args.clip_range,
        ent_coef=args.ent_coef,
        vf_coef=args.vf_coef,
        max_grad_norm=args.max_grad_norm,
        policy_kwargs=policy_kwargs(config),
        seed=args.seed,
        device="cpu",
    )


def _any_actions(venv: IcerVecEnv, rng: np.random.Generator) -> np.ndarray:
    """Actions at random, of those allowed where the space is discrete."""
    space = venv.action_space
    if not isinstance(space, spaces.Discrete):
        return np.stack([space.sample() for _ in range(venv.num_envs)])
    return np.argmax(rng.random((venv.num_envs, int(space.n))) * venv.action_masks(), axis=1)


def main() -> None:
    """The command line."""
    try:
        train(tyro.cli(Args, prog="python -m agents.sb3.train"))
    except (ValueError, FileExistsError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
