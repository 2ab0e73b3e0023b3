"""Where a local model comes from, and where it runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

_READ = (".json", ".safetensors", ".jinja", ".model", ".txt")
"""Endings of the files that weights, configuration and tokenizer are read from."""


def find_device(device: str) -> Any:
    """The torch device; auto is CUDA where there is one.

    Raises:
        ImportError: torch or transformers is not installed.
        ValueError: no such device.
    """
    torch = _import_torch()
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"no such device: {device!r}; use auto, cpu, cuda or cuda:1") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(f"no {device} here, CUDA devices found: {found}; use --device cpu")
    return chosen


def _import_torch() -> Any:
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"local language models need torch and transformers ({error}): "
            "pip install 'crs-gym[lm]'",
            name=error.name,
        ) from error
    return torch


def find_source(model: str | Path) -> str:
    """The folder, or the name as it is where it may be one of the hub's.

    Raises:
        OSError: it can only be a folder, and is none or holds no model.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise OSError(
                f"{model} is not a model, it has no config.json: name the folder that "
                "`save_pretrained` wrote (of a training run, one of its checkpoints)"
            )
        return str(folder)
    text = str(model)
    local = folder.exists() or text.startswith((".", "/", "~")) or "\\" in text
    # "runs/nothing", where there are runs, is none of an organisation of that name
    if local or text.count("/") > 1 or ("/" in text and folder.parent.is_dir()):
        raise OSError(f"{model} is not a folder: name one that `save_pretrained` wrote")
    return text


def load(source: str) -> tuple[Any, Any]:
    """(tokenizer, model); runs no code that comes with them.

    Raises:
        OSError: not there, not a causal model, or weights other than safetensors.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        if Path(source).is_dir():
            cure = (
                "a causal model with its tokenizer is needed, weights in safetensors "
                "(model.save_pretrained and tokenizer.save_pretrained write them)"
            )
        else:
            cure = "no such folder here; to take it from the hub its exact name and a network"
        raise OSError(f"cannot load the language model {source}: {cure}. {reason}") from error
    return tokenizer, model


def content_name(source: str, config: Any, chat_template: Any) -> str:
    """The folder's or hub's name and 12 hex digits of the content's hash.

    Changes with the weights, so that a cache never replays a model that was since retrained.
    """
    digest = hashlib.sha256(repr(chat_template).encode())
    folder = Path(source)
    if not folder.is_dir():
        digest.update(str(getattr(config, "_commit_hash", None)).encode())
        return f"{source}@{digest.hexdigest()[:12]}"
    for path in sorted(path for path in folder.iterdir() if path.suffix in _READ):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        digest.update(path.name.encode())
    return f"{folder.resolve().name}@{digest.hexdigest()[:12]}"
