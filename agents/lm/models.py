"""A language model of a training run: its files, what it was trained for, how runs go on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents import store
from agents.lm.chats import ChatFormat, check_marks
from crs_gym.language import weights
from crs_gym.language.card import CARD, FINAL, Card, card_of, trained
from crs_gym.world import World

STARTED_FROM = "started_from"
# what may differ between a run and its continuation: nothing that changes what is learnt
FREE = frozenset("out resume track wandb_project torch_threads progress device".split())


def processes() -> int:
    """How many processes train together, see `accelerate launch`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this is the one of them that writes."""
    return os.environ.get("RANK", "0") == "0"


def load(source: str | Path) -> tuple[Any, Any]:
    """(tokenizer, model) of a folder or of the hub, in float32.

    Raises:
        OSError: not there, not a causal model, or weights other than safetensors.
        ValueError: no chat template that conversations can be laid out with.
    """
    import torch

    tokenizer, model = weights.load(weights.find_source(source))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    ChatFormat(tokenizer)
    return tokenizer, model.to(torch.float32)


def load_recommender(source: str | Path, world: World) -> tuple[Any, Any, Card]:
    """(tokenizer, model, card) of a recommender that has learnt structured turns.

    Args:
        source: folder of a run or of a model, or a name of the hub.
        world: whose films it is to speak of.

    Raises:
        OSError, DataError: see `trained`, `load` and `card_of`.
        ValueError: a user's model, one of another world, or one that does not know our tags.
    """
    source = trained(source)
    card = card_of(source) or Card()
    if card.role != "recommender":
        raise ValueError(f"{source} was trained to play the {card.role}, not the recommender")
    if card.world not in ("", world.hash):
        raise ValueError(
            f"{source} knows the films of world {card.world[:12]}, not of {world.name} "
            f"({world.hash[:12]}): name its world, or train one on dialogues of this"
        )
    tokenizer, model = load(source)
    check_marks(tokenizer)
    return tokenizer, model, card


def name_of(folder: Path) -> str:
    """The name of a run or model, with 12 hex digits of its content."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    digest = weights.content_name(str(folder), config, None).rpartition("@")[2]
    return f"{run_name(folder)}@{digest}"


def run_name(folder: Path) -> str:
    """The name of a run, of its folder or its model's; of another model, that of its folder."""
    return (folder.resolve().parent if folder.name == FINAL else folder.resolve()).name


def started_from(source: str | Path) -> dict[str, str]:
    """What a run keeps of the model that it starts from, by its content: one that was trained anew
    with the same settings, on another processor say, is another. Nothing of a hub's.
    """
    folder = Path(trained(source))
    return {STARTED_FROM: name_of(folder)} if (folder / "config.json").is_file() else {}


def identity(source: str | Path) -> dict[str, str]:
    """`model`: the name and content of a folder's model, and `started_from`, where its run keeps
    that. Nothing of a hub's.
    """
    folder, run = Path(trained(source)), Path(source) / "config.json"
    if not (folder / "config.json").is_file():
        return {}
    kept = json.loads(run.read_text(encoding="utf-8")) if run.is_file() else {}
    return {"model": name_of(folder)} | {k: kept[k] for k in (STARTED_FROM,) if k in kept}


def save(model: Any, tokenizer: Any, card: Card, folder: Path) -> None:
    """Writes weights, tokenizer and card; the folder is replaced whole."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    store.write_json(partial / CARD, dataclasses.asdict(card))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def settings(args: Any) -> dict[str, Any]:
    """A run's arguments as JSON values."""
    values = dataclasses.asdict(args)
    return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}


