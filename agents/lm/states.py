"""Checkpoints of training as safetensors files: weights and optimiser, by the number of updates.

Where all random numbers follow from the seed and the update, a run that goes on from one ends with
the weights of a run that was never killed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents import store

_FORM = "crs-gym-lm-training-1"
_OPTIMISER = "optimiser/"


def save(out: Path, module: Any, optimiser: Any, update: int, keep: int) -> None:
    """Writes one, and deletes those that are too old to keep.

    Args:
        out: folder of the run.
        module: of torch; its parameters that are trained are written.
        optimiser: of torch, over these.
        update: how many updates are behind it.
        keep: how many checkpoints to keep, at least 1.
    """
    tensors = {name: _array(p) for name, p in module.named_parameters() if p.requires_grad}
    for place, values in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}{place}/{name}": _array(x) for name, x in values.items()}
    path = out / "checkpoints" / f"{update:06d}.safetensors"
    store.write(path, tensors, {"format": _FORM, "update": update})
    for old in store.checkpoints(out)[: -max(1, keep)]:
        old.unlink()


def restore(out: Path, module: Any, optimiser: Any) -> int:
    """Takes the newest checkpoint of a run; its update, 0 where there is none.

    Raises:
        DataError: it is not whole.
        ValueError: it is of another model.
    """
    import torch

    found = store.checkpoints(out)
    if not found:
        return 0
    tensors, state = store.read(found[-1], _FORM)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    stored = {name: x for name, x in tensors.items() if not name.startswith(_OPTIMISER)}
    if {n: tuple(p.shape) for n, p in trained.items()} != {n: x.shape for n, x in stored.items()}:
        raise ValueError(f"{found[-1]} holds the weights of another model")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(torch.from_numpy(stored[name]))
    moments: dict[int, dict[str, Any]] = {}
    for name in tensors.keys() - stored.keys():
        place, key = name.removeprefix(_OPTIMISER).split("/")
        moments.setdefault(int(place), {})[key] = torch.from_numpy(tensors[name])
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    return int(state["update"])


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()
