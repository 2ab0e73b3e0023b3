"""How well rewriting went, by kind of turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from crs_gym.dialogue.grammar import KINDS


@dataclass(frozen=True)
class Tally:
    """Counts over turns of one kind.

    turns: to rewrite; each ends as `model` or `fallback`.
    first: those whose first reply passed the checks.
    model: those of which some reply did.
    fallback: those that stay templates.
    requests: replies asked for, further attempts included.
    failures: requests that brought no reply.
    rejections: replies refused by the checks, by `Reason`.
    """

    turns: int = 0
    first: int = 0
    model: int = 0
    fallback: int = 0
    requests: int = 0
    failures: int = 0
    rejections: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def __add__(self, other: Tally) -> Tally:
        counts = {
            name: getattr(self, name) + getattr(other, name)
            for name in self.__dataclass_fields__
            if name != "rejections"
        }
        refused = Counter(self.rejections) + Counter(other.rejections)
        return Tally(**counts, rejections=MappingProxyType(dict(refused)))


@dataclass(frozen=True)
class Rates:
    """Tallies by kind of turn, as `crs_gym.dialogue.grammar.KINDS` names them; shards add up."""

    kinds: Mapping[str, Tally] = field(default_factory=lambda: MappingProxyType({}))

    def __add__(self, other: Rates) -> Rates:
        kinds = {*self.kinds, *other.kinds}
        none = Tally()
        return Rates(
            MappingProxyType(
                {
                    kind: self.kinds.get(kind, none) + other.kinds.get(kind, none)
                    for kind in KINDS.values()
                    if kind in kinds
                }
            )
        )

    @property
    def total(self) -> Tally:
        """All kinds together."""
        return sum(self.kinds.values(), Tally())

    def to_json(self) -> dict[str, Any]:
        """JSON values: a dictionary for each kind."""
        return {
            kind: {**vars(tally), "rejections": dict(sorted(tally.rejections.items()))}
            for kind, tally in self.kinds.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Mapping[str, Any]]) -> Rates:
        """Back from `to_json`.

        Raises:
            ValueError: values of another shape.
        """
        try:
            tallies = {kind: Tally(**tally) for kind, tally in values.items()}
            return cls() + cls(tallies)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"these are no rates of rewriting: {error}") from error

    def table(self) -> Any:
        """A `rich` table: a row for each kind, and one for all."""
        from rich.table import Table

        head = (
            "turn",
            "turns",
            "at first",
            "rewritten",
            "template",
            "requests",
            "failed",
            "refused for (mostly)",
        )
        table = Table(*head, box=None)
        for name, tally in (*self.kinds.items(), ("all", self.total)):
            by_count = sorted(tally.rejections.items(), key=lambda one: (-one[1], one[0]))
            table.add_row(
                name,
                f"{tally.turns:,}",
                *(_share(n, tally.turns) for n in (tally.first, tally.model, tally.fallback)),
                f"{tally.requests:,}",
                _share(tally.failures, tally.requests),
                ", ".join(f"{reason} {_share(n, tally.requests)}" for reason, n in by_count[:3]),
            )
        return table


def _share(count: int, of: int) -> str:
    return f"{count / of:.1%}" if of else "-"
