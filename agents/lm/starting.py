"""What a reinforcement learner of language models starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from agents.lm import models
from agents.lm.arena import Arena
from agents.lm.args import RLArgs
from agents.lm.chats import ChatFormat
from agents.lm.rollouts import Played
from agents.lm.users import opponent
from agents.lm.watching import Watch
from crs_gym.language.card import Card


@dataclass
class Start:
    """A recommender to be trained, and whom it talks to.

    args: of the run. arena: users. tokenizer, model: of Hugging Face, with LoRA's matrices if
    these are asked for. chat: of the tokenizer. card: what the model was trained for. reference:
    the model that it is held to; None for itself as it is at the beginning.
    """

    args: RLArgs
    arena: Arena
    tokenizer: Any
    model: Any
    chat: ChatFormat
    card: Card
    reference: Any = None

    @classmethod
    def of(cls, args: RLArgs) -> Start:
        """Loads all that arguments name.

        Raises:
            OSError: there is no such model.
            ValueError: no such device, user or world; a tokenizer without a chat template or
                without our tags; a model that plays users or knows another world's films.
        """
        models.set_up(args)
        user = opponent(args.user, args.seed, args.device, args.max_turn)
        arena = Arena.of(args.world, user, args.env_kwargs, args.seed)
        tokenizer, model, card = models.load_recommender(args.model, arena.world)
        model = with_lora(model, args.lora)
        return cls(args, arena, tokenizer, model, ChatFormat(tokenizer), card)

    @property
    def learnt_card(self) -> Card:
        """That of the model when it has learnt."""
        return replace(self.card, temperature=self.args.temperature)

    def watch(self) -> Watch:
        """To validate and log with."""
        return Watch.of(self.args, self.arena, self.chat, self.card.system)

    def play(self, numbers: Sequence[int] | np.ndarray, model: Any) -> list[Played]:
        """Training conversations, each of whose scenarios is that of a whole group; what is drawn
        in them follows from the seed and the first number.
        """
        args = self.args
        drawn = np.random.SeedSequence([args.seed, int(numbers[0])]).generate_state(1)
        return self.arena.play(
            np.asarray(numbers) // args.group,
            model,
            self.chat,
            words=args.learn == "turns",
            illegal_cost=args.illegal_cost,
            dense=args.dense,
            system=self.card.system,
            temperature=args.temperature,
            seed=int(drawn[0]),
            max_turn=args.max_turn,
            bf16=args.bf16,
        )


def with_lora(model: Any, rank: int) -> Any:
    """The model with LoRA's matrices on its linear layers; itself for rank 0."""
    config = models.lora(rank)
    if config is None:
        return model
    from peft import get_peft_model

    return get_peft_model(model, config)
