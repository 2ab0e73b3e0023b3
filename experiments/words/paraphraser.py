"""A tiny model that rewrites templates, trained from nothing in minutes on one core.

    python -m experiments.words.paraphraser --minutes 8

No hub is asked for anything: model and tokenizer are built here (`agents.lm.tiny`), and trained on
pairs of a short prompt (`crs_gym.generation.prompts`) and a sentence of `phrasings` that says the
same. The model is kept under `runs/`; then it rewrites templated dialogues that it has not seen,
and the rates of `crs_gym.generation.rewriting` are printed and kept beside this file. "Novel" is
the share of rewritten turns that differ from their template.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from agents.lm.tiny import build_model, build_tokenizer
from crs_gym.dialogue import VARIANTS, say, say_response
from crs_gym.generation.prompts import prompt
from crs_gym.generation.records import Dialogue, Speaker
from crs_gym.generation.rewriting import Order, rewrite
from crs_gym.language import Message
from crs_gym.language.local import LocalModel
from crs_gym.world import World, load_world
from experiments.words.mutations import RESULTS
from experiments.words.phrasings import phrase, phrase_response
from experiments.words.talks import a_dialogue, an_exchange

POOL = 64
"""Batches that are drawn at a time, and sorted by length so that little is padding."""


class Pair(NamedTuple):
    """A prompt and what is to come of it."""

    messages: tuple[Message, ...]
    target: str


def a_pair(rng: random.Random, world: World) -> Pair:
    """A random turn: what was said before it in any words, its template, other words for it.

    One in five is a list of ten films to be said again: what a rewriter has to learn above all is
    to copy titles, and long lists teach it much sooner than sentences with two of them.
    """
    if rng.random() < 0.2:
        films = ", ".join(world.label(n) for n in rng.sample(range(world.n_items), 10))
        return Pair((Message("user", f"\nrepeat: {films}"),), films)
    act, response = an_exchange(rng, world)
    variant = rng.randrange(VARIANTS)
    if rng.random() < 0.5:
        before = phrase(rng, act, world) if rng.random() < 0.5 else say(act, world, variant)
        said: list[tuple[Speaker, str]] = [("Recommender", before)]
        template = say_response(response, act, world, rng.randrange(VARIANTS))
        target = phrase_response(rng, response, act, world)
        return Pair(prompt(said, template, response, "short"), target)
    said = []
    if rng.random() < 0.8:
        earlier, answer = an_exchange(rng, world)
        words = phrase_response(rng, answer, earlier, world)
        if rng.random() < 0.3:
            words = say_response(answer, earlier, world, variant)
        said = [("User", words)]
    return Pair(prompt(said, say(act, world, variant), act, "short"), phrase(rng, act, world))


def batches(
    rng: random.Random, world: World, tokenizer: Any, size: int
) -> Iterator[tuple[Any, Any, Any]]:
    """Endless (token ids, attention mask, labels), each (size, T); labels on targets alone."""
    import torch

    while True:
        rows = []
        for _ in range(size * POOL):
            pair = a_pair(rng, world)
            start = tokenizer(_chat(tokenizer, pair.messages), add_special_tokens=False)
            end = tokenizer(pair.target + tokenizer.eos_token, add_special_tokens=False)
            rows.append((start["input_ids"], end["input_ids"]))
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        groups = [rows[n : n + size] for n in range(0, len(rows), size)]
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(a) + len(b) for a, b in group)
            gaps = [longest - len(a) - len(b) for a, b in group]
            padded = [(*row, gap) for row, gap in zip(group, gaps, strict=True)]
            ids = [a + b + [tokenizer.pad_token_id] * gap for a, b, gap in padded]
            labels = [[-100] * len(a) + b + [-100] * gap for a, b, gap in padded]
            mask = [[1] * (longest - gap) + [0] * gap for gap in gaps]
            yield torch.tensor(ids), torch.tensor(mask), torch.tensor(labels)


def train(
    model: Any, data: Iterator[tuple[Any, Any, Any]], minutes: float, rate: float, log: Path
) -> int:
    """Trains for some minutes of processor time, over which the learning rate falls to zero.

    Returns:
        Steps taken.
    """
    import torch
    from tqdm import tqdm

    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    start, steps, recent = time.process_time(), 0, 0.0
    with tqdm(total=100, desc="training", unit="%") as bar, log.open("w") as curve:
        while (spent := (time.process_time() - start) / (60 * minutes)) < 1:
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (steps + 1) / 50) * (1 - spent)
            ids, mask, labels = next(data)
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            steps += 1
            recent = loss.item() if steps == 1 else 0.98 * recent + 0.02 * loss.item()
            if steps % 20 == 0:
                curve.write(json.dumps({"step": steps, "spent": spent, "loss": recent}) + "\n")
                bar.set_postfix(step=steps, loss=f"{recent:.3f}")
                bar.update(int(100 * spent) - bar.n)
    model.eval()
    return steps


def _chat(tokenizer: Any, messages: Sequence[Message]) -> str:
    return str(
        tokenizer.apply_chat_template(
            [message._asdict() for message in messages], tokenize=False, add_generation_prompt=True
        )
    )


def novel(dialogues: Sequence[Dialogue]) -> float:
    """Share of the rewritten turns that are other than their template."""
    words = [side for d in dialogues for t in d.turns for side in (t.recommender, t.user)]
    changed = [side.text != side.template for side in words if side.source == "model"]
    return sum(changed) / max(1, len(changed))


@dataclass(frozen=True)
class Paraphraser:
    """Trains a paraphraser and rewrites dialogues with it."""

    minutes: float = 8.0
    """Of processor time for training; 0 loads what is in `out`."""
    dialogues: int = 300
    """To rewrite afterwards."""
    width: int = 144
    """Of the model."""
    layers: int = 3
    """Of the model."""
    heads: int = 4
    """Of the model."""
    batch: int = 24
    """Pairs a step."""
    rate: float = 3e-3
    """Highest learning rate."""
    order: Order = "users-first"
    """In which turns are rewritten."""
    retries: int = 2
    """Further attempts at a turn that was refused."""
    temperature: float = 0.7
    """Of sampling."""
    threads: int = 1
    """Cores that torch may use."""
    seed: int = 0
    """Of data, weights and sampling."""
    out: Path = Path("runs/paraphraser")
    """Folder of model, tokenizer and curve."""
    show: int = 2
    """Dialogues to print."""
    results: Path | None = RESULTS / "paraphraser.json"
    """File of figures to write; None writes nothing."""

    def run(self) -> dict[str, Any]:
        """Trains, saves, rewrites, prints; returns the figures."""
        import torch
        from rich.console import Console

        torch.set_num_threads(self.threads)
        world = load_world("films")
        if self.minutes > 0:
            # the seeds of dialogues to rewrite are whole numbers, this is none
            rng = random.Random(f"training {self.seed}")
            texts = [a_pair(rng, world).target for _ in range(20_000)]
            tokenizer = build_tokenizer(world, texts)
            model = build_model(tokenizer, self.width, self.layers, self.heads, self.seed)
            self.out.mkdir(parents=True, exist_ok=True)
            data = batches(rng, world, tokenizer, self.batch)
            steps = train(model, data, self.minutes, self.rate, self.out / "curve.jsonl")
            size = sum(p.numel() for p in model.parameters())
            trained = {"parameters": size, "minutes": self.minutes, "steps": steps}
            (self.out / "training.json").write_text(json.dumps(trained))
            model.save_pretrained(self.out)
            tokenizer.save_pretrained(self.out)
        paraphraser = LocalModel(self.out, batch_size=64)
        held_out = random.Random(self.seed)
        templated = [a_dialogue(held_out, n, world) for n in range(self.dialogues)]
        start = time.monotonic()
        dialogues, rates = rewrite(
            templated,
            paraphraser,
            world,
            order=self.order,
            retries=self.retries,
            temperature=self.temperature,
            seed=self.seed,
            style="short",
            progress=True,
        )
        seconds, total = time.monotonic() - start, rates.total
        console = Console()
        for dialogue in dialogues[: self.show]:
            console.print(dialogue.transcript(), highlight=False, markup=False)
            console.print()
        console.print(rates.table())
        figures: dict[str, Any] = {
            **json.loads((self.out / "training.json").read_text()),
            "turns": total.turns,
            "refused at first try": 1 - total.first / max(1, total.turns),
            "fallback": total.fallback / max(1, total.turns),
            "novel": novel(dialogues),
            "turns per second": total.turns / seconds,
        }
        for name, value in figures.items():
            console.print(
                f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"
            )
        figures |= {"world": world.hash, "order": self.order, "retries": self.retries}
        figures |= {"temperature": self.temperature, "rates": rates.to_json()}
        if self.results:
            self.results.write_text(json.dumps(figures, indent=1) + "\n")
        return figures


if __name__ == "__main__":
    tyro.cli(Paraphraser).run()
