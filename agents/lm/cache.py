"""A key-value cache that makes room for many tokens at a time, and can go on with some texts."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ROOM = 128
"""Tokens for which room is made at a time."""


class GrowingLayer(DynamicLayer):
    """Keys and values of a layer, (B, heads, T, width) each.

    The layer of transformers copies all of them for every token, which for a small model costs more
    than the rest of a step.

    Args:
        dtype: of what is kept; None for that of the keys and values themselves.
    """

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self._kept_dtype = dtype
        self.used = 0
        self.buffers: list[torch.Tensor] = []
        self._waiting: list[tuple[torch.Tensor, list[torch.Tensor], int]] = []

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds the next tokens, (B, heads, t, width) each; all that there are."""
        new = [x.to(self._kept_dtype or x.dtype) for x in (keys, values)]
        if not self.is_initialized:
            self.lazy_initialization(*new)
            self.buffers = [x[:, :, :0] for x in new]
        start, self.used = self.used, self.used + keys.shape[-2]
        self._make_room()
        for buffer, x in zip(self.buffers, new, strict=True):
            buffer[:, :, start : self.used] = x
        self._look()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps some of the texts for good."""
        if not self.is_initialized:  # of a model whose layers share theirs
            return
        self.buffers = [torch.index_select(x, 0, indices) for x in self.buffers]
        self._look()

    def narrow(self, indices: torch.Tensor) -> None:
        """Goes on with some of the texts, (n,) rows of the batch, until `widen`."""
        self._waiting.append((indices, self.buffers, self.used))
        self.batch_select_indices(indices)

    def widen(self) -> None:
        """All texts again: those that have waited have zeros where others went on."""
        while self._waiting:
            indices, whole, start = self._waiting.pop()
            some, self.buffers = self.buffers, whole
            if not self.is_initialized:
                continue
            self._make_room()
            for buffer, x in zip(self.buffers, some, strict=True):
                buffer[:, :, start : self.used] = 0
                buffer[indices, :, start : self.used] = x[:, :, start : self.used]
            self._look()

    def _make_room(self) -> None:
        for i, old in enumerate(self.buffers):
            long = old.shape[-2]
            if self.used > long:
                grown = old.new_empty((*old.shape[:2], self.used + ROOM, old.shape[-1]))
                grown[:, :, :long] = old
                self.buffers[i] = grown

    def _look(self) -> None:
        self.keys, self.values = (x[:, :, : self.used] for x in self.buffers)


class GrowingCache(DynamicCache):
    """Of `GrowingLayer`s in place of plain dynamic layers; others, such as those that keep a window
    of tokens only, are as they were.

    Args:
        config: of the model.
        dtype: of what is kept; None for that of the keys and values themselves.
    """

    def __init__(self, config: Any, dtype: torch.dtype | None = None) -> None:
        super().__init__(config=config)
        self.layers: list[Any]
        made = partial(GrowingLayer, dtype)
        self.layers = [made() if type(x) is DynamicLayer else x for x in self.layers]
        if not self.layers:
            self.layer_class_to_replicate = made

    @property
    def narrows(self) -> bool:
        """Whether `narrow` works: all layers are growing ones."""
        return all(isinstance(layer, GrowingLayer) for layer in self.layers)

    @property
    def window(self) -> int | None:
        """Tokens of the smallest window that a layer keeps, None where all keep everything."""
        windows = [layer.sliding_window for layer in self.layers if layer.is_sliding]
        return min(windows, default=None)

    def narrow(self, indices: torch.Tensor) -> None:
        """Goes on with some of the texts, (n,) rows of the batch, until `widen`."""
        for layer in self.layers:
            layer.narrow(indices)

    def widen(self) -> None:
        """All texts again."""
        for layer in self.layers:
            if isinstance(layer, GrowingLayer):
                layer.widen()
