"""Muon for the matrices of a decoder's blocks, AdamW for all else, as one optimiser.

Muon (Jordan et al., 2024) makes the steps of a matrix orthogonal. A decoder that is trained from
nothing for a few minutes comes to the same loss in a fraction of AdamW's updates; embeddings, and
the vectors of its norms, stay with AdamW as Muon's authors have it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Muon(torch.optim.Muon):
    """torch's, with the matrices of one shape made orthogonal together, and in float32.

    torch's goes from matrix to matrix, in bfloat16, which is slow on a processor without
    instructions for it. Steps are sized as `match_rms_adamw`.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """A step; closures are not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            updates: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
                grad, mean, share = parameter.grad, state["momentum_buffer"], group["momentum"]
                mean.lerp_(grad, 1 - share)
                update = grad.lerp(mean, share) if group["nesterov"] else mean
                updates.setdefault(parameter.shape, []).append((parameter, update))
            for shape, found in updates.items():
                steps = orthogonal(
                    torch.stack([update for _, update in found]),
                    group["ns_coefficients"],
                    group["ns_steps"],
                    group["eps"],
                )
                size = 0.2 * max(shape) ** 0.5
                for (parameter, _), step in zip(found, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(step, alpha=-group["lr"] * size)


def orthogonal(
    matrices: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float
) -> torch.Tensor:
    """Matrices with the same singular vectors and singular values near 1, by Newton-Schulz.

    Args:
        matrices: (n, rows, columns).
        coefficients: of x, x^3 and x^5 in what a step makes of a singular value x.
        steps: how many.
        eps: the least that a norm is taken for.

    Returns:
        (n, rows, columns)
    """
    a, b, c = coefficients
    wide = matrices.shape[1] <= matrices.shape[2]
    found = matrices if wide else matrices.mT
    found = found / torch.linalg.matrix_norm(found, keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = found @ found.mT
        gram = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        found = torch.baddbmm(found, gram, found, beta=a)
    return found if wide else found.mT


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
            Muon(matrices, lr=muon_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
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
