"""A training run, whatever the learner: its folder, validations, checkpoints and evaluation.

A run's folder holds `config.json`, `curve.json`, `checkpoints/`, `final.safetensors`,
`best.safetensors` and, after the evaluation, `results/`. Every checkpoint is one safetensors file
of weights, optimiser state and settings.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from tqdm import tqdm

from agents import store
from agents.args import PPOArgs, training_kwargs
from agents.tracking import Tracker, track
from crs_gym.envs.icer import IcerEnv
from crs_gym.evaluation.agents import evaluate as evaluate_predict
from crs_gym.evaluation.agents import play
from crs_gym.evaluation.results import Result, package_version
from crs_gym.evaluation.results import read as read_result
from crs_gym.evaluation.results import write as write_result

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


class Policy(Protocol):
    """A policy that has been trained.

    name: what results call it.
    config: the arguments of the run, as JSON values, and `world_hash`.
    steps: environment steps behind it.
    curve: validations so far: steps, seconds of training, mean return, success, turns.
    """

    config: dict[str, Any]
    steps: int
    curve: list[dict[str, float]]

    @property
    def name(self) -> str: ...

    def predict(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        """(B, D) observations and (B, n) masks to the most probable actions (B, ...)."""


class Run(ABC):
    """A run in progress: a learner, and what a checkpoint holds beside it."""

    form: ClassVar[str]
    """names the kind of its files"""

    def __init__(self, args: PPOArgs, config: dict[str, Any], env: IcerEnv) -> None:
        self.args, self.config, self.env = args, config, env
        self.steps = 0
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.seconds = 0.0

    @abstractmethod
    def warm_up(self) -> None:
        """Plays at random, for the first statistics of observations."""

    @abstractmethod
    def begin_conversations(self, seeds: np.ndarray) -> None:
        """New conversations and random numbers from (2,) uint32 seeds."""

    @abstractmethod
    def update(self, share: float) -> dict[str, float]:
        """One rollout and the update that follows; what the learner does not log by itself.

        share: of the learning rate and of the entropy bonus.
        """

    @abstractmethod
    def policy(self) -> Policy:
        """The policy as it is now."""

    @abstractmethod
    def weights(self) -> dict[str, np.ndarray]:
        """What a policy file holds."""

    @abstractmethod
    def optimiser(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds besides; names other than those of `weights`."""

    @abstractmethod
    def put(self, tensors: dict[str, np.ndarray], path: Path) -> None:
        """Takes the weights and the optimiser from a checkpoint's tensors."""

    @abstractmethod
    def load(self, path: Path) -> Policy:
        """The policy in a file."""

    def learn(self, tracker: Tracker | None) -> None:
        """Goes on to `total_steps`, with validations and checkpoints on the way."""
        args = self.args
        rollout = args.n_envs * args.n_steps
        fresh = True
        with tqdm(
            total=args.total_steps,
            initial=self.steps,
            unit="step",
            disable=None if args.progress else True,
        ) as bar:
            if not self.curve:
                if not self.steps:
                    began = time.perf_counter()
                    self.warm_up()
                    self.seconds += time.perf_counter() - began
                self._validate(tracker, bar)
            while self.steps < args.total_steps:
                began, before = time.perf_counter(), self.steps
                if fresh:
                    # a run that is resumed here goes on as if it had never stopped
                    first = np.random.SeedSequence([args.seed, before])
                    self.begin_conversations(first.generate_state(2))
                left = 1 - min(1.0, before / args.total_steps)
                values = self.update(0.05 + 0.95 * left if args.anneal else 1.0)
                self.steps += rollout
                self.seconds += time.perf_counter() - began
                bar.update(rollout)
                if values and tracker is not None:
                    tracker.log(values, self.steps)
                last = self.steps >= args.total_steps
                if last or _passed(before, self.steps, args.validate_every):
                    self._validate(tracker, bar)
                fresh = _passed(before, self.steps, args.checkpoint_every)
                if last or fresh:
                    self.save_checkpoint()

    def finish(self, final: Path) -> Policy:
        """Makes the last or the best policy the final one."""
        best = self.args.out / "best.safetensors"
        if self.args.keep == "best" and best.is_file():
            tensors, state = store.read(best, self.form)
            self._write(final, tensors, state["policy_steps"])
        else:
            self._write(final, self.weights(), self.steps)
        return self.load(final)

    def save_checkpoint(self) -> None:
        """Writes one, and deletes those that are too old to keep."""
        path = self.args.out / "checkpoints" / f"{self.steps:012d}.safetensors"
        self._write(path, self.weights() | self.optimiser(), self.steps)
        for old in store.checkpoints(self.args.out)[: -max(1, self.args.keep_checkpoints)]:
            old.unlink()

    def restore(self, path: Path) -> None:
        """Continues from a checkpoint."""
        tensors, state = store.read(path, self.form)
        self.steps, self.seconds = state["policy_steps"], state["seconds"]
        self.curve, self.best = state["curve"], state["best"]
        self.put(tensors, path)

    def _validate(self, tracker: Tracker | None, bar: Any) -> None:
        args = self.args
        if not args.validation_episodes:
            return
        seeds = _VALIDATION + np.arange(args.validation_episodes)
        predict = self.policy().predict
        played = play(args.env, training_kwargs(args), predict, seeds, args.n_envs)
        point = {
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "return": float(played.reward.mean()),
            "success": float(played.accepted.mean()),
            "turns": float(played.turns.mean()),
        }
        self.curve.append(point)
        store.write_json(args.out / "curve.json", self.curve)
        shown = ", ".join(f"{k} {point[k]:.3f}" for k in ("return", "success", "turns"))
        bar.write(f"validation at {self.steps}: {shown}")
        if tracker is not None:
            tracker.log({f"validation/{k}": v for k, v in point.items()}, self.steps)
        if self.best is None or point["return"] > self.best["return"]:
            self.best = point
            self._write(args.out / "best.safetensors", self.weights(), self.steps)

    def _write(self, path: Path, tensors: dict[str, np.ndarray], policy_steps: int) -> None:
        state = {
            "format": self.form,
            "config": self.config,
            "policy_steps": policy_steps,
            "seconds": self.seconds,
            "curve": self.curve,
            "best": self.best,
            "spaces": [
                store.space_json(self.env.observation_space),
                store.space_json(self.env.action_space),
            ],
            "package_version": package_version(),
        }
        store.write(path, tensors, state)


