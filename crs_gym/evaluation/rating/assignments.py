"""Who judges what, in which order and on which side (ICER, section 5.1).

Pure functions of a seed: users are drawn first, then one dialogue of each; every judge has an
order of their own; in a pair, each kind of words stands first about as often as second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np


def sample(users: Sequence[int], count: int | None = None, seed: int = 0) -> tuple[int, ...]:
    """Places of the dialogues to judge: users drawn first, then one dialogue of each.

    Args:
        users: (B,) the user of each dialogue.
        count: users to draw, at least 1; None: all of them.
        seed: at least 0; of both draws.

    Returns:
        `count` places in `users`, in the order drawn.

    Raises:
        ValueError: no dialogue, or another `count` than 1 to the number of different users.
    """
    if not len(users):
        raise ValueError("there is no dialogue to judge")
    rng = np.random.default_rng(seed)
    known, cluster = np.unique(np.asarray(users, np.int64), return_inverse=True)
    count = len(known) if count is None else count
    if not 1 <= count <= len(known):
        raise ValueError(
            f"cannot draw {count} users: the dialogues are of {len(known)}, and each is drawn once"
        )
    drawn = rng.permutation(len(known))[:count]
    by_user = np.argsort(cluster, kind="stable")
    first = np.searchsorted(cluster[by_user], np.arange(len(known) + 1))
    offsets = np.floor(rng.random(count) * np.diff(first)[drawn]).astype(int)
    return tuple(by_user[first[drawn] + offsets].tolist())


def choose(
    taken: Mapping[int, int], done: AbstractSet[int], limit: int | None, judge: str, seed: int
) -> int | None:
    """The dialogue that a judge gets next: one of those that fewest have, or None.

    Among these the judge's own shuffled order decides.

    Args:
        taken: for each dialogue, how many have judged it or are about to.
        done: dialogues that this judge has had.
        limit: how many shall judge each dialogue; None for no limit.
        judge: name of the judge.
        seed: at least 0.
    """
    open_ = [
        number
        for number, count in taken.items()
        if number not in done and (limit is None or count < limit)
    ]
    if not open_:
        return None
    return min(open_, key=lambda n: (taken[n], _draw(seed, "order", judge, n), n))


def rewritten_first(number: int, place: int, seed: int) -> bool:
    """Whether the rewritten dialogue of a pair stands first.

    A coin for each dialogue, and then in turns: judge 0, 1, 2, ... of the dialogue (`place`) see
    it on alternating sides.
    """
    return (_draw(seed, "side", number) + place) % 2 == 0


def _draw(seed: int, *what: object) -> int:
    """A whole number of 64 bits that follows from its arguments alone."""
    digest = hashlib.sha256(repr((seed, *what)).encode()).digest()
    return int.from_bytes(digest[:8], "big")
