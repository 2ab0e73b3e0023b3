"""RLlib's PPO on `crs/IcerMacro-v0`, the film world, on the workers of a Ray cluster.

    make rllib                                      # .venv-rllib, then the second line
    .venv-rllib/bin/python -m experiments.rllib_ppo
    .venv-rllib/bin/python -m experiments.rllib_ppo --address HOST:PORT --num-env-runners 32

RLlib 2.60 wants exactly Gymnasium 1.2.2, so it has an environment of its own. By hand, after the
torch that suits the machine:

    python3.11 -m venv .venv-rllib
    sed 's/^gymnasium==.*/gymnasium==1.2.2/' requirements.lock > .venv-rllib/constraints.txt
    .venv-rllib/bin/pip install -c .venv-rllib/constraints.txt -e . 'ray[rllib]' torch

Every runner steps its conversations by one compiled call. The trained policy plays the fixed
evaluation users, and so do `random` and `belief-greedy`, which never asks. A run's folder holds
`run.json` (settings, learning curve), RLlib's checkpoints and `results/`. The checkpoints are
RLlib's own and hold pickles: resume none that you did not write.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
import tyro
from gymnasium import spaces
from gymnasium.vector import VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune.registry import register_env
from rich.console import Console
from tqdm import tqdm

from crs_gym.cluster import WORKER_VARIABLES, connected
from crs_gym.evaluation import Scores, paired_difference, render_rich, write
from crs_gym.evaluation.agents import Predict, evaluate
from crs_gym.evaluation.benchmark import benchmark

ENV = "crs/IcerMacro-v0"


@dataclass
class Args:
    """Trains with RLlib, evaluates on fixed evaluation users, and compares."""

    address: str = "local"
    """Ray cluster: local (this machine), auto (the one that runs here), or host:port"""
    num_env_runners: int = 2
    """workers that play, one processor each; 0 to play where the learner is"""
    num_envs: int = 64
    """conversations of each worker"""
    total_steps: int = 122_880
    """environment steps, rounded up to whole batches"""
    batch_size: int = 4096
    """steps between updates"""
    minibatch_size: int = 512
    """transitions in a gradient step"""
    num_epochs: int = 6
    """passes over a batch"""
    learning_rate: float = 1e-3
    """of Adam, falls linearly to a twentieth"""
    entropy: float = 0.04
    """weight of the entropy bonus, falls likewise"""
    width: int = 64
    """units of each of the two hidden layers, in the actor and in the critic"""
    seed: int = 0
    """training seed, at least 0"""
    checkpoint_every: int = 32_768
    """steps between checkpoints"""
    episodes: int = 1000
    """evaluation users"""
    out: Path = Path("runs/rllib_ppo")
    """folder of the run"""
    results: Path | None = None
    """where the result goes; by default into the run's folder"""
    resume: bool = False
    """go on from the last checkpoint in `out`, or begin where there is none"""


# may differ between a run and its continuation
FREE = ("address", "num_env_runners", "checkpoint_every", "episodes", "out", "results", "resume")


class Scale(NamedTuple):
    """Features of observations to mean 0 and deviation 1, clipped to [-5, 5]; both (D,)."""

    mean: np.ndarray
    deviation: np.ndarray

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        scaled = (observations - self.mean) / self.deviation
        return np.clip(scaled, -5.0, 5.0).astype(np.float32)


class Prepared(VectorWrapper):
    """Conversations as PPO learns from them.

    Observations are scaled. The turn limit terminates: it is part of the task, and the value of
    what would follow it could not be learnt. Seeds are spread: RLlib seeds its runners, and the
    environment its conversations, by counting up, so that two runners would play the same ones.
    """

    def __init__(self, env: VectorEnv, scale: Scale, seed: tuple[int, ...]) -> None:
        super().__init__(env)
        self.scale = scale
        self.first_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self.single_observation_space = spaces.Box(-5.0, 5.0, scale.mean.shape, np.float32)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins an episode everywhere."""
        first = None if seed is None else self.first_seed
        observations, _ = self.env.reset(seed=first, options=options)
        return self.scale(observations), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One turn of every conversation."""
        observations, rewards, terminated, truncated, _ = self.env.step(actions)
        over = terminated | truncated
        return self.scale(observations), rewards, over, np.zeros_like(over), {}


def make(context: Any) -> Prepared:
    """The environment of one runner, from RLlib's `EnvContext`."""
    import crs_gym  # noqa: F401  # registers the environments on the worker

    os.environ |= WORKER_VARIABLES
    env = gymnasium.make_vec(ENV, num_envs=context["num_envs"])
    seed = (context["seed"], context["steps"], context["runner"])
    return Prepared(env, context["scale"], seed)


def measure(seed: int, n: int = 64) -> Scale:
    """Scale of the observations that actions at random lead to."""
    env = gymnasium.make_vec(ENV, num_envs=n)
    env.action_space.seed(seed)
    first, _ = env.reset(seed=seed)
    then = [env.step(env.action_space.sample())[0] for _ in range(20)]
    rows = np.concatenate([first, *then]).astype(np.float64)
    # a feature that hardly varies now must not be blown up when it does
    return Scale(rows.mean(0), rows.std(0).clip(1e-2))


