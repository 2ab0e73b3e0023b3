"""PPO over whole dialogues by TRL's PPOTrainer as it is (Interplay, section 3.5.2).

To TRL a dialogue is one response. The query is the number of a dialogue. The policy's `generate`
plays it, and its response is what is learnt from: the recommender's own tokens, one after another.
Its `forward` reads the dialogue with all that the user said, and gives the logits before each of
these tokens alone, so that nothing else has a log-probability, a value or a gradient. The reward
model hands on the dialogue's return.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from transformers.generation import GenerateDecoderOnlyOutput
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput
from trl.experimental.ppo import PPOConfig, PPOTrainer

from agents.lm import models, states
from agents.lm.credit import others_mean
from agents.lm.per_turn import Dialogues
from agents.lm.rollouts import Played
from agents.lm.starting import Start
from agents.lm.watching import Watch

if TYPE_CHECKING:
    from agents.lm.ppo import Args

# a logit that no other comes up to; with -inf, 0 times it would not be a number
_NEVER = -1e9


class Stage:
    """Where dialogues are played, and what came of those of the last rollout.

    Args:
        start: gives users and chat format.
        offset: what is added to a dialogue's number in a query, so that it is no token.
        pad: token for padding.
        at_once: dialogues that are computed together.
    """

    def __init__(self, start: Start, offset: int, pad: int, at_once: int) -> None:
        self.start, self.offset, self.pad, self.at_once = start, offset, pad, at_once
        self.played: list[Played] = []
        self._places: dict[int, int] = {}
        self._dialogues: Dialogues
        self._totals: torch.Tensor

    def play(self, queries: torch.Tensor, model: Any) -> torch.Tensor:
        """The conversations of (B,) queries; their own tokens (B, K), padded by one or more."""
        numbers = [int(query) - self.offset for query in queries]
        self.played = self.start.play(numbers, model)
        self._places = {number: place for place, number in enumerate(numbers)}
        made = self._dialogues = Dialogues.of(self.played, self.pad)
        earned = np.array([one.earned for one in self.played])
        levels = others_mean(earned.tolist(), self.start.args.group)
        self._totals = torch.from_numpy((earned - levels).astype(np.float32))
        tokens = made.tokens.masked_fill(~made.own, self.pad)
        return nn.functional.pad(tokens, (0, 1), value=self.pad).to(queries.device)

    def totals(self, queries: torch.Tensor) -> torch.Tensor:
        """(B,) returns, less what others returned with the same user."""
        return self._totals[self._rows(queries)].to(queries.device)

    def parts(self, queries: torch.Tensor) -> Iterator[tuple[torch.Tensor, Dialogues]]:
        """The dialogues of (B,) queries by length, so many together as are computed at a time:
        hardly any padding. Which queries they are, and the dialogues.
        """
        rows = self._rows(queries)
        lengths = self._dialogues.seen.sum(1)[rows]
        for some in lengths.argsort(stable=True).split(self.at_once):
            yield some.to(queries.device), self._dialogues[rows[some]].to(queries.device)

    def _rows(self, queries: torch.Tensor) -> torch.Tensor:
        return torch.tensor([self._places[int(query) - self.offset] for query in queries])


class Policy(nn.Module):
    """A recommender as TRL's policy.

    Args:
        causal: a causal language model of Hugging Face.
        stage: where it plays.
        adapted: whether LoRA's matrices count, if there are any.
    """

    is_gradient_checkpointing = False

    def __init__(self, causal: Any, stage: Stage, adapted: bool = True) -> None:
        super().__init__()
        self.causal, self.stage, self.adapted = causal, stage, adapted
        self.config, self.generation_config = causal.config, causal.generation_config

    def generate(
        self, input_ids: torch.Tensor, generation_config: Any, **_: Any
    ) -> GenerateDecoderOnlyOutput:
        """Plays the dialogues of (B, 1) queries.

        Returns:
            `sequences` (B, 1 + K), query and own tokens, padded by one or more; `scores`, K times
            (B, V).
        """
        ids = torch.cat([input_ids, self.stage.play(input_ids[:, 0], self.causal)], 1)
        scores = self(ids).logits[:, :-1] / generation_config.temperature
        return GenerateDecoderOnlyOutput(sequences=ids, scores=scores.unbind(1))

    def forward(self, input_ids: torch.Tensor, **_: Any) -> CausalLMOutput:
        """`logits` (B, 1 + K, V) for queries and own tokens (B, 1 + K): each place's are those of
        the token that follows; where none does, padding is certain.
        """
        rows, columns, pieces = [], [], []
        with self._adapter():
            for some, part in self.stage.parts(input_ids[:, 0]):
                with models.logits_at(self.causal, part.before.nonzero(as_tuple=True)):
                    pieces.append(_read(self.causal, part).logits)
                row, column = part.own.nonzero(as_tuple=True)
                rows.append(some[row])
                columns.append(column)
        own = torch.cat(pieces)
        logits = own.new_full((*input_ids.shape, own.shape[-1]), _NEVER)
        logits[..., self.stage.pad] = 0.0
        return CausalLMOutput(logits=logits.index_put((torch.cat(rows), torch.cat(columns)), own))

    @contextmanager
    def _adapter(self) -> Iterator[None]:
        with nullcontext() if self.adapted else self.causal.disable_adapter():
            yield


class _Reader(nn.Module):
    """A decoder's last hidden states before each own token, 0 where none follows."""

    def __init__(self, decoder: Any, stage: Stage) -> None:
        super().__init__()
        self.decoder, self.stage = decoder, stage

    def forward(self, input_ids: torch.Tensor, **_: Any) -> BaseModelOutput:
        width = self.decoder.config.get_text_config().hidden_size
        hidden = torch.zeros(*input_ids.shape, width, device=input_ids.device)
        for some, part in self.stage.parts(input_ids[:, 0]):
            found = _read(self.decoder, part).last_hidden_state[part.before]
            row, column = part.own.nonzero(as_tuple=True)
            hidden = hidden.index_put((some[row], column), found.to(hidden.dtype))
        return BaseModelOutput(hidden_states=(hidden,))


