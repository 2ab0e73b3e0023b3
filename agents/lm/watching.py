"""Training watched: validations with held-out users, dialogues to read, curves, tracking."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

from agents import store
from agents.lm.arena import Arena, Figures, write_samples
from agents.lm.args import RLArgs
from agents.lm.chats import ChatFormat
from agents.lm.rollouts import Played
from agents.tracking import Tracker, track


class Watch:
    """Validates, writes `curve.json` and `samples/`, and logs to Weights & Biases if asked to.

    Args:
        args: of the run.
        validate: how a model does, and the conversations it was measured by.

    Attributes:
        curve: a point for each validation: update, seconds, and `Figures`.
    """

    def __init__(
        self, args: RLArgs, validate: Callable[[Any], tuple[Figures, list[Played]]]
    ) -> None:
        self.args, self._measure = args, validate
        self._path = args.out / "curve.json"
        self.curve: list[dict[str, float]] = []
        if self._path.is_file():
            self.curve = json.loads(self._path.read_text(encoding="utf-8"))
        self._seconds = self.curve[-1]["seconds"] if self.curve else 0.0
        self._since = time.perf_counter()
        self.tracker: Tracker | None = None
        if args.track:
            config = {k: str(v) for k, v in dataclasses.asdict(args).items()}
            self.tracker = track(args.wandb_project, args.out, config)

    @classmethod
    def of(cls, args: RLArgs, arena: Arena, chat: ChatFormat, system: str) -> Watch:
        """Of a recommender in conversations with the held-out users of an arena."""

        def validate(model: Any) -> tuple[Figures, list[Played]]:
            return arena.validate(
                model,
                chat,
                args.validation_episodes,
                system=system,
                temperature=args.temperature,
                max_turn=args.max_turn,
                bf16=args.bf16,
            )

        return cls(args, validate)

    def due(self, update: int) -> bool:
        """Whether there is to be a validation after so many updates."""
        return update % self.args.validate_every == 0 or update == self.args.updates

    def log(self, values: dict[str, float], update: int) -> None:
        """Figures of an update."""
        if self.tracker is not None:
            self.tracker.log(values, update)

    def validate(self, model: Any, update: int) -> dict[str, float] | None:
        """After so many updates, once: a validation that was made before is not made again."""
        if not self.args.validation_episodes or any(p["update"] == update for p in self.curve):
            return None
        self._seconds += time.perf_counter() - self._since
        found, played = self._measure(model)
        point = {"update": update, "seconds": round(self._seconds, 1), **found.as_dict()}
        self.curve.append(point)
        store.write_json(self._path, self.curve)
        text = write_samples(played, self.args.out / "samples" / f"{update:06d}.txt")
        names = ("reward", "success", "turns", "understood", "legal", "cut")
        shown = ", ".join(f"{name} {point[name]:.3f}" for name in names)
        if self.args.progress:
            print(f"\nheld-out users after update {update}: {shown}", flush=True)
        if self.tracker is not None:
            values: dict[str, Any] = {f"validation/{k}": v for k, v in found.as_dict().items()}
            self.tracker.log({**values, "samples": self.tracker.text(text)}, update)
        self._since = time.perf_counter()
        return point

    def forget(self, update: int) -> None:
        """Drops what came after an update that a run goes on from."""
        self.curve = [point for point in self.curve if point["update"] <= update]
        self._seconds = self.curve[-1]["seconds"] if self.curve else 0.0
        self._since = time.perf_counter()

    def close(self) -> None:
        if self.tracker is not None:
            if self.curve:
                self.tracker.summarise(self.curve[-1])
            self.tracker.close()
