"""GRPO for a recommender that is a language model: conversations with one user are compared.

    python -m agents.lm.grpo --model runs/sft --out runs/grpo
    accelerate launch -m agents.lm.grpo --model HUB-RUN --lora 16 --micro-batch 4 --out runs/hub

TRL's GRPOTrainer on whole conversations. All of a group are with the same hidden user, who has the
same luck in all of them: what differs is what the model said. Its tokens alone are learnt from, by
how much better than the group their turn went, or their conversation as a whole.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from agents.lm import models
from agents.lm.arena import Arena
from agents.lm.args import RLArgs
from agents.lm.chats import ChatFormat
from agents.lm.credit import near_advantages, turns_advantages
from agents.lm.rollouts import Played
from agents.lm.users import opponent
from agents.lm.watching import Watch
from crs_gym.language.card import FINAL, Card


@dataclass(kw_only=True)
class Args(RLArgs):
    """Trains a recommender by what it earns, conversations with one user compared."""

    out: Path = Path("runs/grpo")
    """folder of the run"""
    epochs: int = 1
    """steps of the optimiser on each rollout"""
    clip: float = 0.2
    """how far the probability of a token may move in the steps on one rollout, as a ratio"""
    learning_rate: float = 1e-3
    """of Adam at the beginning; it falls linearly to a tenth"""
    credit: Literal["turns", "dialogues"] = "turns"
    """what is compared: turns, each with what others of the group had still to come
    (agents.lm.credit); or returns of dialogues, as in plain GRPO"""
    scale: Literal["group", "batch", "none"] = "batch"
    """whose standard deviation differences from the group's mean are divided by; by the group's, it
    counts as much to lose a turn sooner where nothing was accepted as to find the film elsewhere"""
    loss: Literal["dapo", "grpo", "bnpo"] = "dapo"
    """mean over what: dapo all tokens of the rollout, grpo conversations, bnpo those of a micro
    batch"""
    micro_batch: int = 32
    """conversations in a forward pass on each device"""


@models.no_denormals()
def train(args: Args) -> Path:
    """Trains; the folder of the model as it is at the end.

    Raises:
        ValueError, OSError: arguments or a model that cannot be used; the message says what helps.
        FileExistsError: `out` holds a run, and `resume` is not set.
    """
    final, settings = args.out / FINAL, models.settings(args)
    check(args)
    if (final / "config.json").is_file():
        models.begin(args.out, settings, args.resume)
        return final
    models.set_up(args)
    user = opponent(args.user, args.seed, args.device, args.max_turn)
    arena = Arena.of(args.world, user, args.env_kwargs, args.seed)
    tokenizer, model, card = models.load_recommender(args.model, arena.world)
    models.begin(args.out, settings | models.started_from(args.model), args.resume)
    chat = ChatFormat(tokenizer)
    watch = Watch.of(args, arena, chat, card.system) if models.is_main() else None
    try:
        trainer = _trainer(args, model, chat, arena, card, watch)
        trainer.train(resume_from_checkpoint=models.newest_checkpoint(args.out))
        trained = models.merged(trainer.accelerator.unwrap_model(trainer.model))
        if watch is not None:
            learnt = replace(card, temperature=args.temperature)
            models.save(trained, tokenizer, learnt, final)
            models.write_history(trainer, args.out)
        trainer.accelerator.wait_for_everyone()
    finally:
        if watch is not None:
            watch.close()
    return final


def check(args: Args) -> None:
    """Raises a ValueError where sizes do not fit together."""
    for name in ("updates", "batch_size", "epochs", "validate_every", "max_turn"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name} must be at least 1, not {getattr(args, name)}")
    if args.group < 2:
        raise ValueError(f"a group needs at least 2 conversations to compare, not {args.group}")
    if args.batch_size % args.group:
        raise ValueError(
            f"batch_size {args.batch_size} is not a multiple of group {args.group}: groups are "
            "played whole"
        )
    if args.credit == "turns" and args.scale == "group":
        raise ValueError("turns are not scaled by group: choose scale batch or none")
    if args.credit == "turns" and args.batch_size % (args.group * models.processes()):
        raise ValueError(
            f"batch_size {args.batch_size} is not a multiple of group {args.group} for each of "
            f"{models.processes()} processes, as comparing turns needs"
        )
    if not args.temperature > 0:
        raise ValueError("temperature must be above 0: equal conversations teach nothing")
    if not args.learning_rate > 0 or not args.kl_coef >= 0 or not args.clip > 0:
        raise ValueError("learning_rate and clip must be above 0, kl_coef at least 0")
    micro = _micro_batch(args) * models.processes()
    if micro < 1 or args.batch_size % micro:
        raise ValueError(
            f"batch_size {args.batch_size} is not a multiple of what {models.processes()} "
            f"process(es) take at a time, {micro}: choose another batch_size or micro_batch"
        )


def columns(played: Sequence[Played]) -> dict[str, Any]:
    """Conversations as GRPOTrainer wants them of a `rollout_func`.

    Returns:
        lists with an element for each conversation: `prompt_ids`, the tokens before the model's
        first; `completion_ids`, all others; `env_mask`, as long as these, 1 for tokens that are
        learnt from; `returns`, `turns` and `success` (0 or 1). `logprobs` is None: the trainer
        computes them.
    """
    starts = [one.own.index(True) for one in played]
    return {
        "prompt_ids": [one.ids[:n] for one, n in zip(played, starts, strict=True)],
        "completion_ids": [one.ids[n:] for one, n in zip(played, starts, strict=True)],
        "logprobs": None,
        "env_mask": [list(map(int, one.learnt[n:])) for one, n in zip(played, starts, strict=True)],
        "returns": [one.earned for one in played],
        "turns": [len(one.exchanges) for one in played],
        "success": [int(one.exchanges[-1].accepted >= 0) for one in played],
    }


def rollouts(
    args: Args, arena: Arena, chat: ChatFormat, system: str
) -> Callable[[list[str], Any], dict[str, Any]]:
    """A `rollout_func`: its prompts are numbers of training scenarios, the trainer has repeated
    them for the conversations of a group.
    """

    def play(prompts: list[str], trainer: Any) -> dict[str, Any]:
        source = [args.seed, trainer.state.global_step, trainer.accelerator.process_index]
        played = arena.play(
            [int(number) for number in prompts],
            trainer.accelerator.unwrap_model(trainer.model),
            chat,
            words=args.learn == "turns",
            illegal_cost=args.illegal_cost,
            dense=args.dense,
            system=system,
            temperature=args.temperature,
            seed=int(np.random.SeedSequence(source).generate_state(1)[0]),
            max_turn=args.max_turn,
            bf16=args.bf16,
        )
        if args.credit == "turns":
            trainer.by_token = by_token(played, args.group, args.gae_lambda, args.scale == "batch")
        return columns(played)

    return play


def by_token(played: Sequence[Played], group: int, decay: float, scaled: bool) -> list[np.ndarray]:
    """The advantage of its turn for each token of `completion_ids` (see `columns`).

    Args:
        decay: see `turns_advantages`.
        scaled: divide by their standard deviation.
    """
    found = turns_advantages([one.rewards for one in played], group, decay)
    if played[0].near is not None:
        near = near_advantages([one.near or () for one in played], group, decay)
        found = [mine + more for mine, more in zip(found, near, strict=True)]
    size = float(np.std(np.concatenate(found))) + 1e-4 if scaled else 1.0
    tokens = []
    for one, advantages in zip(played, found, strict=True):
        start = one.own.index(True)
        turn = np.searchsorted(one.ends, np.arange(start, len(one.ids)))
        tokens.append(advantages[turn] / size)
    return tokens


def earned(
    completions: list[str],
    returns: list[float],
    turns: list[int],
    success: list[int],
    log_metric: Callable[[str, float], None],
    **_: Any,
) -> list[float]:
    """The reward function: what the rollouts returned."""
    log_metric("turns", float(np.mean(turns)))
    log_metric("success", float(np.mean(success)))
    return returns


def _micro_batch(args: Args) -> int:
    return min(args.micro_batch, args.batch_size // models.processes())


def _trainer(
    args: Args, model: Any, chat: ChatFormat, arena: Arena, card: Card, watch: Watch | None
) -> Any:
    import torch
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    class Trainer(GRPOTrainer):
        """With an advantage for every token, where turns are compared."""

        by_token: Sequence[np.ndarray]

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            output = super()._generate_and_score_completions(inputs)
            if args.credit == "turns":
                tokens = torch.zeros_like(output["completion_ids"], dtype=torch.float32)
                for row, mine in zip(tokens, self.by_token, strict=True):
                    row[: len(mine)] = torch.from_numpy(mine)
                output["advantages"] = tokens
            return output

    micro = _micro_batch(args)
    scenarios = args.updates * args.batch_size // args.group
    config = GRPOConfig(
        output_dir=str(args.out / "trainer"),
        max_steps=args.updates * args.epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=args.batch_size // (micro * models.processes()),
        num_generations=args.group,
        num_iterations=args.epochs,
        shuffle_dataset=False,
        # nothing is cut there: a conversation too long for the model is an error of the rollout
        max_completion_length=2**20,
        temperature=args.temperature,
        beta=args.kl_coef,
        epsilon=args.clip,
        scale_rewards=args.scale,
        loss_type=args.loss,
        disable_dropout=True,
        learning_rate=args.learning_rate,
        adam_epsilon=args.adam_eps,
        lr_scheduler_type="polynomial",
        lr_scheduler_kwargs={"lr_end": args.learning_rate / 10, "power": 1.0},
        max_grad_norm=1.0,
        logging_steps=1,
        save_strategy="steps",
        save_steps=args.validate_every * args.epochs,
        save_total_limit=args.keep_checkpoints,
        seed=args.seed,
        data_seed=args.seed,
        disable_tqdm=True,
        # the watch logs all figures, with those of its validations
        report_to="none",
        **models.shared_arguments(args),
    )
    trainer = Trainer(
        model=model,
        reward_funcs=earned,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [str(n) for n in range(scenarios)]}),
        processing_class=chat.tokenizer,
        peft_config=models.lora(args.lora),
        rollout_func=rollouts(args, arena, chat, card.system),
        callbacks=[*([_watching(args, watch)] if watch else []), *models.callbacks(args)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _watching(args: Args, watch: Watch) -> Any:
    """A callback that shows progress, validates when it is time, and logs."""
    from tqdm import tqdm
    from transformers import TrainerCallback

    class Watching(TrainerCallback):
        def on_train_begin(self, _: Any, state: Any, control: Any, **given: Any) -> None:
            update = state.global_step // args.epochs
            watch.forget(update)
            watch.validate(given["model"], update)
            self.bar = tqdm(
                total=args.updates, initial=update, unit="update", disable=not args.progress
            )

        def on_step_end(self, _: Any, state: Any, control: Any, **given: Any) -> None:
            update, rest = divmod(state.global_step, args.epochs)
            if rest:
                return
            self.bar.update()
            if watch.due(update):
                watch.validate(given["model"], update)

        def on_log(self, _: Any, state: Any, control: Any, **given: Any) -> None:
            values = {k: float(v) for k, v in given["logs"].items() if isinstance(v, int | float)}
            watch.log(
                {f"train/{k}": v for k, v in values.items()}, state.global_step // args.epochs
            )
            if "reward" in values:
                self.bar.set_postfix(reward=f"{values['reward']:.3f}", kl=values.get("kl"))

        def on_train_end(self, _: Any, state: Any, control: Any, **given: Any) -> None:
            self.bar.close()

    return Watching()


if __name__ == "__main__":
    print(train(tyro.cli(Args, description=__doc__)))
