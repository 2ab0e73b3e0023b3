"""What a training run can be told, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from agents.blocks import BLOCKS
from crs_gym.envs.actions import MacroActions
from crs_gym.envs.icer import IcerEnv
from crs_gym.world import DEFAULT_WORLD


def parse_env_kwargs(texts: list[str]) -> dict[str, Any]:
    """`{"a": 1}` or `a=1 b=two` to a dictionary; values are JSON where they can be.

    Raises:
        ValueError: a text that is neither.
    """
    values: dict[str, Any] = {}
    for text in texts:
        if text.lstrip().startswith("{"):
            values.update(json.loads(text))
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"expected JSON or key=value, not {text!r}")
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return values


EnvKwargs = Annotated[
    dict[str, Any],
    tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="JSON|KEY=VALUE",
        instance_from_str=parse_env_kwargs,
        is_instance=lambda value: isinstance(value, dict),
        str_from_instance=lambda value: [json.dumps(value)],
    ),
]


@dataclass
class PPOArgs:
    """Arguments that all PPO learners have in common."""

    env: str = "crs/IcerMacro-v0"
    """environment id"""
    world: str = DEFAULT_WORLD
    """name of a bundled world, or path of a world file"""
    env_kwargs: EnvKwargs = field(default_factory=dict)
    """further arguments of the environment: JSON, or key=value pairs"""
    out: Path = Path("runs/ppo")
    """folder of the run"""
    seed: int = 0
    """training seed, at least 0"""
    total_steps: int = 150_000
    """environment steps, rounded up to whole rollouts"""
    n_envs: int = 64
    """conversations stepped together"""
    n_steps: int = 32
    """steps of each conversation in a rollout"""
    batch_size: int = 512
    """transitions in a minibatch"""
    n_epochs: int = 6
    """passes over a rollout"""
    learning_rate: float = 1e-3
    """of Adam"""
    anneal: bool = True
    """let the learning rate and the entropy bonus fall linearly, to a twentieth at total_steps"""
    gamma: float = 1.0
    """discount; 1, for episodes are short and their return is what is reported"""
    gae_lambda: float = 0.95
    """lambda of the advantage estimate"""
    clip_range: float = 0.2
    """of PPO's ratio"""
    ent_coef: float = 0.04
    """weight of the entropy bonus"""
    vf_coef: float = 0.5
    """weight of the value loss"""
    max_grad_norm: float = 0.5
    """gradients are clipped to this norm"""
    network: Literal["auto", "mlp", "attribute"] = "auto"
    """mlp over the whole observation, or one that treats all attributes alike (macro actions with
    belief observations only); auto takes the latter where it fits"""
    net_width: int = 64
    """units of each of the two hidden layers, in the actor and in the critic"""
    lean: float = 0.0
    """how strongly the attribute network leans to asking while the best question is worth more than
    `agents.blocks.PRICE`, and to recommending below, before it has learnt anything"""
    bootstrap_at_limit: bool = False
    """add the value of what would follow after the turn limit; the score knows no such turns"""
    validate_every: int = 16_384
    """steps between evaluations on users of the training split"""
    validation_episodes: int = 512
    """conversations of each of them, always the same; 0 for none"""
    keep: Literal["last", "best"] = "last"
    """which policy becomes the final one: the last, or the best on validation"""
    checkpoint_every: int = 32_768
    """steps between checkpoints, rounded up to whole rollouts; a run of another spacing is another
    run, because new conversations begin at each"""
    keep_checkpoints: int = 2
    """how many checkpoints to keep, the newest"""
    evaluation_episodes: int = 1000
    """conversations with evaluation users at the end; 0 for none"""
    evaluation_seed: int = 0
    """which fixed list of evaluation users"""
    resume: bool = False
    """continue from the newest checkpoint in `out`, or begin where there is none"""
    track: bool = False
    """log to Weights & Biases; offline when there is no API key and WANDB_MODE is not set"""
    wandb_project: str = "crs-gym"
    """project there"""
    progress: bool = True
    """show a progress bar on a terminal"""


def training_kwargs(args: PPOArgs) -> dict[str, Any]:
    """All arguments of the training environment."""
    return {**args.env_kwargs, "world": args.world, "split": "train"}


def check(args: PPOArgs, env: IcerEnv) -> None:
    """Raises a ValueError for arguments that do not fit together or with the environment."""
    taken = sorted({"world", "split"} & set(args.env_kwargs))
    if taken:
        raise ValueError(
            f"{', '.join(taken)} cannot be in env_kwargs: the world is the argument `world`, and "
            "training is always with users of the train split"
        )
    counts = "total_steps n_envs n_steps batch_size n_epochs validate_every checkpoint_every"
    for name in counts.split():
        if getattr(args, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(args, name)}")
    if args.n_envs * args.n_steps < 2:
        raise ValueError("a rollout needs at least two steps: n_envs * n_steps >= 2")


def network_kind(args: PPOArgs, env: IcerEnv) -> str:
    """Which network, attribute or mlp; a ValueError where the network asked for does not fit."""
    fits = isinstance(env.core.codec, MacroActions) and set(BLOCKS) <= set(env.layout)
    if args.network == "attribute" and not fits:
        raise ValueError(
            f"the attribute network is for crs/IcerMacro-v0 with belief observations, not for "
            f"{args.env} as it is here: use network mlp, or auto"
        )
    if args.network == "auto":
        return "attribute" if fits else "mlp"
    return args.network


def settings(args: PPOArgs, env: IcerEnv) -> dict[str, Any]:
    """The arguments of a run as JSON values, and what else its policy depends on."""
    return {
        **dataclasses.asdict(args),
        "out": str(args.out),
        "world_hash": env.world.hash,
        "network": network_kind(args, env),
        "blocks": {name: [at.start, at.stop] for name, at in env.layout.items()},
    }
