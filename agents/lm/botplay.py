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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from agents.lm import models, ppo
from agents.lm.arena import Arena, Figures
from agents.lm.chats import ChatFormat
from agents.lm.rollouts import Played
from agents.lm.starting import Start, with_lora
from agents.lm.users import PlayedUser
from agents.lm.watching import Watch
from crs_gym.dialogue import NotUnderstood, UserTurn
from crs_gym.envs.text import Person, Situation
from crs_gym.language.card import FINAL, Card, Role, card_of, trained
from crs_gym.language.weights import find_device

ROLES: tuple[tuple[Role, Role], ...] = (("recommender", "user"), ("user", "recommender"))
"""Who learns, and against whom, in the order of a round."""


@dataclass(kw_only=True)
class Args(ppo.Args):
    """Trains both sides in turn, by PPO with a reward for every turn."""

    out: Path = Path("runs/botplay")
    """folder of the run"""
    user_model: str = ""
    """folder of a supervised user"""
    rounds: int = 2
    """how often each side learns"""
    updates: int = 50
    """of each side in a round"""
    user: tyro.conf.Suppress[str] = "icer"
    variant: tyro.conf.Suppress[Literal["turns", "dialogues"]] = "turns"


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
    def load(cls, source: str | Path, role: Role, device: str = "cpu") -> Version:
        """Loads a model, or the finished one of a run.

        Raises:
            OSError, DataError: see `trained`, `models.load` and `card_of`.
            ValueError: it was trained to play the other side; no such device.
        """
        folder = Path(trained(source))
        card = card_of(folder) or Card()
        if card.role != role:
            raise ValueError(f"{folder} was trained to play the {card.role}, not the {role}")
        tokenizer, model = models.load(folder)
        model.eval().requires_grad_(False).to(find_device(device))
        return cls(models.name_of(folder), folder, model, ChatFormat(tokenizer), card)


class Pool:
    """An `Opponent`: for each batch of conversations one of several users, evenly drawn.

    Args:
        users: at least one.
        seed: of the draws; the n-th batch has the same user whatever came before.
    """

    def __init__(self, users: Sequence[Any], seed: int) -> None:
        self.users, self.seed = users, seed
        self._now = users[0]

    @property
    def kind(self) -> str:
        return "lm:pool of " + ", ".join(user.name for user in self.users)

    def greet(self, persons: Sequence[Person]) -> list[str]:
        draw = np.random.default_rng([self.seed, persons[0].seed])
        self._now = self.users[int(draw.integers(len(self.users)))]
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
    versions: dict[Role, list[Version]] = {
        "recommender": [Version.load(args.model, "recommender", args.device)],
        "user": [Version.load(args.user_model, "user", args.device)],
    }
    for number in range(1, args.rounds + 1):
        for role, other in ROLES:
            out = args.out / f"{role}-{number}"
            if not (out / FINAL / "config.json").is_file():
                _round(args, out, versions[role], versions[other])
            versions[role].append(Version.load(out, role, args.device))
    return versions["recommender"][-1].folder, versions["user"][-1].folder


def _round(args: Args, out: Path, own: Sequence[Version], others: Sequence[Version]) -> None:
    """One side learns against all versions of the other."""
    from accelerate import PartialState

    from agents.lm import per_turn

    names = {field.name for field in dataclasses.fields(ppo.Args)}
    values = {name: getattr(args, name) for name in names}
    values |= {"model": str(own[-1].folder), "out": out, "variant": "turns", "resume": True}
    settings = ppo.Args(**values)
    ppo.check(settings)
    models.begin(out, models.settings(settings) | models.started_from(settings.model), True)
    start = _start(settings, own[0], others)
    model = per_turn.train(start, settings)
    if models.is_main():
        models.save(models.merged(model), start.tokenizer, start.learnt_card, out / FINAL)
    # the others are to find it
    PartialState().wait_for_everyone()


def _start(args: ppo.Args, first: Version, others: Sequence[Version]) -> Start:
    """The newest version of one side, held to its first, and the other's to learn against."""
    models.set_up(args)
    tokenizer, model = models.load(args.model)
    parts = tokenizer, with_lora(model, args.lora), ChatFormat(tokenizer), first.card
    if first.card.role == "user":
        arena = Arena.of(args.world, "icer", args.env_kwargs, args.seed)
        return UserStart(args, arena, *parts, first.model, list(others))
    users = [
        PlayedUser(
            other.model, other.chat, name=other.name, rules=other.card.rules,
            temperature=args.temperature, seed=args.seed, max_turn=args.max_turn,
        )
        for other in others
    ]  # fmt: skip
    arena = Arena.of(args.world, Pool(users, args.seed), args.env_kwargs, args.seed)
    return Start(args, arena, *parts, first.model)


@dataclass
class UserStart(Start):
    """A user to be trained, and the recommenders that it talks to.

    others: versions of a recommender; each batch is played with one of them, evenly drawn.
    """

    others: list[Version] = field(default_factory=list)

    def watch(self) -> Watch:
        return Watch(self.args, self._validate)

    def play(self, numbers: Sequence[int] | np.ndarray, model: Any) -> list[Played]:
        draw = np.random.default_rng([self.args.seed, int(numbers[0])])
        other = self.others[int(draw.integers(len(self.others)))]
        user = self._user(model)
        arena = self.arena.with_user(user)
        options = self._options(other, int(draw.integers(2**31)))
        scenarios = np.asarray(numbers) // self.args.group
        arena.play(scenarios, other.model, other.chat, **options)
        return user.played(arena.train)

    def _validate(self, model: Any) -> tuple[Figures, list[Played]]:
        """With the newest recommender."""
        other = self.others[-1]
        arena = self.arena.with_user(self._user(model))
        episodes = self.args.validation_episodes
        return arena.validate(other.model, other.chat, episodes, **self._options(other, 0))

    def _user(self, model: Any) -> PlayedUser:
        return PlayedUser(
            model, self.chat, rules=self.card.rules, temperature=self.args.temperature,
            seed=self.args.seed, max_turn=self.args.max_turn,
        )  # fmt: skip

    def _options(self, other: Version, seed: int) -> dict[str, Any]:
        return {
            "system": other.card.system,
            "temperature": self.args.temperature,
            "seed": seed,
            "max_turn": self.args.max_turn,
            "bf16": self.args.bf16,
        }


if __name__ == "__main__":
    print(*train(tyro.cli(Args, description=__doc__)), sep="\n")