def train(run: Run) -> Policy:
    """Trains, validates, saves and evaluates as the run's arguments say.

    Raises:
        ValueError: arguments that differ from those of the run to resume.
        FileExistsError: the folder holds a run and `resume` is off.
    """
    args = run.args
    newest = _prepare(args, run.config)
    if newest is not None:
        run.restore(newest)
    final = args.out / "final.safetensors"
    if newest is not None and run.steps >= args.total_steps and final.is_file():
        trained = run.load(final)
        path = _result_path(args, trained)
        if path is None or path.is_file():
            print(f"{args.out}: finished, {run.steps} steps; nothing to do")
            return trained
    tracker = track(args.wandb_project, args.out, run.config) if args.track else None
    try:
        run.learn(tracker)
        trained = run.finish(final)
        if args.evaluation_episodes:
            result = evaluate(
                trained,
                args.env,
                training_kwargs(args),
                args.evaluation_seed,
                args.evaluation_episodes,
            )
            path = write_result(result, args.out / "results")
            summary = result.summary()
            print(
                f"evaluation: return {summary.score:.3f}, success {summary.success:.3f}, "
                f"turns {summary.turns:.2f} ({path})"
            )
            if tracker is not None:
                tracker.summarise(summary._asdict())
    finally:
        if tracker is not None:
            tracker.close()
    return trained


def evaluate(
    trained: Policy,
    env_id: str,
    env_kwargs: Mapping[str, Any] | None = None,
    evaluation_seed: int = 0,
    episodes: int = 1000,
) -> Result:
    """What the policy scores on evaluation users."""
    return evaluate_predict(
        env_id,
        env_kwargs,
        trained.predict,
        policy=trained.name,
        policy_kwargs={k: v for k, v in trained.config.items() if k not in _NOT_SETTINGS},
        evaluation_seed=evaluation_seed,
        episodes=episodes,
        training_seed=trained.config["seed"],
        training_steps=trained.steps,
        extra={"curve": trained.curve},
    )


def _prepare(args: PPOArgs, config: dict[str, Any]) -> Path | None:
    """Makes the run's folder; the newest checkpoint in it, if the run goes on."""
    path = args.out / "config.json"
    if path.is_file() and not args.resume:
        raise FileExistsError(f"{args.out} holds a run: give --resume to go on, or another --out")
    if not path.is_file():
        args.out.mkdir(parents=True, exist_ok=True)
        store.write_json(path, config)
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
    store.write_json(path, config)
    saved = store.checkpoints(args.out)
    return saved[-1] if saved else None


def _result_path(args: PPOArgs, trained: Policy) -> Path | None:
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
