"""Conversations per second of a recommender that is a model, against transformers' `generate`.

    python -m experiments.bench.writing --model runs/sft

The same training conversations, all side by side with ICER users: by `agents.lm.writing` in float32
and in bfloat16, and by `generate`, which reads each conversation anew for every turn. Rounds of the
three alternate; the best of each counts.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from agents.lm import models
from agents.lm.arena import Arena
from agents.lm.chats import ChatFormat
from agents.lm.writing import Writer, Written
from crs_gym.evaluation.results import machine
from crs_gym.world import DEFAULT_WORLD

RESULTS = Path(__file__).parent / "results"
WAYS = ("generate", "float32", "bfloat16")


@dataclass
class Args:
    """Plays and times."""

    model: str
    """folder of a supervised run or model"""
    world: str = DEFAULT_WORLD
    """bundled name or world file"""
    batch: int = 256
    """conversations"""
    rounds: int = 3
    """of each way"""
    temperature: float = 0.3
    """of sampling, above 0"""


class Generate:
    """In place of a `Writer`: every turn by `generate`, on all that was said before."""

    def __init__(
        self, model: Any, texts: int, *, end: int, pad: int, temperature: float, **_: Any
    ) -> None:
        self._model, self._texts = model, [list[int]() for _ in range(texts)]
        self._options = {
            "do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0,
            "eos_token_id": end, "pad_token_id": pad,
        }  # fmt: skip

    def read(self, pieces: Sequence[Sequence[int]]) -> None:
        for text, piece in zip(self._texts, pieces, strict=True):
            text += piece

    def write(self, who: Sequence[bool] | np.ndarray, limit: int) -> list[Written | None]:
        found: list[Written | None] = [None] * len(self._texts)
        rows = np.flatnonzero(who)
        width = max(len(self._texts[i]) for i in rows)
        ids = torch.full((len(rows), width), self._options["pad_token_id"])
        seen = torch.zeros_like(ids)
        for place, i in enumerate(rows):
            ids[place, -len(self._texts[i]) :] = torch.tensor(self._texts[i])
            seen[place, -len(self._texts[i]) :] = 1
        with torch.no_grad():
            whole = self._model.generate(
                ids, attention_mask=seen, max_new_tokens=limit, **self._options
            )
        for i, new in zip(rows, whole[:, width:].tolist(), strict=True):
            end = self._options["eos_token_id"]
            mine = new[: new.index(end) + 1] if end in new else new
            self._texts[i] += mine
            found[i] = Written(mine, [0.0] * len(mine), end in mine)
        return found


@models.no_denormals()
def main(args: Args) -> None:
    """Prints conversations per second, and keeps them."""
    torch.set_num_threads(1)
    arena = Arena.of(args.world)
    tokenizer, model, card = models.load_recommender(args.model, arena.world)
    chat = ChatFormat(tokenizer)

    def seconds(way: str, number: int) -> float:
        torch.manual_seed(number)  # what `generate` draws by
        begun = time.perf_counter()
        arena.play(
            np.arange(args.batch), model, chat, system=card.system, seed=number,
            temperature=args.temperature, bf16=way == "bfloat16",
            writes=Generate if way == "generate" else Writer,
        )  # fmt: skip
        return time.perf_counter() - begun

    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(-1, args.rounds):  # the first compiles
        for way in WAYS:
            found[way].append(seconds(way, max(number, 0)))
    rates = {way: args.batch / min(times[1:]) for way, times in found.items()}
    table = Table("by", "conversations/s", "times generate")
    for way, rate in rates.items():
        table.add_row(way, f"{rate:.1f}", f"{rate / rates['generate']:.1f}")
    Console().print(table)
    report = {
        "model": models.identity(args.model),
        "batch": args.batch,
        "conversations/s": rates,
        "machine": machine(),
    }
    path = RESULTS / "writing.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
