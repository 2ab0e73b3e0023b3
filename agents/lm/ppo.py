"""PPO for a recommender that is a language model.

    python -m agents.lm.ppo --model runs/sft --out runs/ppo
    python -m agents.lm.ppo --model runs/sft --variant dialogues --out runs/ppo-dialogues
    accelerate launch -m agents.lm.ppo --model HUB-NAME --lora 16 --out runs/hub

turns: a reward for every turn, advantages over the recommender's own tokens, gradients clipped; a
loop of our own on parts of TRL (`agents.lm.per_turn`). dialogues: TRL's PPOTrainer as it is, one
reward at a dialogue's end (`agents.lm.whole_dialogues`). The trained model is in `OUT/final`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from agents.lm import models
from agents.lm.args import RLArgs
from crs_gym.extras import needs
from crs_gym.language.card import FINAL


@dataclass(kw_only=True)
class Args(RLArgs):
    """Trains a recommender by PPO in conversations with users."""

    out: Path = Path("runs/ppo")
    """folder of the run"""
    variant: Literal["turns", "dialogues"] = "turns"
    """turns: rewards for turns, our loop; dialogues: one reward at the end, TRL's PPOTrainer"""
    epochs: int = 1
    """passes over a rollout"""
    minibatch_size: int = 128
    """conversations in a step of Adam"""
    micro_batch: int = 32
    """of these, computed at a time on each device"""
    clip: float = 0.2
    """how far probabilities may change in an update before they gain nothing more"""
    value_coef: float = 0.1
    """weight of the values' loss"""
    value_learning_rate: float = 3e-3
    """of Adam for the layer that gives values, which begins at 0; turns only"""
    value_warmup: int = 0
    """updates at the beginning in which only the values are learnt; turns only"""
    target_kl: float = 0.05
    """divergence from the rollout's policy beyond which an update ends early; turns only"""
    max_grad_norm: float = 1.0
    """gradients are clipped to this norm; turns only"""


# TRL's trainer clips no gradients: with more than this it was seen to diverge
_HIGHEST_RATE = 1e-3


def train(args: Args) -> Path:
    """Trains; the folder of the trained model.

    Raises:
        ValueError, OSError: arguments or a model that cannot be used; the message says what helps.
        FileExistsError: `out` holds a run, and `resume` is not set.
    """
    needs("trl", "lm")
    final, settings = args.out / FINAL, models.settings(args)
    check(args)
    if (final / "config.json").is_file():
        models.begin(args.out, settings, args.resume)
        return final
    from agents.lm.starting import Start

    start = Start.of(args)
    models.begin(args.out, settings | models.started_from(args.model), args.resume)
    if args.variant == "turns":
        from agents.lm import per_turn

        model = per_turn.train(start, args)
    else:
        from agents.lm import whole_dialogues

        model = whole_dialogues.train(start, args)
    if models.is_main():
        models.save(models.merged(model), start.tokenizer, start.learnt_card, final)
    return final


def check(args: Args) -> None:
    """Raises a ValueError where arguments cannot be used."""
    sizes = ("updates", "batch_size", "group", "minibatch_size", "micro_batch", "epochs")
    for name in (*sizes, "validate_every", "max_turn"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(args, name)}")
    for name in ("learning_rate", "temperature", "clip"):
        if not getattr(args, name) > 0:
            raise ValueError(f"{name} must be above 0, not {getattr(args, name)}")
    share = models.processes() * args.minibatch_size
    if args.batch_size % (models.processes() * args.group):
        raise ValueError(
            f"batch_size {args.batch_size} is not a multiple of group {args.group} for each of "
            f"{models.processes()} process(es): groups are played whole"
        )
    if args.batch_size % share:
        raise ValueError(
            f"batch_size {args.batch_size} is not a multiple of {share}, a minibatch for each of "
            f"{models.processes()} process(es)"
        )
    if args.kl_coef < 0 or args.seed < 0:
        raise ValueError("kl_coef and seed must be at least 0")
    if args.variant == "dialogues" and args.learning_rate > _HIGHEST_RATE:
        raise ValueError(
            f"learning_rate {args.learning_rate} is too high for variant dialogues, whose trainer "
            f"clips no gradients: give at most {_HIGHEST_RATE}"
        )
    if args.variant == "dialogues" and not args.kl_coef:
        raise ValueError(
            "variant dialogues needs kl_coef above 0: nothing else holds its trainer back"
        )


if __name__ == "__main__":
    print(train(tyro.cli(Args, description=__doc__)))
