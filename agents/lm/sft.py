"""Supervised training on dialogues, the loss on one side's tokens alone (Interplay, section 3.5.2).

    python -m agents.lm.sft --data my-dialogues --out runs/sft
    python -m agents.lm.sft --data my-dialogues --role user --out runs/sft-user
    accelerate launch -m agents.lm.sft --model HUB-NAME --lora 16 --data my-dialogues --out runs/hub
    python -m torch.distributed.run --nproc-per-node 2 -m agents.lm.sft --data my-dialogues

TRL's SFTTrainer on rows that are tokenised and masked here. Trained until the loss on dialogues of
other users rises; the weights with the lowest are kept, in `OUT/final`. Processes share a
batch: `--batch-size` is that of each.
"""

from __future__ import annotations

import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from agents.lm import data, models
from agents.lm.args import RunArgs
from agents.lm.chats import ChatFormat, add_marks
from agents.lm.forbidden import Collator, forbidden, losses, title_tokens
from agents.tracking import announce
from crs_gym.language.card import FINAL, Card, Role, trained
from crs_gym.language.persona import persona_of


@dataclass(kw_only=True)
class Args(RunArgs):
    """Trains a recommender, or a user, to say what those of a data set say."""

    data: Path
    """folder of `crs-gym generate`"""
    out: Path = Path("runs/sft")
    """folder of the run"""
    model: str = "tiny"
    """tiny: a small decoder and its tokenizer, made from nothing; or a folder, or a hub name"""
    role: Role = "recommender"
    """whose turns are learnt"""
    limit: int | None = None
    """use only the first so many dialogues"""
    held_out: float = 0.02
    """share of the users whose dialogues are kept to measure the loss"""
    epochs: float = 6.0
    """passes over the dialogues at most; the learning rate falls to zero until then"""
    learning_rate: float | None = None
    """of AdamW at its highest; by default 4e-3 for tiny, 2e-5 for other models, 2e-4 with LoRA"""
    muon_learning_rate: float = 0.02
    """of Muon at its highest, which trains the matrices of the tiny decoder's blocks
    (agents.lm.optimiser); 0 leaves them to AdamW"""
    batch_size: int = 32
    """dialogues in an update, on each device"""
    warmup: float = 0.03
    """share of the updates in which the learning rate rises"""
    weight_decay: float = 0.01
    """of both"""
    evaluate_every: int = 500
    """updates between measurements of the loss, which are checkpoints too"""
    patience: int = 4
    """measurements without a lower loss before training stops"""
    max_length: int = 1024
    """tokens of a dialogue; the rest is cut off"""
    system: Literal["auto", "none", "prompt"] = "auto"
    """whether the model is told how to answer; auto: unless it is tiny"""
    slate_size: int = 2
    """films that an act may name, for what it is told"""
    width: int = 128
    """of the tiny decoder's hidden state"""
    layers: int = 3
    """of the tiny decoder"""
    heads: int = 4
    """of the tiny decoder"""
    subwords: int = 500
    """of the tiny tokenizer, besides films, tags and bytes"""
    contrastive: float = 2.0
    """weight of the loss by which what is said is to be likelier than the films that a recommender
    may not name, where titles are one token each (agents.lm.forbidden); 0 for none"""
    unlikelihood: float = 0.0
    """weight of the loss on these films whatever is said instead; 0 for none"""


@models.no_denormals()
def train(args: Args) -> Path:
    """Trains; the folder of the model with the lowest loss.

    Raises:
        ValueError, OSError: arguments, data or a model that cannot be used, or a loss that never
            was a finite number; the message says what helps.
        FileExistsError: `out` holds a run, and `resume` is not set.
    """
    final, settings = args.out / FINAL, models.settings(args)
    if (args.out / "config.json").is_file():  # refused before anything is loaded
        models.begin(args.out, settings, args.resume)
        if (final / "config.json").is_file():
            return final
    models.set_up(args)
    dialogues, world = data.load(args.data, args.limit, args.progress)
    tokenizer, model = _model(args, world, _examples(args, dialogues, world))
    chat = ChatFormat(tokenizer)
    card = _card(args, world)
    train_at, held_at = data.split_users(dialogues, args.held_out)
    datasets = [
        _dataset([dialogues[i] for i in places], world, chat, card, args)
        for places in (train_at, held_at)
    ]
    models.begin(args.out, settings, args.resume)
    trainer = _trainer(args, model, tokenizer, *datasets)
    trainer.train(resume_from_checkpoint=models.newest_checkpoint(args.out))
    if not math.isfinite(trainer.state.best_metric):
        raise ValueError(
            "no measurement of the loss was a finite number, and no model is kept: train again "
            "with lower learning rates, to another --out"
        )
    best = models.merged(trainer.accelerator.unwrap_model(trainer.model))
    if trainer.accelerator.is_main_process:
        models.save(best, tokenizer, card, final)
        models.write_history(trainer, args.out)
    trainer.accelerator.wait_for_everyone()
    return final


def _model(args: Args, world: Any, texts: list[str]) -> tuple[Any, Any]:
    from agents.lm.tiny import build_model, build_tokenizer

    if args.model == "tiny":
        tokenizer = build_tokenizer(world, texts, args.subwords)
        return tokenizer, build_model(tokenizer, args.width, args.layers, args.heads, args.seed)
    tokenizer, model = models.load(trained(args.model))
    add_marks(tokenizer, model)
    return tokenizer, model


