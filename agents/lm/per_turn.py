"""PPO with a reward for every turn (Schulman et al., 2017), on parts of TRL.

Advantages (GAE) run over the recommender's own tokens alone: what follows the last token of a turn
is the first of its next, whatever the user says in between. The reward of a turn is that of its
last token; every token pays for its divergence from the model that was started from.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from tqdm import tqdm
from trl.experimental.ppo import AutoModelForCausalLMWithValueHead
from trl.experimental.ppo.ppo_trainer import masked_whiten
from trl.trainer.utils import disable_dropout_in_model, selective_log_softmax

from agents.lm import models, states
from agents.lm.credit import near_advantages, turns_level
from agents.lm.rollouts import Played
from agents.lm.starting import Start
from crs_gym.language import weights

if TYPE_CHECKING:
    from agents.lm.ppo import Args


class Dialogues(NamedTuple):
    """B dialogues of at most T tokens, K of them own, which is learnt from, padded at the end.

    ids: (B, T) tokens. seen: (B, T) 1 for these, 0 for padding. before: (B, T) bool, the places
    that an own token follows. tokens: (B, K) the own ones. own: (B, K) bool, which of these there
    are. ends: (B, K) bool, the last tokens of turns. rewards: (B, K) of turns, at their ends.
    levels: (B, K) what values are counted from: what others with the same user had still to come.
    bonus: (B, K) added to advantages: how much nearer than others a turn came.
    """

    ids: torch.Tensor
    seen: torch.Tensor
    before: torch.Tensor
    tokens: torch.Tensor
    own: torch.Tensor
    ends: torch.Tensor
    rewards: torch.Tensor
    levels: torch.Tensor
    bonus: torch.Tensor

    @classmethod
    def of(
        cls, played: Sequence[Played], pad: int, group: int = 1, decay: float = 0.0
    ) -> Dialogues:
        """Of conversations that are over, those of a group beside each other.

        decay: of what came near, see `near_advantages`.
        """
        # a user whom no recommender asked has said nothing
        count, long = len(played), max(1, *(len(one.ids) for one in played))
        most = max(1, *(sum(one.learnt) for one in played))
        ids, seen = np.full((count, long), pad), np.zeros((count, long), np.int64)
        before = np.zeros((count, long), bool)
        tokens, own = np.zeros((count, most), np.int64), np.zeros((count, most), bool)
        ends, rewards = np.zeros((count, most), bool), np.zeros((count, most), np.float32)
        for i, one in enumerate(played):
            mine = np.array(one.learnt, bool)
            ids[i, : len(mine)], seen[i, : len(mine)] = one.ids, 1
            before[i, : max(0, len(mine) - 1)] = mine[1:]
            tokens[i, : mine.sum()], own[i, : mine.sum()] = np.array(one.ids, int)[mine], True
            last = np.cumsum(mine)[np.array(one.ends, int)] - 1
            ends[i, last], rewards[i, last] = True, one.rewards
        turn = np.cumsum(ends, 1) - ends
        found = turns_level([one.rewards for one in played], group).astype(np.float32)
        turn = np.minimum(turn, found.shape[1] - 1)
        levels = np.take_along_axis(found, turn, 1) * own
        bonus = np.zeros_like(levels)
        if played[0].near is not None:
            near = near_advantages([one.near or () for one in played], group, decay)
            for i, mine in enumerate(near):
                bonus[i] = mine[np.minimum(turn[i], len(mine) - 1)] * own[i]
        made = ids, seen, before, tokens, own, ends, rewards, levels, bonus
        return cls(*map(torch.from_numpy, made))

    def __getitem__(self, rows: Any) -> Dialogues:
        """Some of them, no wider than they need be."""
        some = [x[rows] for x in self]
        long, most = (max(1, int(some[n].sum(1).max())) for n in (1, 4))
        return Dialogues(*(x[:, :long] for x in some[:3]), *(x[:, :most] for x in some[3:]))

    def to(self, device: Any) -> Dialogues:
        return Dialogues(*(x.to(device) for x in self))


class Rollout(NamedTuple):
    """What an update learns from, each (B, K): as of the policy that played, and what follows.

    returns: what values are fitted to, less the levels.
    """

    logprobs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


def gae(
    rewards: torch.Tensor, values: torch.Tensor, ends: torch.Tensor, decay: float
) -> torch.Tensor:
    """Generalised advantages, undiscounted, with a lambda of 1 within turns.

    A turn is one decision, of which its first tokens decide the most and its last is rewarded.

    Args:
        rewards, values: (B, K), 0 beyond the end.
        ends: (B, K) bool, the last tokens of turns.
        decay: lambda from turn to turn.

    Returns:
        (B, K)
    """
    found = torch.zeros_like(values)
    advantage = following = torch.zeros_like(values[:, 0])
    for k in reversed(range(values.shape[1])):
        kept = torch.where(ends[:, k], decay, 1.0)
        advantage = rewards[:, k] + following - values[:, k] + kept * advantage
        found[:, k], following = advantage, values[:, k]
    return found


def look(
    model: Any, dialogues: Dialogues, temperature: float
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Log-probabilities of the own tokens and values before each, (B, K), 0 where there are none.

    Args:
        model: a causal model, or one of TRL's with a value head (else there are no values).
    """
    places = dialogues.before.nonzero(as_tuple=True)
    inner = _unwrapped(model)
    with models.logits_at(getattr(inner, "pretrained_model", inner), places):
        result = model(input_ids=dialogues.ids, attention_mask=dialogues.seen, use_cache=False)
    logits, values = (result[0], result[2]) if isinstance(result, tuple) else (result.logits, None)
    tokens = dialogues.tokens[dialogues.own]
    # it goes over its first axis one by one
    logprobs = selective_log_softmax(logits.float()[None] / temperature, tokens[None])[0]
    nothing = torch.zeros(dialogues.own.shape, device=logprobs.device)
    spread = nothing.masked_scatter(dialogues.own, logprobs)
    if values is None:
        return spread, None
    return spread, nothing.masked_scatter(dialogues.own, values[places].float())