def _read(model: Any, part: Dialogues) -> Any:
    return model(input_ids=part.ids, attention_mask=part.seen, use_cache=False)


class Critic(nn.Module):
    """Values (B, 1 + K, 1) before each own token, by a decoder of its own."""

    base_model_prefix = "backbone"

    def __init__(self, decoder: Any, stage: Stage) -> None:
        super().__init__()
        self.backbone = _Reader(decoder, stage)
        self.score = nn.Linear(decoder.config.get_text_config().hidden_size, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)


class _Returns(nn.Module):
    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, input_ids: torch.Tensor, **_: Any) -> BaseModelOutput:
        totals = self.stage.totals(input_ids[:, 0])
        return BaseModelOutput(hidden_states=(totals[:, None, None].expand(*input_ids.shape, 1),))


class Reward(nn.Module):
    """What a dialogue returned beyond others with the same user, at each of its tokens."""

    base_model_prefix = "backbone"

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.backbone, self.score = _Returns(stage), nn.Identity()


class Watching(TrainerCallback):
    """Validations and checkpoints, and minibatches that follow from the seed and the update.

    Args:
        policy: what is validated.
        stage: where it plays.
        trained: policy and critic, as TRL wraps them.
        first: updates that are behind the run.
        watch: None on all processes but the main one.
    """

    def __init__(
        self,
        args: Args,
        policy: Any,
        stage: Stage,
        trained: Any,
        optimiser: Any,
        first: int,
        watch: Watch | None,
    ) -> None:
        self._args, self._policy, self._stage, self._trained = args, policy, stage, trained
        self._optimiser, self._first, self._watch = optimiser, first, watch

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._watch is not None and not self._first:
            self._watch.validate(self._policy, 0)
        self._seed(self._first)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        update = self._first + state.global_step
        watch = self._watch
        if watch is not None and watch.due(update):
            watch.validate(self._policy, update)
            states.save(
                self._args.out, self._trained, self._optimiser, update, self._args.keep_checkpoints
            )
        self._seed(update)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if self._watch is not None:
            values = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
            values["reward"] = float(np.mean([one.total for one in self._stage.played]))
            self._watch.log(values, self._first + state.global_step)

    def _seed(self, update: int) -> None:
        # the trainer shuffles by NumPy's global generator
        np.random.seed(np.random.SeedSequence([self._args.seed, update]).generate_state(1)[0])  # noqa: NPY002


