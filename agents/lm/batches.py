"""Batches of rows of about the same length, in an order that has nothing to do with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class LengthBatches(Sampler[int]):
    """Places of rows, those of a batch beside each other.

    The batches themselves come in random order. (transformers' `group_by_length` goes from long to
    short rows again and again: a model follows, and ends on the short ones.)

    Args:
        lengths: of the rows.
        batch_size: rows that are learnt from together, on all processes.
        seed: of the order, which is another in every epoch.
        pool: batches whose rows are sorted among each other.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 16) -> None:
        self.lengths, self.batch_size = np.asarray(lengths), batch_size
        self.seed, self.pool, self.epoch = seed, pool, 0

    def set_epoch(self, epoch: int) -> None:
        """As accelerate asks for it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draws = np.random.default_rng([self.seed, self.epoch])
        order = draws.permutation(len(self))
        whole = len(order) - len(order) % self.batch_size
        size = self.pool * self.batch_size
        batches: list[np.ndarray] = []
        for start in range(0, whole, size):
            some = order[start : min(start + size, whole)]
            some = some[np.argsort(self.lengths[some], kind="stable")]
            batches += np.split(some, len(some) // self.batch_size)
        for number in draws.permutation(len(batches)):
            yield from batches[number].tolist()
        yield from order[whole:].tolist()
