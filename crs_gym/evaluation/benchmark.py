"""Benchmarks of the reference policies on the fixed evaluation users."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import jax
from tqdm import tqdm

from crs_gym.cluster import connected
from crs_gym.envs.icer import IcerEnv
from crs_gym.evaluation.cluster import Played, play_on_cluster
from crs_gym.evaluation.results import Result, machine
from crs_gym.inference import Inference
from crs_gym.policies import make_policy
from crs_gym.simulation import Episodes, Simulator, evaluation_keys, evaluation_seeds, play
from crs_gym.users import UserModel

# episodes played together: floats differ between batch sizes, so every run takes the same
_CHUNK = 256


# arguments of crs/Dialogue-v0 that are about words, not about what is done
_OF_WORDS = ("user", "observation", "variants", "max_length")


def in_acts(env_id: str, env_kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The environment in which the same acts have the same consequences, and its arguments.

    That of `crs/Dialogue-v0` with ICER users is `crs/Icer-v0`: what templates say is understood as
    the act that it stands for. Any other is itself.

    Raises:
        ValueError: `crs/Dialogue-v0` with other users, who decide by words.
    """
    if env_id != "crs/Dialogue-v0":
        return env_id, dict(env_kwargs)
    if (user := env_kwargs.get("user", "icer")) != "icer":
        raise ValueError(
            f"policies that say acts can be played against ICER users alone, not user={user!r}: "
            "agents.lm.evaluate plays those that write words"
        )
    return "crs/Icer-v0", {k: v for k, v in env_kwargs.items() if k not in _OF_WORDS}


def make_env(env_id: str, env_kwargs: Mapping[str, Any] | None, split: str) -> IcerEnv:
    """The unwrapped environment, with the users of `split`.

    Raises:
        ValueError: an id that is not an Icer environment's; the message lists them.
    """
    known = sorted(i for i in gymnasium.registry if i.startswith("crs/Icer"))
    if env_id not in known:
        raise ValueError(f"unknown environment {env_id!r}; there are {', '.join(known)}")
    env = gymnasium.make(env_id, **{**(env_kwargs or {}), "split": split}).unwrapped
    assert isinstance(env, IcerEnv)
    return env


def result_of(
    env: IcerEnv,
    env_id: str,
    env_kwargs: Mapping[str, Any],
    policy: str,
    episodes: Episodes,
    seed: int,
    wall_seconds: float,
    **fields: Any,
) -> Result:
    """The episodes of one policy as a `Result`; `fields` are further fields of it."""
    changes = env_kwargs.get("user_model")
    plain = {k: v for k, v in env_kwargs.items() if k not in ("world", "split", "render_mode")}
    return Result(
        env_id=env_id,
        env_kwargs=plain,
        world_name=env.world.name,
        world_hash=env.world.hash,
        user_model=dict(UserModel.of(env.world, changes)._asdict()),
        user_kind="rule",
        policy=policy,
        policy_kwargs=fields.pop("policy_kwargs", {}),
        evaluation_seed=seed,
        episode_seeds=evaluation_seeds(seed, len(episodes.reward)).tolist(),
        user_ids=episodes.user_id.tolist(),
        scores=[round(float(x), 6) for x in episodes.reward],
        turns=episodes.turns.tolist(),
        accepted=episodes.accepted.tolist(),
        left=episodes.left.tolist(),
        utilities=[round(float(x), 6) for x in episodes.utility],
        wall_seconds=round(wall_seconds, 3),
        command=fields.pop("command", [relative(word) for word in sys.argv]),
        **fields,
    )


def benchmark(
    env_id: str = "crs/IcerMacro-v0",
    policies: Sequence[str] = ("random", "popularity", "belief-greedy", "ask-n", "oracle"),
    episodes: int = 1000,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    progress: bool = True,
    ray: str | None = None,
) -> list[Result]:
    """Plays every policy on the same evaluation users.

    Args:
        env_id: a registered environment.
        policies: names for `make_policy`; what is tuned is tuned on training users.
        episodes: conversations, each with a user who is drawn: some come more than once.
        seed: which fixed list of evaluation users, at least 0.
        env_kwargs: arguments of the environment, JSON values; `split` is set here.
        ray: address of a Ray cluster whose workers play, "local" for one on this machine; see
            `crs_gym.cluster`. Scores are the same as without; times are the workers'.

    Raises:
        ValueError: unknown names; the message lists what exists.
        ImportError, ConnectionError: Ray, or its cluster, is not there.
    """
    kwargs = dict(env_kwargs or {})
    with connected(ray) if ray is not None else nullcontext() as cluster:
        played = in_acts(env_id, kwargs)
        train, env = (make_env(*played, split) for split in ("train", "evaluation"))
        simulators = train.core.simulator, env.core.simulator
        inference, keys = env.core.inference, evaluation_keys(seed, episodes)
        arguments = policies, *simulators, inference, keys, _CHUNK, progress
        play_all = _play_here if cluster is None else partial(play_on_cluster, cluster)
        return [
            result_of(
                env,
                env_id,
                kwargs,
                name,
                played.episodes,
                seed,
                played.seconds,
                policy_kwargs={"tuned": played.policy} if played.policy != name else {},
                machine=played.machine,
            )
            for name, played in zip(policies, play_all(*arguments), strict=True)
        ]


def _play_here(
    policies: Sequence[str],
    train: Simulator,
    simulator: Simulator,
    inference: Inference,
    keys: jax.Array,
    chunk: int,
    progress: bool,
) -> Iterator[Played]:
    bar = tqdm(policies, desc="benchmark", unit="policy", disable=not progress)
    for name in bar:
        bar.set_postfix_str(name)
        policy = make_policy(name, train, inference)
        begun = time.perf_counter()
        episodes = play(simulator, policy, inference, keys, chunk)
        yield Played(policy.name, episodes, time.perf_counter() - begun, machine())


def relative(word: str) -> str:
    """A word of a command without a folder of this machine: result files travel."""
    return Path(word).name if Path(word).is_absolute() else word
