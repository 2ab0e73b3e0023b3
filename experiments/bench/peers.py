"""Steps per second of other recommendation environments, with random actions.

Run with an interpreter of their own, for they want old versions of gym and NumPy:

    python3.11 -m venv .venv-peers
    .venv-peers/bin/pip install --no-deps scope-rl==0.2.1 recsim==0.2.4
    .venv-peers/bin/pip install 'numpy<2' gym==0.26.2 scikit-learn gin-config absl-py six
    .venv-peers/bin/python experiments/bench/peers.py

RecSim imports TensorFlow and Dopamine, but only for its agents and its runner: empty modules take
their place here, and what is timed is RecSim's own environment.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any


def recgym() -> Any:
    """SCOPE-RL's RECGym, as it comes."""
    import gym
    import recgym  # noqa: F401 - registers

    return gym.make("RECEnv-v0", disable_env_checker=True).unwrapped


def recsim() -> Any:
    """RecSim's interest evolution, as in its tutorial: slates of 2 out of 10 documents."""
    import gin

    for name in ("gin.tf", "recsim.simulator.runner_lib"):
        sys.modules[name] = types.ModuleType(name)
    gin.tf = sys.modules["gin.tf"]
    from recsim.environments import interest_evolution

    return interest_evolution.create_environment(
        {"num_candidates": 10, "slate_size": 2, "resample_documents": True, "seed": 0}
    )


PEERS: dict[str, Callable[[], Any]] = {"RECGym": recgym, "RecSim": recsim}


def steps_per_second(env: Any, seconds: float) -> float:
    """Random actions, resets counted."""
    env.reset()
    actions = [env.action_space.sample() for _ in range(64)]
    count, began = 0, time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        result = env.step(actions[count % 64])
        count += 1
        # four values in old versions of gym, five in newer ones
        if any(result[2:-1]):
            env.reset()
    return count / now


def main() -> None:
    """Prints a JSON object: steps per second of each peer, or why there is no figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each is timed")
    parser.add_argument("--rounds", type=int, default=3, help="the best of so many counts")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    found: dict[str, float | str] = {}
    for name, make in PEERS.items():
        try:
            env = make()
            found[name] = max(steps_per_second(env, args.seconds) for _ in range(args.rounds))
        except Exception as error:
            found[name] = f"does not run: {type(error).__name__}: {error}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
