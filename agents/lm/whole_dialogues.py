"""PPO over whole dialogues by TRL's PPOTrainer as it is (Interplay, section 3.5.2).

To TRL a dialogue is one response. The query is the number of a dialogue; the policy's `generate`
plays it, the user's words included, and its `forward` puts a point mass on every token that is not
the recommender's own: its log-probability is 0, its ratio 1, and no gradient flows. The reward
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
    """

    def __init__(self, start: Start, offset: int, pad: int) -> None:
        self.start, self.offset, self.pad = start, offset, pad
        self.played: dict[int, Played] = {}
        self.levels: dict[int, float] = {}

    def play(self, queries: torch.Tensor, model: Any) -> list[Played]:
        """The conversations of (B,) queries."""
        numbers = [int(query) - self.offset for query in queries]
        played = self.start.play(numbers, model)
        levels = others_mean([one.earned for one in played], self.start.args.group)
        self.played = dict(zip(numbers, played, strict=True))
        self.levels = dict(zip(numbers, levels.tolist(), strict=True))
        return played

    def own(self, queries: torch.Tensor, width: int) -> torch.Tensor:
        """(B, width) bool, which tokens of the responses to (B,) queries are the recommender's."""
        own = np.zeros((len(queries), width), bool)
        for i, one in enumerate(self._of(queries)):
            own[i, : len(one.learnt)] = one.learnt
        return torch.from_numpy(own).to(queries.device)

    def totals(self, queries: torch.Tensor) -> torch.Tensor:
        """(B,) returns, less what others returned with the same user."""
        numbers = [int(query) - self.offset for query in queries]
        totals = [self.played[n].earned - self.levels[n] for n in numbers]
        return torch.tensor(totals, device=queries.device)

    def _of(self, queries: torch.Tensor) -> list[Played]:
        return [self.played[int(query) - self.offset] for query in queries]


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
            `sequences` (B, 1 + T), query and dialogue, padded by one token or more; `scores`, T
            times (B, V).
        """
        played = self.stage.play(input_ids[:, 0], self.causal)
        shape = (len(played), max(len(one.ids) for one in played) + 1)
        responses = np.full(shape, self.stage.pad)
        for i, one in enumerate(played):
            responses[i, : len(one.ids)] = one.ids
        ids = torch.cat([input_ids, torch.from_numpy(responses).to(input_ids.device)], 1)
        seen = ids != self.stage.pad
        logits = self(ids.masked_fill(~seen, 0), seen).logits[:, :-1]
        scores = (logits / generation_config.temperature).unbind(1)
        return GenerateDecoderOnlyOutput(sequences=ids, scores=scores)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> CausalLMOutput:
        """`logits` (B, 1 + T, V) for queries and dialogues (B, 1 + T): those of the model where its
        own token follows, elsewhere a point mass. The model does not see the query.
        """
        ids, seen = input_ids[:, 1:], attention_mask[:, 1:].bool()
        rows, columns = self.stage.own(input_ids[:, 0], ids.shape[1]).nonzero(as_tuple=True)
        with models.logits_at(self.causal, (rows, columns - 1)), self._adapter():
            own = self.causal(input_ids=ids, attention_mask=seen.long(), use_cache=False).logits
        following = ids.masked_fill(~seen, self.stage.pad)[..., None]
        logits = own.new_full((*input_ids.shape, own.shape[-1]), _NEVER)
        logits[:, :-1].scatter_(2, following, 0.0)
        return CausalLMOutput(logits=logits.index_put((rows, columns), own))

    @contextmanager
    def _adapter(self) -> Iterator[None]:
        with nullcontext() if self.adapted else self.causal.disable_adapter():
            yield


class _Unasked(nn.Module):
    """A decoder that does not see the query; its last hidden states, 0 at the query."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> BaseModelOutput:
        hidden = self.decoder(
            input_ids=input_ids[:, 1:], attention_mask=attention_mask[:, 1:], use_cache=False
        ).last_hidden_state
        return BaseModelOutput(hidden_states=(nn.functional.pad(hidden, (0, 0, 1, 0)),))


class Critic(nn.Module):
    """Values (B, 1 + T, 1) after each token, by a decoder of its own."""

    base_model_prefix = "backbone"

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.backbone = _Unasked(decoder)
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
            played = self._stage.played.values()
            values["reward"] = float(np.mean([one.total for one in played]))
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
    critic = Critic(_decoder(model))
    pad = own_pad(start.tokenizer, model)
    stage = Stage(start, model.get_input_embeddings().num_embeddings, pad)
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
