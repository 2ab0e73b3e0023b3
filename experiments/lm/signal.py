"""How much of a policy gradient is signal, by what tokens and turns are credited with.

    python -m experiments.lm.signal --model runs/lm/sft-0

The same conversations of a model with training users, in batches as a learner has them; for each
way of crediting the gradient of every batch. What two batches agree on is signal, the rest noise:
the share is the mean product of two gradients over their mean square. A batch with a share of 0.01
points 0.1 of its length where more of them would.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from agents import store
from agents.lm import models, per_turn, ppo
from agents.lm.credit import others_mean
from agents.lm.per_turn import Dialogues, gae, look
from agents.lm.rollouts import Played
from agents.lm.starting import Start


@dataclass
class Args:
    """Measures the signal of policy gradients."""

    model: str
    """folder of a supervised run or model"""
    world: str = ppo.Args.world
    """bundled name or world file"""
    batches: int = 12
    """of conversations"""
    batch_size: int = 256
    """conversations in each"""
    group: int = 8
    """of these with the same hidden user"""
    temperature: float = 0.6
    """of sampling"""
    out: Path = Path(__file__).parent / "results" / "signal.json"
    """where the shares go"""


WAYS = (
    ("the return, all tokens", "turns", "none", 1.0),
    ("less that of the group, all tokens", "turns", "dialogue", 1.0),
    ("less that of the group, acts", "acts", "dialogue", 1.0),
    ("what comes after the turn, less the group's, acts", "acts", "turn", 1.0),
    ("generalised advantages, lambda 0.9, acts", "acts", "turn", 0.9),
    ("generalised advantages, lambda 0.5, acts", "acts", "turn", 0.5),
    ("generalised advantages, lambda 0, acts", "acts", "turn", 0.0),
    ("how near it came, lambda 0.5, acts", "acts", "near", 0.5),
)
"""(name, tokens, level or what else, lambda)"""


def main(args: Args) -> dict[str, float]:
    """Plays, and prints the share for each way."""
    learner = _learner(args)
    batches = [learner.play(number) for number in tqdm(range(args.batches), desc="conversations")]
    shares = {}
    for name, tokens, level, decay in tqdm(WAYS, desc="gradients"):
        found = [gradient(learner, played, tokens, level, decay) for played in batches]
        shares[name] = share(torch.stack(found))
    table = Table("credited with", "share of signal in a batch")
    for name, value in shares.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
    store.write_json(args.out, {"batch_size": args.batch_size, "shares": shares})
    return shares


def share(gradients: torch.Tensor) -> float:
    """Of (N, P) gradients, what two of them have in common."""
    products = (gradients @ gradients.T).double()
    own = products.diagonal()
    count = len(own)
    return float((products.sum() - own.sum()) / (count * (count - 1)) / own.mean())


def gradient(
    learner: per_turn.Learner, played: list[Played], tokens: str, level: str, decay: float
) -> torch.Tensor:
    """(P,) of the expected return, by one batch."""
    chat, policy = learner.start.chat, learner.policy
    for one in played:
        one.acts = None
        if tokens == "acts":
            one.learn_acts(chat)
    pad, group = int(learner.start.tokenizer.pad_token_id), learner.args.group
    made = Dialogues.of(played, pad, group, decay)
    returns = [one.total for one in played]
    by_dialogue = {
        "none": np.full(len(played), np.mean(returns)),
        "dialogue": others_mean(returns, group),
    }
    if level in by_dialogue:
        flat = torch.from_numpy(by_dialogue[level].astype(np.float32))
        made = made._replace(levels=flat[:, None] * made.own)
    advantages = made.bonus
    if level != "near":
        advantages = gae(made.rewards, made.levels, made.ends, decay)
    policy.zero_grad()
    for rows in torch.arange(len(played)).split(32):
        some = made[rows]
        logprobs, _ = look(policy, some, learner.args.temperature)
        (logprobs * advantages[rows, : some.own.shape[1]]).sum().backward()
    return torch.cat([p.grad.flatten() for p in policy.parameters()])


def _learner(args: Args) -> per_turn.Learner:
    given: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("model", "world", "batch_size", "group", "temperature")
    }
    settings = ppo.Args(
        **given, progress=False, bf16=models.fast_bf16(), device="cpu", illegal_cost=0.0
    )
    return per_turn.Learner(Start.of(settings), settings)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