def config_of(args: Args, scale: Scale, steps: int) -> PPOConfig:
    """RLlib's settings for a run, or for its continuation after `steps`."""
    fall = [0, 1.0], [args.total_steps, 0.05]
    context = {"scale": scale, "seed": args.seed, "steps": steps}
    register_env(
        "prepared", lambda c: make({**c, "runner": getattr(c, "worker_index", c.get("runner", 0))})
    )
    return (
        PPOConfig()
        .environment("prepared", env_config=context)
        .env_runners(
            num_env_runners=args.num_env_runners,
            num_envs_per_env_runner=args.num_envs,
            gym_env_vectorize_mode="vector_entry_point",
        )
        .training(
            lr=[[at, share * args.learning_rate] for at, share in fall],
            entropy_coeff=[[at, share * args.entropy] for at, share in fall],
            train_batch_size_per_learner=args.batch_size,
            minibatch_size=args.minibatch_size,
            num_epochs=args.num_epochs,
            gamma=1.0,
            lambda_=0.95,
            clip_param=0.2,
            use_kl_loss=False,
            vf_loss_coeff=0.5,
            grad_clip=0.5,
        )
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[args.width] * 2))
        .reporting(metrics_num_episodes_for_smoothing=500)
        .debugging(seed=args.seed, log_level="ERROR")
    )


def predictor(module: Any, scale: Scale) -> Predict:
    """The most probable actions."""

    def predict(observations: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
        with torch.no_grad():
            output = module.forward_inference({Columns.OBS: torch.as_tensor(scale(observations))})
        actions: np.ndarray = output[Columns.ACTION_DIST_INPUTS].argmax(-1).numpy()
        return actions

    return predict


class Run:
    """What is kept of a run beside RLlib's checkpoints: `run.json`, always of the newest one."""

    def __init__(self, args: Args) -> None:
        self.path = args.out / "run.json"
        self.settings = {k: v for k, v in asdict(args).items() if k not in FREE}
        self.steps, self.curve = 0, list[dict[str, float]]()
        if not self.path.is_file():
            return
        if not args.resume:
            raise FileExistsError(f"{args.out} holds a run: give --resume, or another --out")
        stored = json.loads(self.path.read_text())
        if stored["settings"] != self.settings:
            raise ValueError(f"{args.out} was run with other settings: {stored['settings']}")
        self.steps, self.curve = stored["steps"], stored["curve"]

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint after `steps`."""
        return self.path.parent.absolute() / f"checkpoint-{self.steps:09d}"

    def save(self, algorithm: Any, steps: int) -> None:
        """Replaces the checkpoint; one that was not finished is never taken for one."""
        old, self.steps = self.checkpoint, steps
        algorithm.save_to_path(str(self.checkpoint))
        stored = {"settings": self.settings, "steps": steps, "curve": self.curve}
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(stored, indent=1) + "\n")
        partial.replace(self.path)
        if old != self.checkpoint:
            shutil.rmtree(old, ignore_errors=True)


def train(args: Args, run: Run, scale: Scale) -> Any:
    """Trains to `args.total_steps` and gives RLlib's module."""
    algorithm = config_of(args, scale, run.steps).build_algo()
    if run.steps:
        algorithm.restore_from_path(str(run.checkpoint))
    steps = run.steps
    with tqdm(total=args.total_steps, initial=steps, unit="step") as bar:
        while steps < args.total_steps:
            before, told = steps, algorithm.train()["env_runners"]
            steps = int(told["num_env_steps_sampled_lifetime"])
            point = {"steps": steps, "return": round(float(told["episode_return_mean"]), 4)}
            run.curve.append(point)
            bar.update(steps - before)
            bar.set_postfix({"return": f"{point['return']:.3f}"})
            every = args.checkpoint_every
            if steps >= args.total_steps or before // every != steps // every:
                run.save(algorithm, steps)
    module = algorithm.get_module()
    algorithm.stop()
    return module


def main(args: Args) -> None:
    """Trains, evaluates, writes the result and prints the table."""
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(args)
    with connected(args.address):
        scale = measure(args.seed)
        predict = predictor(train(args, run, scale), scale)
    learnt = evaluate(
        ENV,
        {},
        predict,
        policy="rllib-ppo",
        policy_kwargs={k: v for k, v in run.settings.items() if k not in ("seed", "total_steps")},
        episodes=args.episodes,
        training_seed=args.seed,
        training_steps=run.steps,
        extra={"curve": run.curve},
    )
    path = write(learnt, args.results or args.out / "results")
    references = benchmark(ENV, ("random", "belief-greedy", "oracle"), args.episodes)
    Console().print(render_rich([*references, learnt]))
    mine, *others = (
        Scores(np.array([r.scores]), np.array(r.user_ids), np.array(r.episode_seeds))
        for r in (learnt, *references)
    )
    for result, theirs in zip(references, others, strict=True):
        found = paired_difference(mine, theirs)
        interval = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        print(f"rllib-ppo - {result.policy:14} {interval}")
    print(f"return while training: {run.curve[0]['return']:.3f} to {run.curve[-1]['return']:.3f}")
    print(f"result: {path}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {error}")