def _examples(args: Args, dialogues: Any, world: Any) -> list[str]:
    """What a tokenizer is to know besides sentences of templates: a user's persona."""
    if args.role != "user":
        return []
    persons = [data.person_of(dialogue, world) for dialogue in dialogues[:200]]
    return [persona_of(person).text() for person in persons]


def _card(args: Args, world: Any) -> Card:
    from crs_gym.language.recommender import recommender_prompt

    told = args.system == "prompt" or (args.system == "auto" and args.model != "tiny")
    if args.role == "user":
        return Card("user", rules=told, world=world.hash)
    system = recommender_prompt(args.slate_size) if told else ""
    return Card("recommender", system=system, world=world.hash)


def _dataset(dialogues: Any, world: Any, chat: ChatFormat, card: Card, args: Args) -> Any:
    from datasets import Dataset
    from tqdm import tqdm

    made = data.rows(dialogues, world, chat, card.role, card.system, card.rules)
    bar = tqdm(made, desc="tokens", total=len(dialogues), disable=not args.progress, leave=False)
    rows = list(bar)
    columns = data.columns(rows, args.max_length)
    if _forbids(args):
        items = title_tokens(world, chat)
        pairs = [
            [(p, t) for p, t in forbidden(dialogue, row, chat, items) if p < args.max_length]
            for dialogue, row in zip(dialogues, rows, strict=True)
        ]
        columns["places"] = [[place for place, _ in found] for found in pairs]
        columns["tokens"] = [[token for _, token in found] for found in pairs]
    return Dataset.from_dict(columns)


def _forbids(args: Args) -> bool:
    return args.role == "recommender" and (args.contrastive > 0 or args.unlikelihood > 0)


def _trainer(args: Args, model: Any, tokenizer: Any, train_set: Any, held_out: Any) -> Any:
    from transformers import EarlyStoppingCallback
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from agents.lm.batches import LengthBatches
    from agents.lm.optimiser import MuonWithAdamW

    class Patience(EarlyStoppingCallback):
        """Ends a run again that goes on from the checkpoint at which it had ended."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            super().on_train_begin(args, state, control, **given)
            if 0 < self.early_stopping_patience <= self.early_stopping_patience_counter:
                control.should_training_stop = True

    if args.track:
        announce(args.wandb_project, args.out)
    config = SFTConfig(
        output_dir=str(args.out / "trainer"),
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=args.max_length,
        pad_to_multiple_of=32,  # few shapes: kernels are compiled for each
        loss_type="nll" if args.lora else "chunked_nll",
        num_train_epochs=args.epochs,
        per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size,
        learning_rate=_rate(args),
        lr_scheduler_type="cosine",
        warmup_steps=args.warmup,
        weight_decay=args.weight_decay,
        max_grad_norm=1.0,
        eval_strategy="steps",
        eval_steps=args.evaluate_every,
        save_strategy="steps",
        save_steps=args.evaluate_every,
        save_total_limit=2,
        load_best_model_at_end=True,
        restore_callback_states_from_checkpoint=True,  # how often the loss was not lower
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=50,
        seed=args.seed,
        data_seed=args.seed,
        disable_tqdm=not args.progress,
        report_to="wandb" if args.track else "none",
        ddp_find_unused_parameters=False if args.model == "tiny" else None,
        **models.shared_arguments(args),
    )
    given: dict[str, Any] = {
        "model": model,
        "args": config,
        "train_dataset": train_set,
        "eval_dataset": held_out,
        "processing_class": tokenizer,
        "peft_config": models.lora(args.lora, learning=model),
        "callbacks": [Patience(args.patience), *models.callbacks(args)],
    }

    class Trainer(SFTTrainer):
        """With our batches and optimiser."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            rows = self.train_dataset if train_dataset is None else train_dataset
            return LengthBatches(
                rows["length"], self.args.train_batch_size * models.processes(), args.seed
            )

        def create_optimizer(self, model: Any = None) -> Any:
            if args.model != "tiny" or args.lora or not args.muon_learning_rate:
                return super().create_optimizer(model)
            rates = args.muon_learning_rate, _rate(args)
            self.optimizer: Any = MuonWithAdamW(self.model, *rates, args.weight_decay)
            return self.optimizer

    if not _forbids(args):
        return Trainer(**given)

    class Forbidding(Trainer):
        """Its loss, and those of what is forbidden while training."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, **counted: Any
        ) -> Any:
            labels, banned = inputs.pop("labels"), inputs.pop("forbidden")
            found = losses(model, inputs, banned, labels)
            loss = found.likelihood
            if model.training:
                loss = loss + args.contrastive * found.contrastive
                loss = loss + args.unlikelihood * found.unlikelihood
            loss = loss / (labels[:, 1:] != -100).sum()
            return (loss, {"loss": loss}) if return_outputs else loss

    collator = DataCollatorForLanguageModeling(
        pad_token_id=tokenizer.pad_token_id, pad_to_multiple_of=config.pad_to_multiple_of
    )
    config.prediction_loss_only = True
    return Forbidding(**given, data_collator=Collator(collator))


def _rate(args: Args) -> float:
    """AdamW's learning rate: a model that was trained elsewhere is changed with care."""
    if args.learning_rate is not None:
        return args.learning_rate
    if args.model == "tiny":
        return 4e-3
    return 2e-4 if args.lora else 2e-5


if __name__ == "__main__":
    print(train(tyro.cli(Args, description=__doc__)))
