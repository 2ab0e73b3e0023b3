"""Muon for the matrices of a decoder's blocks, AdamW for all else, as one optimiser.

Muon (Jordan et al., 2024) makes the steps of a matrix orthogonal. A decoder that is trained from
nothing for a few minutes comes to the same loss in a fraction of AdamW's updates; embeddings, and
the vectors of its norms, stay with AdamW as Muon's authors have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers that are stepped, scheduled and saved as one.

    Args:
        model: a causal language model of Hugging Face.
        muon_rate: learning rate of Muon, in units of which AdamW's steps have the same size
            (`match_rms_adamw`).
        adamw_rate: learning rate of AdamW.
        weight_decay: of both.
    """

    def __init__(
        self, model: Any, muon_rate: float, adamw_rate: float, weight_decay: float
    ) -> None:
        embeddings = {
            id(layer.weight)
            for layer in (model.get_input_embeddings(), model.get_output_embeddings())
        }
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for parameter in model.parameters():
            if parameter.requires_grad:
                inner = parameter.ndim == 2 and id(parameter) not in embeddings
                (matrices if inner else others).append(parameter)
        self.parts = (
            torch.optim.Muon(
                matrices, lr=muon_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=adamw_rate, weight_decay=weight_decay),
        )
        super().__init__([*matrices, *others], {})
        self._share()

    def _share(self) -> None:
        """Schedulers change the learning rates of the parts' own groups."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """A step of both; closures are not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of `state_dict`."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share()
