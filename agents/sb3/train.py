"""PPO and MaskablePPO from Stable-Baselines3 on the Icer environments.

    python -m agents.sb3.train --env crs/IcerMacro-v0 --total-steps 150000 --out runs/macro

A run's folder holds `config.json`, `curve.json`, `checkpoints/`, `final.safetensors`,
`best.safetensors` and, after the evaluation, `results/`. Every checkpoint is one safetensors file
of weights, optimiser state and settings; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from gymnasium import spaces
from safetensors.torch import save_file
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import set_random_seed
from tqdm import tqdm

from agents.sb3.args import Args, check, json_args, network_kind, training_kwargs
from agents.sb3.standardise import Standardise
from agents.sb3.store import (
    FORMAT,
    Trained,
    checkpoints,
    load_policy,
    load_weights,
    own,
    policy_class,
    policy_kwargs,
    read,
    space_json,
)
from agents.sb3.tracking import Wandb, track
from crs_gym.envs.sb3 import IcerVecEnv
from crs_gym.evaluation.agents import evaluate as evaluate_predict
from crs_gym.evaluation.agents import play
from crs_gym.evaluation.results import Result, package_version, write
from crs_gym.evaluation.results import read as read_result

# environment seeds of the validation episodes: above all that training and evaluation lists use
_VALIDATION = 2**48


# what may differ between a run and its continuation: nothing that changes what is learnt
_FREE = {
    "out",
    "total_steps",
    "keep",
    "keep_checkpoints",
    "evaluation_episodes",
    "evaluation_seed",
    "resume",
    "track",
    "wandb_project",
    "torch_threads",
    "progress",
}


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
    env_kwargs = training_kwargs(args)
    venv = TrainingEnv(args.env, args.n_envs, args.seed, env_kwargs)
    venv.bootstrap = args.bootstrap_at_limit
    check(args, venv)
    config = {
        **json_args(args),
        "world_hash": venv.env.world.hash,
        "network": network_kind(args, venv),
        "blocks": {name: [at.start, at.stop] for name, at in venv.env.layout.items()},
    }
    newest = _prepare(args, config)

    model = _model(args, config, venv)
    run = _Run(args, config, venv, model)
    if newest is not None:
        run.restore(newest)
    final = args.out / "final.safetensors"
    if newest is not None and run.steps >= args.total_steps and final.is_file():
        trained = load_policy(final)
        path = _result_path(args, trained)
        if path is None or path.is_file():
            print(f"{args.out}: finished, {run.steps} steps; nothing to do")
            return trained
    logger = track(args.wandb_project, args.out, config) if args.track else None
    model.set_logger(Logger(None, [] if logger is None else [logger]))
    try:
        run.learn(logger)
        trained = run.finish(final)
        if args.evaluation_episodes:
            result = evaluate(
                trained, args.env, env_kwargs, args.evaluation_seed, args.evaluation_episodes
            )
            path = write(result, args.out / "results")
            summary = result.summary()
            print(
                f"evaluation: return {summary.score:.3f}, success {summary.success:.3f}, "
                f"turns {summary.turns:.2f} ({path})"
            )
            if logger is not None:
                logger.summarise(summary._asdict())
    finally:
        if logger is not None:
            logger.close()
        venv.close()
    return trained


def evaluate(
    trained: Trained,
    env_id: str,
    env_kwargs: Mapping[str, Any] | None = None,
    evaluation_seed: int = 0,
    episodes: int = 1000,
) -> Result:
    """What the policy scores on evaluation users."""
    settings = {k: v for k, v in trained.config.items() if k not in _NOT_SETTINGS}
    return evaluate_predict(
        env_id,
        env_kwargs,
        trained.predict,
        policy=f"sb3-{trained.config['algo']}",
        policy_kwargs=settings,
        evaluation_seed=evaluation_seed,
        episodes=episodes,
        training_seed=trained.config["seed"],
        training_steps=trained.steps,
        extra={"curve": trained.curve},
    )


# not part of how a policy was learnt, or told elsewhere in a result
_NOT_SETTINGS = (_FREE - {"keep"}) | {
    "env",
    "world",
    "world_hash",
    "blocks",
    "env_kwargs",
    "seed",
    "algo",
    "validate_every",
}


class _Run:
    """A run in progress: the learner, and what a checkpoint holds beside it."""

    def __init__(
        self, args: Args, config: dict[str, Any], venv: TrainingEnv, model: PPO | MaskablePPO
    ) -> None:
        self.args, self.config, self.venv, self.model = args, config, venv, model
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        return int(self.model.num_timesteps)

    @property
    def standardise(self) -> Standardise:
        extractor = self.model.policy.features_extractor
        inner: Standardise = getattr(extractor, "standardise", extractor)
        return inner

    def learn(self, logger: Wandb | None) -> None:
        args, model = self.args, self.model
        rollout = args.n_envs * args.n_steps
        began = time.perf_counter() - self.seconds
        fresh = True
        with tqdm(
            total=args.total_steps,
            initial=self.steps,
            unit="step",
            disable=None if args.progress else True,
        ) as bar:
            if not self.curve:
                if not self.steps:
                    self._warm_up()
                self._validate(logger, bar)
            while self.steps < args.total_steps:
                if fresh:
                    self._begin_conversations()
                before = self.steps
                left = 1 - min(1.0, before / args.total_steps)
                share = 0.05 + 0.95 * left if args.anneal else 1.0
                model.lr_schedule = lambda _, rate=share * args.learning_rate: rate
                model.ent_coef = share * args.ent_coef
                # one rollout and the update that follows
                model.learn(rollout, reset_num_timesteps=False)
                # between rollouts, so that collection and update see the same scale
                self.standardise.update(model.rollout_buffer.observations.reshape(rollout, -1))
                self.seconds = time.perf_counter() - began
                bar.update(self.steps - before)
                last = self.steps >= args.total_steps
                if last or _passed(before, self.steps, args.validate_every):
                    self._validate(logger, bar)
                fresh = _passed(before, self.steps, args.checkpoint_every)
                if last or fresh:
                    self.save_checkpoint()

    def finish(self, final: Path) -> Trained:
        """Makes the last or the best policy the final one."""
        best = self.args.out / "best.safetensors"
        if self.args.keep == "best" and best.is_file():
            tensors, state = read(best)
            self._write(final, tensors, state["policy_steps"])
        else:
            self._write(final, self._weights(), self.steps)
        return load_policy(final)

    def save_checkpoint(self) -> None:
        tensors = self._weights()
        for i, state in self.model.policy.optimizer.state_dict()["state"].items():
            tensors |= {f"optimiser/{i}/{name}": value for name, value in state.items()}
        folder = self.args.out / "checkpoints"
        self._write(folder / f"{self.steps:012d}.safetensors", tensors, self.steps)
        for old in checkpoints(self.args.out)[: -max(1, self.args.keep_checkpoints)]:
            old.unlink()

    def restore(self, path: Path) -> None:
        """Continues from a checkpoint."""
        tensors, state = read(path)
        load_weights(self.model.policy, tensors, path)
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser/"):
                _, i, key = name.split("/")
                slots.setdefault(int(i), {})[key] = value
        optimiser = self.model.policy.optimizer
        optimiser.load_state_dict({**optimiser.state_dict(), "state": slots})
        self.model.num_timesteps = state["policy_steps"]
        self.model._n_updates = state["updates"]
        self.curve, self.best, self.seconds = state["curve"], state["best"], state["seconds"]

    def _begin_conversations(self) -> None:
        # a run that is resumed here goes on as if it had never stopped
        first = np.random.SeedSequence([self.args.seed, self.steps]).generate_state(2)
        set_random_seed(int(first[0]))
        self.venv.seed(int(first[1]))
        self.model._last_obs = None

    def _warm_up(self) -> None:
        self.venv.seed(self.args.seed)
        rng = np.random.default_rng(self.args.seed)
        self.venv.action_space.seed(self.args.seed)
        steps = 3 * self.venv.env.core.simulator.max_turns
        first = self.venv.reset()
        seen = [self.venv.step(_any_actions(self.venv, rng))[0] for _ in range(steps)]
        self.standardise.update(np.concatenate([first, *seen]))

    def _validate(self, logger: Wandb | None, bar: Any) -> None:
        args = self.args
        if not args.validation_episodes:
            return
        now = Trained(self.model.policy, self.config, self.steps, self.curve)
        self.model.policy.set_training_mode(False)
        seeds = _VALIDATION + np.arange(args.validation_episodes)
        played = play(args.env, training_kwargs(args), now.predict, seeds, args.n_envs)
        point = {
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "return": float(played.reward.mean()),
            "success": float(played.accepted.mean()),
            "turns": float(played.turns.mean()),
        }
        self.curve.append(point)
        _write_json(args.out / "curve.json", self.curve)
        shown = ", ".join(f"{k} {point[k]:.3f}" for k in ("return", "success", "turns"))
        bar.write(f"validation at {self.steps}: {shown}")
        if logger is not None:
            logger.log({f"validation/{k}": v for k, v in point.items()}, self.steps)
        if self.best is None or point["return"] > self.best["return"]:
            self.best = point
            self._write(args.out / "best.safetensors", self._weights(), self.steps)

    def _weights(self) -> dict[str, torch.Tensor]:
        weights = self.model.policy.state_dict()
        # the extractor is registered under several names; safetensors wants each tensor once
        return {f"policy/{name}": value for name, value in weights.items() if own(name)}

    def _write(self, path: Path, tensors: dict[str, torch.Tensor], policy_steps: int) -> None:
        state = {
            "format": FORMAT,
            "config": self.config,
            "policy_steps": policy_steps,
            "updates": self.model._n_updates,
            "seconds": self.seconds,
            "curve": self.curve,
            "best": self.best,
            "spaces": [
                space_json(self.venv.observation_space),
                space_json(self.venv.action_space),
            ],
            "package_version": package_version(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            save_file(
                {name: value.contiguous() for name, value in tensors.items()},
                partial,
                {"state": json.dumps(state)},
            )
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


def _prepare(args: Args, config: dict[str, Any]) -> Path | None:
    """Makes the run's folder; the newest checkpoint in it, if the run goes on."""
    path = args.out / "config.json"
    if path.is_file() and not args.resume:
        raise FileExistsError(f"{args.out} holds a run: give --resume to go on, or another --out")
    if not path.is_file():
        args.out.mkdir(parents=True, exist_ok=True)
        _write_json(path, config)
        return None
    stored = json.loads(path.read_text())
    fixed = set(config) - _FREE
    if args.anneal:
        # the learning rate of every step depends on it
        fixed.add("total_steps")
    changed = [
        f"{name} was {stored.get(name)!r}, is {config[name]!r}"
        for name in sorted(fixed)
        if stored.get(name) != config[name]
    ]
    if changed:
        raise ValueError(f"cannot resume {args.out} with other arguments: {'; '.join(changed)}")
    _write_json(path, config)
    saved = checkpoints(args.out)
    return saved[-1] if saved else None


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


def _result_path(args: Args, trained: Trained) -> Path | None:
    """Where the result of this evaluation lies; None if none is asked for."""
    if not args.evaluation_episodes:
        return None
    for path in sorted((args.out / "results").rglob("*.json")):
        result = read_result(path)
        if (result.evaluation_seed, len(result.scores), result.training_steps) == (
            args.evaluation_seed,
            args.evaluation_episodes,
            trained.steps,
        ):
            return path
    return args.out / "results" / "missing.json"


def _passed(before: int, now: int, every: int) -> bool:
    return before // every != now // every


def _any_actions(venv: IcerVecEnv, rng: np.random.Generator) -> np.ndarray:
    """Actions at random, of those allowed where the space is discrete."""
    space = venv.action_space
    if not isinstance(space, spaces.Discrete):
        return np.stack([space.sample() for _ in range(venv.num_envs)])
    return np.argmax(rng.random((venv.num_envs, int(space.n))) * venv.action_masks(), axis=1)


def _write_json(path: Path, value: Any) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def main() -> None:
    """The command line."""
    try:
        train(tyro.cli(Args, prog="python -m agents.sb3.train"))
    except (ValueError, FileExistsError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