def begin(out: Path, config: dict[str, Any], resume: bool) -> bool:
    """Makes a run's folder; whether it was begun before, True in all but the main process.

    Raises:
        FileExistsError: it holds a run that is not to go on.
        ValueError: it holds a run with other arguments.
    """
    path = out / "config.json"
    if not is_main():
        return True
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        store.write_json(path, config)
        return False
    if not resume:
        raise FileExistsError(f"{out} holds a run: give --resume to go on, or another --out")
    stored = json.loads(path.read_text(encoding="utf-8"))
    changed = [
        f"{name} was {stored.get(name)!r}, is {config[name]!r}"
        for name in sorted(set(config) - FREE)
        if stored.get(name) != config[name]
    ]
    if changed:
        raise ValueError(f"cannot resume {out} with other arguments: {'; '.join(changed)}")
    return True


def newest_checkpoint(out: Path) -> str | None:
    """Of transformers' trainers: the newest whole one of a run, None where there is none.

    Warns of those that are not whole.
    """
    found = (out / "trainer").glob("checkpoint-*/trainer_state.json")
    for state in sorted(found, key=lambda p: int(p.parent.name.split("-")[1]), reverse=True):
        try:
            json.loads(state.read_text(encoding="utf-8"))
            return str(state.parent)
        except ValueError:  # written last, and not at once
            warnings.warn(
                f"{state} is not whole, as after a kill while it was written: {state.parent.name} "
                "is passed over, and the run goes on from the one before it, or begins anew",
                stacklevel=2,
            )
    return None


def set_up(args: Any) -> None:
    """What holds for a run before anything of it is made: torch's threads on a CPU, and the seed of
    whatever is new in a model: rows of tokens that it did not know, LoRA's matrices.

    Raises:
        ValueError: CUDA is asked for where there is none; the message says what helps.
    """
    import torch

    if weights.find_device(args.device).type == "cpu":
        torch.set_num_threads(args.torch_threads)
    torch.manual_seed(args.seed)


@contextmanager
def no_denormals() -> Iterator[None]:
    """Within it, this thread takes numbers next to nothing (denormal ones) for 0; also a decorator.

    What a sure policy hardly ever says has such gradients, and a processor takes many times as long
    over them as over others. Elsewhere all is as it was.
    """
    import torch

    flushed = bool(torch.full((), 1e-30) * 1e-10 == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def fast_bf16() -> bool:
    """Whether the device computes in bfloat16 by instructions of its own; a CPU without them takes
    several times as long as in float32.
    """
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16") or found.get("bf16"))


def shared_arguments(args: Any) -> dict[str, Any]:
    """Arguments of transformers' trainers that follow from a run's, whichever trainer it is.

    Raises:
        ValueError: CUDA is asked for where there is none; the message says what helps.
    """
    device = weights.find_device(args.device)
    on_cpu = device.type == "cpu"
    return {
        "use_cpu": on_cpu,
        "bf16": args.bf16,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": not on_cpu,
    }


def lora(rank: int, learning: Any = None) -> Any:
    """LoRA on all linear layers; None for rank 0.

    learning: a model with tokens that it has yet to learn: its embeddings, input and output, are
        then trained beside.
    """
    if not rank:
        return None
    from crs_gym.extras import needs

    needs("peft", "lm")
    from peft import LoraConfig

    names = None
    if learning is not None:
        ends = learning.get_input_embeddings(), learning.get_output_embeddings()
        names = [name for name, module in learning.named_modules() if module in ends]
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        modules_to_save=names,
        task_type="CAUSAL_LM",
    )


def merged(model: Any) -> Any:
    """The model with LoRA's matrices added to its weights; itself where there are none."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


@contextmanager
def logits_at(model: Any, places: tuple[Any, Any]) -> Iterator[None]:
    """Within it, a causal model's logits are those of N places alone, as (N, V).

    For a small model the head is a large part of the work, and most places are not needed.

    places: rows and columns (N,) of the hidden states (B, T, d).
    """
    # the module, where several processes train it
    head = getattr(model, "module", model).get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][places],))
    try:
        yield
    finally:
        handle.remove()


def callbacks(args: Any) -> list[Any]:
    """Of transformers' trainers."""
    return []


def write_history(trainer: Any, out: Path) -> None:
    """What a trainer of transformers has logged, as `history.json`."""
    store.write_json(out / "history.json", trainer.state.log_history)