class Learner:
    """The model with its values, the optimiser, and the model that was started from."""

    def __init__(self, start: Start, args: Args) -> None:
        self.start, self.args = start, args
        on_cpu = weights.find_device(args.device).type == "cpu"
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision="bf16" if args.bf16 else "no")
        disable_dropout_in_model(start.model)
        self._reference: Any = start.reference
        if self._reference is None and not args.lora:
            self._reference = copy.deepcopy(start.model).eval().requires_grad_(False)
        if self._reference is not None:
            self._reference.to(self.accelerator.device)
        model = AutoModelForCausalLMWithValueHead.from_pretrained(
            start.model, summary_dropout_prob=0.0
        )
        torch.nn.init.zeros_(model.v_head.summary.weight)
        torch.nn.init.zeros_(model.v_head.summary.bias)
        trained = [p for p in start.model.parameters() if p.requires_grad]
        groups = [
            {"params": trained, "rate": args.learning_rate},
            {"params": list(model.v_head.parameters()), "rate": args.value_learning_rate},
        ]
        optimiser = torch.optim.Adam(groups, lr=args.learning_rate, eps=args.adam_eps)
        self.model, self.optimiser = self.accelerator.prepare(model, optimiser)

    @property
    def whole(self) -> Any:
        """The model with its values, however it is wrapped."""
        return self.accelerator.unwrap_model(self.model)

    @property
    def policy(self) -> Any:
        """The language model."""
        return self.whole.pretrained_model

    def play(self, update: int) -> list[Played]:
        """The conversations of an update: those of number update * batch_size and on."""
        share = self.args.batch_size // self.accelerator.num_processes
        first = update * self.args.batch_size + self.accelerator.process_index * share
        return self.start.play(np.arange(first, first + share), self.policy)

    def update(self, update: int) -> dict[str, float]:
        """One rollout and what is learnt from it; its figures, over all processes."""
        args, device = self.args, self.accelerator.device
        played = self.play(update)
        pad = int(self.start.tokenizer.pad_token_id)
        dialogues = Dialogues.of(played, pad, args.group, args.gae_lambda).to(device)
        rollout, kl = self._assess(dialogues)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * (1 - 0.9 * update / args.updates)
        draws = np.random.default_rng([args.seed, update, self.accelerator.process_index])
        found: list[dict[str, float]] = []
        for _ in range(args.epochs):
            order = torch.from_numpy(draws.permutation(len(played)))
            parts = order.split(args.minibatch_size)
            found += [
                self._step(dialogues, rollout, rows, update < args.value_warmup) for rows in parts
            ]
            if np.mean([x["approx_kl"] for x in found[-len(parts) :]]) > args.target_kl:
                break
        turns = [exchange for one in played for exchange in one.exchanges]
        figures = {
            "reward": np.mean([one.total for one in played]),
            "turns": len(turns) / len(played),
            "understood": np.mean([exchange.heard.act is not None for exchange in turns]),
            "kl": kl,
            "entropy": -float(_mean_of(rollout.logprobs, dialogues.own)),
            "steps": len(found),
            **{name: np.mean([x[name] for x in found]) for name in found[0]},
        }
        means = self._mean(list(figures.values()))
        return dict(zip(figures, means, strict=True)) | {"lr": self.optimiser.param_groups[0]["lr"]}

    @torch.no_grad()
    def _assess(self, dialogues: Dialogues) -> tuple[Rollout, float]:
        """What there is to learn, and the divergence from the start, per token."""
        args = self.args
        logprobs, values = self._look_in_parts(self.model, dialogues)
        with self._as_it_was() as reference:
            before, _ = self._look_in_parts(reference, dialogues)
        apart = logprobs - before
        rewards = dialogues.rewards - args.kl_coef * apart
        whole = values + dialogues.levels
        advantages = gae(rewards, whole, dialogues.ends, args.gae_lambda)
        returns = advantages + values
        whitened = advantages + dialogues.bonus
        if dialogues.own.any():
            whitened = masked_whiten(whitened, dialogues.own)
        return Rollout(logprobs, whitened, returns), float(_mean_of(apart, dialogues.own))

    def _look_in_parts(self, model: Any, dialogues: Dialogues) -> tuple[torch.Tensor, torch.Tensor]:
        """As `look`, some at a time."""
        logprobs, values = torch.zeros(2, *dialogues.own.shape, device=dialogues.ids.device)
        for rows in self._parts(dialogues, torch.arange(len(values))):
            with self.accelerator.autocast():
                found = look(model, dialogues[rows], self.args.temperature)
            for whole, part in zip((logprobs, values), found, strict=True):
                if part is not None:
                    whole[rows, : part.shape[1]] = part
        return logprobs, values

    def _step(
        self, dialogues: Dialogues, rollout: Rollout, rows: torch.Tensor, values_only: bool
    ) -> dict[str, float]:
        """A step of Adam on some of the dialogues."""
        args, own = self.args, dialogues.own[rows]
        count = own.sum().clamp(min=1)  # nothing is learnt where users were never asked
        returns = rollout.returns[rows]
        spread = _mean_of(torch.square(returns - _mean_of(returns, own)), own)
        sums = torch.zeros(4, device=own.device)
        parts = self._parts(dialogues, rows)
        for number, part in enumerate(parts):
            last = number + 1 == len(parts)
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                found = self._losses(dialogues[part], [x[part] for x in rollout])
                gain, misfit = found[:2] / count
                self.accelerator.backward(args.value_coef * misfit - (0.0 if values_only else gain))
            sums += found.detach()
        if values_only:
            for parameter in self.policy.parameters():
                parameter.grad = None
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), args.max_grad_norm)
        self.optimiser.step()
        self.optimiser.zero_grad()
        names = ("gain", "value_loss", "approx_kl", "clipped")
        figures = dict(zip(names, sums / count, strict=True))
        explained = 1 - figures["value_loss"] / spread.clamp(min=1e-12)
        figures |= {"explained": explained, "grad_norm": norm}
        means = self._mean([float(x) for x in figures.values()])
        return dict(zip(figures, means, strict=True))

    def _losses(self, some: Dialogues, rollout: Sequence[torch.Tensor]) -> torch.Tensor:
        """Sums over own tokens, (4,): the clipped gain, the squared error of the values, the
        divergence from the rollout's policy, and how many probabilities are clipped.
        """
        own, clip = some.own, self.args.clip
        old, advantages, returns = (x[:, : own.shape[1]][own] for x in rollout)
        with self.accelerator.autocast():
            logprobs, values = look(self.model, some, self.args.temperature)
        assert values is not None
        apart = logprobs[own] - old
        ratio = torch.exp(apart)
        clipped = ratio.clamp(1 - clip, 1 + clip)
        gain = torch.min(ratio * advantages, clipped * advantages)
        misfit = torch.square(values[own] - returns)
        each = gain, misfit, ratio - 1 - apart, (ratio != clipped).float()
        return torch.stack([x.sum() for x in each])

    def _parts(self, dialogues: Dialogues, rows: torch.Tensor) -> Sequence[torch.Tensor]:
        """Rows by length, so many together as are computed at a time: hardly any padding."""
        lengths = dialogues.seen.sum(1).cpu()[rows]
        parts: Sequence[torch.Tensor] = rows[lengths.argsort(stable=True)].split(
            self.args.micro_batch
        )
        return parts

    @contextmanager
    def _as_it_was(self) -> Iterator[Any]:
        """The model that was started from."""
        if self._reference is not None:
            yield self._reference
        else:
            with self.policy.disable_adapter():
                yield self.policy

    def _mean(self, values: Sequence[float]) -> list[float]:
        """Over all processes."""
        mine = torch.tensor([values], dtype=torch.float64, device=self.accelerator.device)
        means: list[float] = self.accelerator.gather(mine).mean(0).tolist()
        return means


@models.no_denormals()
def train(start: Start, args: Args) -> Any:
    """Trains, from the newest checkpoint on where there is one; the language model."""
    learner = Learner(start, args)
    main = models.is_main()
    first = states.restore(args.out, learner.whole, learner.optimiser)
    watch = start.watch() if main else None
    try:
        if watch is not None:
            watch.forget(first)
        with tqdm(
            total=args.updates, initial=first, unit="update", disable=not (args.progress and main)
        ) as bar:
            for update in range(first, args.updates + 1):
                if watch is not None and (update == 0 or watch.due(update)):
                    watch.validate(learner.policy, update)
                    if update > first:
                        states.save(
                            args.out, learner.whole, learner.optimiser, update,
                            args.keep_checkpoints,
                        )  # fmt: skip
                learner.accelerator.wait_for_everyone()
                if update == args.updates:
                    break
                figures = learner.update(update)
                bar.update()
                bar.set_postfix(reward=figures["reward"], kl=figures["kl"])
                if watch is not None:
                    watch.log(figures, update + 1)
    finally:
        if watch is not None:
            watch.close()
    return learner.policy


def _mean_of(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Where the mask is set, 0 where it is nowhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def _unwrapped(model: Any) -> Any:
    return getattr(model, "module", model)
