"""Many texts written side by side by one model, each reading and writing in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Written(NamedTuple):
    """A turn of one text.

    ids: what was written, its end included if the model came to it.
    logprobs: of each token at temperature 1 over the model's logits, as long as `ids`.
    ended: whether the model ended the turn itself.
    """

    ids: list[int]
    logprobs: list[float]
    ended: bool


class Writer:
    """B texts with one key-value cache, in which every token is computed once.

    Texts are of different lengths: where one has nothing to read or write, padding is put that no
    token attends to. Texts that are over are dropped from the batch when they are many.

    Args:
        model: a causal language model of Hugging Face; it is not put into evaluation mode here.
        texts: B.
        end, pad: the token that ends a turn, and the one for padding.
        temperature: of sampling; 0 takes the likeliest token.
        generator: of torch, on the CPU, for sampling.
        bf16: compute, and keep keys and values, in bfloat16: half the memory to be read for every
            token, which is what long texts of a small model take their time for.
    """

    def __init__(
        self,
        model: Any,
        texts: int,
        *,
        end: int,
        pad: int,
        temperature: float,
        generator: Any,
        bf16: bool = False,
    ) -> None:
        import torch

        if not temperature >= 0:
            raise ValueError(f"temperature must be at least 0, not {temperature}")
        self._model, self._end, self._pad = model, end, pad
        self._temperature, self._generator = temperature, generator
        self._device = model.device
        self._bf16 = bf16
        self._cache = growing_cache(model.config, torch.bfloat16 if bf16 else None)
        self._rows = list(range(texts))  # the texts that are still in the batch
        self._mask = torch.zeros((texts, 0), dtype=torch.long, device=self._device)
        self._waiting: list[list[int]] = [[] for _ in range(texts)]
        self._logits: Any = None
        text_config = model.config.get_text_config()
        self._room: int = getattr(text_config, "max_position_embeddings", 2**31)

    def read(self, pieces: Sequence[Sequence[int]]) -> None:
        """Each text goes on with a piece of tokens, empty for those that are over.

        Raises:
            ValueError: a text is longer than the model can read.
        """
        import torch

        self._drop(pieces)
        rows = [[*self._waiting[i], *pieces[i]] if pieces[i] else [] for i in self._rows]
        for text in self._rows:
            self._waiting[text] = []
        width = max(map(len, rows))
        tokens = np.full((len(rows), width), self._pad)
        mask = np.zeros((len(rows), width), np.int64)
        for place, row in enumerate(rows):
            if row:
                tokens[place, -len(row) :] = row
                mask[place, -len(row) :] = 1
        self._feed(*(torch.from_numpy(x).to(self._device) for x in (tokens, mask)))

    def write(self, who: Sequence[bool] | np.ndarray, limit: int) -> list[Written | None]:
        """The next turn of each text of `who`, of at most `limit` tokens; None for the others."""
        import torch

        found: list[Written | None] = [Written([], [], False) if x else None for x in who]
        active = np.array(who, bool)[self._rows]
        for step in range(limit):
            chosen, logprobs = self._choose()
            tokens, likely = chosen.tolist(), logprobs.tolist()
            for place in np.flatnonzero(active):
                text = self._rows[place]
                written = found[text]
                assert written is not None
                written.ids.append(tokens[place])
                written.logprobs.append(likely[place])
                if tokens[place] == self._end:
                    found[text] = written._replace(ended=True)
                if tokens[place] == self._end or step + 1 == limit:
                    # what nothing is written after is read with what comes next
                    self._waiting[text] = [tokens[place]]
                    active[place] = False
            if not active.any():
                break
            mask = torch.from_numpy(active.astype(np.int64)).to(self._device)
            self._feed(torch.where(mask > 0, chosen, self._pad)[:, None], mask[:, None])
        return found

    def _choose(self) -> tuple[Any, Any]:
        """A token for each text of the batch, and its log-probability at temperature 1."""
        import torch

        logprobs = torch.log_softmax(self._logits.float(), dim=-1)
        if self._temperature == 0:
            chosen = logprobs.argmax(-1)
        else:
            # by one uniform draw for each text: noise for every token would cost more than the rest
            weights = torch.softmax(logprobs.double() / self._temperature, dim=-1).cumsum(-1)
            draws = torch.rand(len(weights), 1, dtype=torch.double, generator=self._generator)
            place = torch.searchsorted(
                weights, draws.to(self._device) * weights[:, -1:], right=True
            )
            chosen = place.squeeze(-1).clamp(max=weights.shape[-1] - 1)
        return chosen, logprobs.gather(-1, chosen[:, None]).squeeze(-1)

    def _drop(self, pieces: Sequence[Sequence[int]]) -> None:
        """Goes on without the texts that are over, where these are a fifth of the batch."""
        import torch

        places = [place for place, text in enumerate(self._rows) if pieces[text]]
        if len(places) > 0.8 * len(self._rows):
            return
        kept = torch.tensor(places, device=self._device)
        self._rows = [self._rows[place] for place in places]
        self._mask = self._mask[kept]
        self._cache.batch_select_indices(kept)

    def _feed(self, tokens: Any, mask: Any) -> None:
        import torch

        self._mask = torch.cat([self._mask, mask], dim=1)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        longest = int(positions[:, -1].max()) + 1
        if longest > self._room:
            raise ValueError(
                f"a conversation has {longest} tokens and the model reads {self._room}: play fewer "
                "or shorter turns, or take a model with a longer context"
            )
        computing = torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)
        with torch.no_grad(), computing:
            result = self._model(
                input_ids=tokens,
                attention_mask=self._mask,
                position_ids=positions[:, -tokens.shape[1] :],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._logits = result.logits[:, -1]


def growing_cache(config: Any, dtype: Any = None) -> Any:
    """A cache of transformers that makes room for many tokens at a time.

    Its own copies all keys and values for every token, which for a small model costs more than the
    rest of a step.

    Args:
        dtype: of what is kept; None for that of the keys and values themselves.
    """
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):
        def update(self, keys: Any, values: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
            keys, values = keys.to(dtype or keys.dtype), values.to(dtype or values.dtype)
            if not self.is_initialized:
                self.lazy_initialization(keys, values)
                self.used, self.buffers = 0, [x[:, :, :0] for x in (keys, values)]
            start, self.used = self.used, self.used + keys.shape[-2]
            if self.used > self.buffers[0].shape[-2]:
                room = self.used + 128
                for i, old in enumerate((keys, values)):
                    grown = old.new_empty((*old.shape[:2], room, old.shape[-1]))
                    grown[:, :, :start] = self.buffers[i][:, :, :start]
                    self.buffers[i] = grown
            for buffer, new in zip(self.buffers, (keys, values), strict=True):
                buffer[:, :, start : self.used] = new
            self._look()
            return self.keys, self.values

        def batch_select_indices(self, indices: Any) -> None:
            self.buffers = [torch.index_select(x, 0, indices) for x in self.buffers]
            self._look()

        def _look(self) -> None:
            self.keys, self.values = (x[:, :, : self.used] for x in self.buffers)

    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(x) is DynamicLayer else x for x in cache.layers]
    if not cache.layers:
        cache.layer_class_to_replicate = GrowingLayer
    return cache
