"""What a recommender that is a language model scores on the evaluation users.

    python -m agents.lm.evaluate --model runs/sft --policy lm-sft
    python -m agents.lm.evaluate --model runs/ppo --user runs/sft-user --supervised runs/sft

A result file as those of every policy, with figures of its words beside the scores: shares of turns
that were understood, legal, and true to their act; Dist-4; and its perplexity under a supervised
model, which tells how far its language has drifted.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from agents.args import EnvKwargs
from agents.lm import models
from agents.lm.arena import Arena, figures, play_all, write_samples
from agents.lm.chats import ChatFormat, Row
from agents.lm.rollouts import Played
from agents.lm.users import opponent
from crs_gym.evaluation.benchmark import relative
from crs_gym.evaluation.results import RULE, Result, safe_name
from crs_gym.evaluation.results import write as write_result
from crs_gym.language.weights import find_device
from crs_gym.simulation import evaluation_keys, evaluation_seeds
from crs_gym.users import UserModel
from crs_gym.world import DEFAULT_WORLD


@dataclass
class Args:
    """Plays, prints and writes."""

    model: Path
    """folder of a model, or of a run that has finished"""
    policy: str = ""
    """what results call it; lm- and the name of the run's folder unless told otherwise"""
    user: str = "icer"
    """who is talked to, see `crs/Dialogue-v0`; or the folder of a user that was trained here"""
    supervised: Path | None = None
    """a supervised recommender, under which the perplexity is measured"""
    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    env_kwargs: EnvKwargs = field(default_factory=dict)
    """further arguments of the environment: JSON, or key=value pairs"""
    episodes: int = 1000
    """conversations with evaluation users"""
    seed: int = 0
    """which fixed list of evaluation users"""
    training_seed: int | None = None
    """of the run that made the model, for the result"""
    temperature: float = 0.3
    """of sampling; 0 takes the likeliest token"""
    max_turn: int = 64
    """tokens of a turn; a longer one is cut off there, as the figure `cut` tells"""
    batch: int = 128
    """conversations played side by side"""
    bf16: bool = False
    """compute in bfloat16"""
    device: str = "auto"
    """auto (CUDA where there is one), cpu or cuda"""
    torch_threads: int = 1
    """of torch on a CPU"""
    out: Path = Path("runs/results")
    """where the result goes"""
    progress: bool = True
    """show progress bars"""


def evaluate(args: Args) -> Result:
    """Plays the evaluation list; see `main` for what is done with it.

    Raises:
        OSError, ValueError: a model, user, device or argument that cannot be used; the message
            says what helps.
    """
    import torch

    check(args)
    device = find_device(args.device)
    if device.type == "cpu":
        torch.set_num_threads(args.torch_threads)
    user = opponent(args.user, args.seed, args.device, args.max_turn)
    arena = Arena.of(args.world, user, args.env_kwargs)
    tokenizer, model, card = models.load_recommender(args.model, arena.world)
    supervised = None if args.supervised is None else _supervised(args.supervised, arena, tokenizer)
    model.to(device)
    chat = ChatFormat(tokenizer)
    start = time.perf_counter()
    played = play_all(
        arena.held_out,
        evaluation_keys(args.seed, args.episodes),
        model,
        chat,
        args.batch,
        args.progress,
        system=card.system,
        temperature=args.temperature,
        max_turn=args.max_turn,
        bf16=args.bf16,
    )
    seconds = time.perf_counter() - start
    extra: dict[str, Any] = figures(played, arena.world).as_dict() | models.identity(args.model)
    extra["failed"] = {
        side: [number for number, one in enumerate(played) if one.fault == side]
        for side in ("recommender", "user")
    }
    if supervised is not None:
        extra["perplexity"] = perplexity(supervised.to(device), [one.row for one in played])
    kind = arena.held_out.opponent.kind
    name = policy_of(args) if kind == RULE else f"{policy_of(args)}-{safe_name(kind)}"
    samples = f"{name}@{args.temperature:g}.txt"
    write_samples(played, args.out / "samples" / samples, 10)
    return result_of(args, arena, played, seconds, extra)


