"""Shares of answers with their intervals, and how far judges agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import NamedTuple

_Z = 1.959963984540054  # the normal quantile at 0.975


class Share(NamedTuple):
    """How many of n answers are of one kind, and the 95% interval of their share.

    times: of n. share, low, high: within [0, 1]; None where n is 0.
    """

    times: int
    share: float | None
    low: float | None
    high: float | None


def wilson(count: int, n: int) -> Share:
    """The share count / n and its 95% score interval (Wilson, 1927).

    Stays within [0, 1] and has a width at shares of 0 and 1, where the paper's tables come close.
    Answers count as independent, although several are about one dialogue.

    Raises:
        ValueError: not 0 <= count <= n.
    """
    if not 0 <= count <= n:
        raise ValueError(f"need 0 <= count <= n, not {count} of {n}")
    if n == 0:
        return Share(0, None, None, None)
    share, weight = count / n, _Z**2 / n
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    low = 0.0 if count == 0 else centre - half
    high = 1.0 if count == n else centre + half
    return Share(count, share, low, high)


def krippendorff(units: Iterable[Iterable[Hashable]]) -> float | None:
    """Krippendorff's alpha for answers without an order (2011, "Computing alpha-reliability").

    1 - D_o / D_e: 1 where judges agree on everything, 0 where they agree no more than answers dealt
    out at random, below where they agree less.

    Args:
        units: for each thing judged, the answers that were given; what a judge has not answered is
            left out. A thing with a single answer tells nothing and does not count.

    Returns:
        Above -1 and at most 1; None where it is not defined: nothing has two answers, or all
        answers are equal.
    """
    counts = [Counter(unit) for unit in units]
    pairable = [unit for unit in counts if unit.total() > 1]
    totals: Counter[Hashable] = sum(pairable, Counter())
    n = totals.total()
    expected = n**2 - sum(count**2 for count in totals.values())
    if expected == 0:
        return None
    observed = math.fsum(
        (unit.total() ** 2 - sum(count**2 for count in unit.values())) / (unit.total() - 1)
        for unit in pairable
    )
    return 1 - (n - 1) * observed / expected
