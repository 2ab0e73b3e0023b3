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
from crs_gym.language.card import trained
from crs_gym.simulation import evaluation_keys, evaluation_seeds
from crs_gym.users import UserModel
from crs_gym.world import DEFAULT_WORLD


@dataclass
class Args:
    """Plays, prints and writes."""

    model: Path
    """folder of a model, or of a run that has finished"""
    policy: str = "lm"
    """what results call it"""
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
    """tokens of a turn"""
    batch: int = 128
    """conversations played side by side"""
    bf16: bool = False
    """compute in bfloat16"""
    torch_threads: int = 1
    """of torch"""
    out: Path = Path("runs/results")
    """where the result goes"""
    progress: bool = True
    """show progress bars"""


def evaluate(args: Args) -> Result:
    """Plays the evaluation list; see `main` for what is done with it.

    Raises:
        OSError, ValueError: a model, user or argument that cannot be used; the message says what
            helps.
    """
    import torch

    torch.set_num_threads(args.torch_threads)
    arena = Arena.of(args.world, opponent(args.user, args.seed), args.env_kwargs)
    tokenizer, model, card = models.load_recommender(args.model, arena.world)
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
    if args.supervised is not None:
        _, supervised = models.load(trained(args.supervised))
        extra["perplexity"] = perplexity(supervised, [one.row for one in played])
    user = arena.held_out.opponent.kind
    name = args.policy if user == RULE else f"{args.policy}-{safe_name(user)}"
    samples = f"{name}@{args.temperature:g}.txt"
    write_samples(played, args.out / "samples" / samples, 10)
    return result_of(args, arena, played, seconds, extra)


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
        policy=args.policy,
        policy_kwargs={"temperature": args.temperature},
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
        f"{args.policy}: return {summary.score:.3f}, success {summary.success:.3f}, turns "
        f"{summary.turns:.2f}\n{shown}\n{path}"
    )


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
