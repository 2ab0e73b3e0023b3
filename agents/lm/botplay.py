"""Self-play: recommender and user are trained in turn, each against past versions of the other.

    python -m agents.lm.botplay --model runs/sft --user-model runs/sft-user --out runs/botplay

The game is cooperative (GoRecDial): both are rewarded with how good the accepted film is for the
user's taste, less what turns cost. In each round the recommender learns against a pool of all users
so far, the supervised one among them, then the user against all recommenders. Every round of a side
is a run of `agents.lm.ppo` in a folder of its own (`OUT/recommender-1`, `OUT/user-1`, ...), so a
killed training goes on with --resume. Both are held to the supervised models by the divergence.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from agents.lm import models, ppo
from agents.lm.chats import ChatFormat
from agents.lm.evaluate import finished
from agents.lm.models import FINAL, Card
from crs_gym.dialogue import NotUnderstood, UserTurn
from crs_gym.envs.text import Person, Situation


@dataclass
class Args(ppo.Args):
    """Trains both sides in turn; `user` is not used."""

    out: Path = Path("runs/botplay")
    """folder of the run"""
    user_model: str = ""
    """folder of a supervised user"""
    rounds: int = 2
    """how often each side learns"""
    updates: int = 50
    """of each side in a round"""


@dataclass(frozen=True)
class Version:
    """A model at some time of the training.

    name: as of its run. folder: of its weights. model, chat, card: as loaded from there.
    """

    name: str
    folder: Path
    model: Any
    chat: ChatFormat
    card: Card

    @classmethod
    def load(cls, folder: str | Path) -> Version:
        """Loads a model, or the finished one of a run."""
        folder = finished(Path(folder))
        tokenizer, model = models.load(folder)
        model.eval().requires_grad_(False)
        name = models.name_of(folder)
        return cls(name, folder, model, ChatFormat(tokenizer), models.card_of(folder))


class Pool:
    """An `Opponent`: for each batch of conversations one of several users, evenly drawn.

    Args:
        users: at least one.
        seed: of the draws; the n-th batch has the same user whatever came before.
    """

    def __init__(self, users: Sequence[Any], seed: int) -> None:
        self.users, self.seed, self.batches = users, seed, 0
        self._now = users[0]

    @property
    def kind(self) -> str:
        return "lm:pool of " + ", ".join(user.name for user in self.users)

    def greet(self, persons: Sequence[Person]) -> list[str]:
        draw = np.random.default_rng([self.seed, persons[0].seed])
        self._now = self.users[int(draw.integers(len(self.users)))]
        self._now.seed = int(draw.integers(2**31))
        greetings: list[str] = self._now.greet(persons)
        return greetings

    def respond(self, situations: Sequence[Situation]) -> list[UserTurn | NotUnderstood]:
        turns: list[UserTurn | NotUnderstood] = self._now.respond(situations)
        return turns


def train(args: Args) -> tuple[Path, Path]:
    """Trains; the folders of the last recommender and of the last user.

    Raises:
        ValueError, OSError: as `agents.lm.ppo.train`; no user.
    """
    if not args.user_model:
        raise ValueError("name the folder of a supervised user: --user-model runs/sft-user")
    models.begin(args.out, models.settings(args), args.resume)
    recommenders, users = [Version.load(args.model)], [Version.load(args.user_model)]
    if users[0].card.role != "user":
        raise ValueError(f"{args.user_model} holds a {users[0].card.role}, not a user")
    for number in range(1, args.rounds + 1):
        for side, own, others in (
            ("recommender", recommenders, users),
            ("user", users, recommenders),
        ):
            out = args.out / f"{side}-{number}"
            if not (out / FINAL / "config.json").is_file():
                _round(args, out, own, others)
            own.append(Version.load(out))
    return recommenders[-1].folder, users[-1].folder


def _round(args: Args, out: Path, own: Sequence[Version], others: Sequence[Version]) -> None:
    """One side learns against all versions of the other."""
    from agents.lm import per_turn
    from agents.lm.starting import PooledStart

    names = {field.name for field in dataclasses.fields(ppo.Args)}
    values = {name: getattr(args, name) for name in names}
    values |= {"model": str(own[-1].folder), "out": out, "variant": "turns", "resume": True}
    settings = ppo.Args(**values)
    ppo.check(settings)
    models.begin(out, models.settings(settings), True)
    start = PooledStart.against(settings, own[0], others)
    model = per_turn.train(start, settings)
    models.save(models.merged(model), start.tokenizer, start.card, out / FINAL)


if __name__ == "__main__":
    print(*train(tyro.cli(Args, description=__doc__)), sep="\n")