def check(args: Args) -> None:
    """Raises a ValueError where arguments cannot be used."""
    for name in ("episodes", "batch", "max_turn", "torch_threads"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(args, name)}")
    if args.temperature < 0 or args.seed < 0:
        raise ValueError("temperature and seed must be at least 0")


def policy_of(args: Args) -> str:
    """What results call the model: those of two runs differ."""
    return args.policy or f"lm-{models.run_name(args.model)}"


def _supervised(source: Path, arena: Arena, tokenizer: Any) -> Any:
    """A model that rates what another one writes, token by token."""
    theirs, model, _ = models.load_recommender(source, arena.world)
    if theirs.get_vocab() != tokenizer.get_vocab():
        raise ValueError(
            f"--supervised {source} has other tokens than --model: name the supervised model that "
            "it was trained from"
        )
    return model


def result_of(
    args: Args, arena: Arena, played: Sequence[Played], seconds: float, extra: dict[str, Any]
) -> Result:
    """The conversations as a `Result`."""
    user_kind = arena.held_out.opponent.kind
    last = [one.exchanges[-1] for one in played]
    return Result(
        env_id="crs/Dialogue-v0",
        env_kwargs=dict(args.env_kwargs),
        world_name=arena.world.name,
        world_hash=arena.world.hash,
        user_model=dict(UserModel.of(arena.world, args.env_kwargs.get("user_model"))._asdict()),
        user_kind=user_kind or RULE,
        policy=policy_of(args),
        policy_kwargs={
            "temperature": args.temperature,
            **({} if args.max_turn == Args.max_turn else {"max_turn": args.max_turn}),
        },
        evaluation_seed=args.seed,
        episode_seeds=evaluation_seeds(args.seed, len(played)).tolist(),
        user_ids=[one.user_id for one in played],
        scores=[round(one.total, 6) for one in played],
        turns=[len(one.exchanges) for one in played],
        accepted=[exchange.accepted >= 0 for exchange in last],
        left=[exchange.left for exchange in last],
        utilities=[round(exchange.quality, 6) for exchange in last],
        wall_seconds=round(seconds, 3),
        command=[relative(word) for word in sys.argv],
        training_seed=args.training_seed,
        extra=extra,
    )


def perplexity(model: Any, rows: Sequence[Row], batch: int = 32) -> float:
    """exp of the mean negative log-probability of the rows' own tokens under a model."""
    import torch

    total, count = 0.0, 0
    model.eval()
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        width = max(len(row.ids) for row in chosen)
        ids = torch.zeros((len(chosen), width), dtype=torch.long)
        own = torch.zeros_like(ids, dtype=torch.bool)
        for i, row in enumerate(chosen):
            ids[i, : len(row.ids)] = torch.from_numpy(row.ids.astype(np.int64))
            own[i, : len(row.ids)] = torch.from_numpy(row.own)
        ids, own = ids.to(model.device), own.to(model.device)
        # padding comes after all that is counted: nothing attends to it
        with torch.no_grad(), models.logits_at(model, own[:, 1:].nonzero(as_tuple=True)):
            logits = model(input_ids=ids, use_cache=False).logits.float()
        labels = ids[:, 1:][own[:, 1:]]
        total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        count += len(labels)
    return float(np.exp(total / max(count, 1)))


def main(args: Args) -> None:
    """Prints the summary and writes the result."""
    result = evaluate(args)
    path = write_result(result, args.out)
    summary = result.summary()
    numbers = {k: v for k, v in result.extra.items() if isinstance(v, int | float)}
    shown = ", ".join(f"{k} {v:.3f}" for k, v in numbers.items() if k != "conversations")
    print(
        f"{result.policy}: return {summary.score:.3f}, success {summary.success:.3f}, turns "
        f"{summary.turns:.2f}\n{shown}\n{path}"
    )


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
