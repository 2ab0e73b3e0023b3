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
    token attends to. Texts that are over are dropped from the batch when they are many, and those
    that have ended their turn wait beside it while less than half still write.

    Args:
        model: a causal language model of Hugging Face; it is not put into evaluation mode here.
        texts: B.
        end, pad: the token that ends a turn, and the one for padding.
        temperature: of sampling; 0 takes the likeliest token.
        generator: of torch, on the CPU, for sampling.
        bf16: compute in bfloat16, and keep keys and values in it. Not so on a CPU, where attention
            of single tokens to what is kept takes longer in bfloat16 than in float32, and a small
            model spends most of its time with it: there only what is read is computed so.
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

        from agents.lm.cache import GrowingCache

        if not temperature >= 0:
            raise ValueError(f"temperature must be at least 0, not {temperature}")
        self._model, self._end, self._pad = model, end, pad
        self._temperature, self._generator = temperature, generator
        self._device = model.device
        self._bf16 = bf16
        self._halves = bf16 and self._device.type != "cpu"  # in all that is written, too
        kept = torch.bfloat16 if self._halves else torch.float32 if bf16 else None
        self._cache = GrowingCache(model.config, kept)
        self._rows = list(range(texts))  # the texts that are still in the batch
        self._some: Any = None  # places of those that are computed while the others wait
        self._mask = torch.zeros((texts, 0), dtype=torch.long, device=self._device)
        self._waiting: list[list[int]] = [[] for _ in range(texts)]
        self._logits: Any = None
        text_config = model.config.get_text_config()
        self._room: int = getattr(text_config, "max_position_embeddings", 2**31)

    def read(self, pieces: Sequence[Sequence[int]]) -> None:
        """Each text goes on with a piece of tokens, empty for those that are over.

        Raises:
            ValueError: a text is longer than the model can read, or texts that are padded are
                longer than a window of its attention.
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
        """The next turn of each text of `who`, of at most `limit` tokens; None for the others.

        Raises:
            ValueError: as `read`.
        """
        import torch

        found: list[Written | None] = [Written([], [], False) if x else None for x in who]
        rows, active = np.array(self._rows), np.array(who, bool)[self._rows]
        for step in range(limit):
            chosen, logprobs = self._choose()
            tokens, likely = chosen.tolist(), logprobs.tolist()
            for place in np.flatnonzero(active):
                text = rows[place]
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
            if 2 * active.sum() < len(active) and self._cache.narrows:
                kept = self._narrow(active)
                rows, active, chosen = rows[active], active[active], chosen[kept]
            mask = torch.from_numpy(active.astype(np.int64)).to(self._device)
            self._feed(torch.where(mask > 0, chosen, self._pad)[:, None], mask[:, None])
        self._cache.widen()
        self._some = None
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

    def _narrow(self, active: np.ndarray) -> Any:
        """Goes on with some of the places that are computed until the turn is over; which."""
        import torch

        kept = torch.from_numpy(np.flatnonzero(active)).to(self._device)
        self._cache.narrow(kept)
        self._some = kept if self._some is None else self._some[kept]
        return kept

    def _feed(self, tokens: Any, mask: Any) -> None:
        import torch

        if self._some is None:
            self._mask = seen = torch.cat([self._mask, mask], dim=1)
        else:
            self._mask = torch.nn.functional.pad(self._mask, (0, mask.shape[1]))
            self._mask[self._some, -mask.shape[1] :] = mask
            seen = self._mask[self._some]
        positions = (seen.cumsum(1) - 1).clamp(min=0)
        longest = int(positions[:, -1].max()) + 1
        if longest > self._room:
            raise ValueError(
                f"a conversation has {longest} tokens and the model reads {self._room}: play fewer "
                "or shorter turns, or take a model with a longer context"
            )
        halves = self._halves or (self._bf16 and tokens.shape[1] > 1)
        window = self._cache.window
        # layers that keep a window count padding, too
        if window is not None and seen.shape[1] > window and not bool(seen.all()):
            raise ValueError(
                f"conversations side by side take {seen.shape[1]} tokens, and the model's "
                f"attention has a window of {window}: play them one by one (a batch of 1), or take "
                "a model with full attention"
            )
        computing = torch.autocast(self._device.type, torch.bfloat16, enabled=halves)
        with torch.no_grad(), computing:
            result = self._model(
                input_ids=tokens,
                attention_mask=seen,
                position_ids=positions[:, -tokens.shape[1] :],
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._logits = result.logits[:, -1]