def own_pad(tokenizer: Any, model: Any) -> int:
    """A token for padding that ends no turn and that the model never writes; its number.

    TRL takes the first token for padding as a response's end.
    """
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": "<|padding|>"})
        if len(tokenizer) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(tokenizer))
    pad = int(tokenizer.pad_token_id)

    def never(_: Any, __: Any, result: Any) -> None:
        result.logits[..., pad] = _NEVER

    model.register_forward_hook(never)
    return pad


@models.no_denormals()
def train(start: Start, args: Args) -> Any:
    """Trains, from the newest checkpoint on where there is one; the language model."""
    model = start.model
    pad = own_pad(start.tokenizer, model)
    stage = Stage(start, model.get_input_embeddings().num_embeddings, pad, args.micro_batch)
    critic = Critic(_decoder(model), stage)
    if args.lora:
        reference = Policy(model, stage, adapted=False)
    else:
        frozen = copy.deepcopy(model).requires_grad_(False)
        reference = Policy(frozen, stage)
    policy = Policy(model, stage)
    trained = nn.ModuleDict({"policy": policy, "critic": critic})
    learnt = [p for p in trained.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(learnt, lr=args.learning_rate, eps=args.adam_eps)
    first = states.restore(args.out, trained, optimiser)
    if first < args.updates:
        _train(start, args, policy, reference, critic, optimiser, first)
    return model


def _train(
    start: Start, args: Args, policy: Any, reference: Any, critic: Any, optimiser: Any, first: int
) -> None:
    config = _config(args, first)
    watch = start.watch() if models.is_main() else None
    trained = nn.ModuleDict({"policy": policy, "critic": critic})
    try:
        if watch is not None:
            watch.forget(first)
        rows = _queries(policy.stage, args, first)
        trainer = PPOTrainer(
            config,
            start.tokenizer,
            policy,
            reference,
            Reward(policy.stage),
            rows,
            critic,
            optimizers=(optimiser, _schedule(optimiser, args, first)),
            callbacks=[
                Watching(args, policy.causal, policy.stage, trained, optimiser, first, watch)
            ],
        )
        # its own loader shuffles: a run that goes on needs the dialogues in order
        loader = DataLoader(
            rows, batch_size=config.local_batch_size, collate_fn=trainer.data_collator
        )
        trainer.dataloader = trainer.accelerator.prepare(loader)
        trainer.train()
        if models.is_main():
            models.write_history(trainer, args.out)
    finally:
        if watch is not None:
            watch.close()


def _config(args: Args, first: int) -> Any:
    share = args.batch_size // models.processes()
    return PPOConfig(
        output_dir=str(args.out / "trainer"),
        per_device_train_batch_size=share,
        gradient_accumulation_steps=1,
        num_mini_batches=share // args.minibatch_size,
        local_rollout_forward_batch_size=share,
        total_episodes=(args.updates - first) * args.batch_size,
        num_ppo_epochs=args.epochs,
        num_sample_generations=0,
        kl_coef=args.kl_coef,
        cliprange=args.clip,
        vf_coef=args.value_coef,
        gamma=1.0,
        lam=1.0,
        temperature=args.temperature,
        save_strategy="no",
        logging_steps=1,
        seed=args.seed,
        disable_tqdm=not args.progress,
        report_to="none",
        **models.shared_arguments(args),
    )


def _queries(stage: Stage, args: Args, first: int) -> Any:
    """A row for each conversation that is still to be played."""
    from datasets import Dataset

    numbers = range(first * args.batch_size, args.updates * args.batch_size)
    return Dataset.from_dict({"input_ids": [[stage.offset + n] for n in numbers]})


def _schedule(optimiser: Any, args: Args, first: int) -> Any:
    def share(step: int) -> float:
        return 1 - 0.9 * (first + step) / args.updates

    return torch.optim.lr_scheduler.LambdaLR(optimiser, share)


def _decoder(model: Any) -> Any:
    """A copy of a causal model without its head, all of it trained."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    copied = copy.deepcopy(plain)
    decoder = getattr(copied, copied.base_model_prefix)
    return decoder.requires_grad_(True)
