"""The leaderboard: one table for each environment, world, evaluation list and kind of user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crs_gym.evaluation.results import RULE, Result, canonical_json
from crs_gym.evaluation.statistics import (
    Interval,
    Scores,
    normalised_percentiles,
    percentile_interval,
    ranks,
    resampled_means,
)
from crs_gym.world import DataError

if TYPE_CHECKING:
    import rich.table

RANDOM, ORACLE = "random", "oracle"
_HEADINGS = ("Rank", "Policy", "Score", "95% interval", "Success", "Turns", "Return", "Seeds")
_INTRODUCTION = """\
# Leaderboard

Rendered by crs-gym from the files of results; not to be edited by hand.

- **Score**: mean return, scaled so that random recommendations are 0 and an oracle that knows the
  user is 1. Intervals are bootstrapped over users and training seeds; with one seed they are about
  users alone.
- **Rank**: 1 + the number of policies that are significantly better on the same users. The oracle
  is not ranked: it sees what the others have to find out.
- **Success**: share of conversations in which the user accepted an item. **Turns**: mean length.
  **Return**: mean return. **Seeds**: training runs; – for policies that are not trained.
"""


class Row(NamedTuple):
    """One policy of a table, over all its training runs.

    policy: its name; with its settings where a table holds several variants of one name.
    rank: at least 1; None for the oracle, and where there is only one user.
    score: normalised return with its 95% interval; None where the table is not normalised.
    reward: return with its 95% interval.
    success: share of accepted episodes.
    turns: mean number of turns.
    seeds: number of training runs, 0 for a policy that was not trained.
    accepted_by: (max turns,) share of the episodes that were accepted in turn t = 1, 2, ... or
        before.
    """

    policy: str
    rank: int | None
    score: Interval | None
    reward: Interval
    success: float
    turns: float
    seeds: int
    accepted_by: tuple[float, ...]


@dataclass(frozen=True)
class Table:
    """Policies that can be compared, the best first.

    Attributes:
        env_id, env_kwargs, kwargs_hash, world_name, world_hash, evaluation_seed, user_kind: as in
            `Result`, the same in all of them.
        episodes: number of episodes in each result.
        rows: one for each policy.
        problem: why there are no normalised scores, None where there are.
    """

    env_id: str
    env_kwargs: Mapping[str, Any]
    kwargs_hash: str
    world_name: str
    world_hash: str
    evaluation_seed: int
    user_kind: str
    episodes: int
    rows: tuple[Row, ...]
    problem: str | None


def tables(results: Iterable[Result]) -> list[Table]:
    """The results, grouped by what makes them comparable, rule-based users first.

    Neither the order of `results` nor policies elsewhere change a table's numbers.

    Raises:
        DataError: one run given twice, or results of one table that disagree about its users.
    """
    groups = defaultdict(list)
    for result in sorted(results, key=lambda result: result.path):
        key = (
            result.env_id,
            result.world_name,
            result.world_hash,
            result.kwargs_hash,
            result.user_kind != RULE,
            result.user_kind,
            result.evaluation_seed,
            result.episode_seeds,
        )
        groups[key].append(result)
    return [_table(groups[key]) for key in sorted(groups)]


def render_markdown(results: Iterable[Result]) -> str:
    """The text of LEADERBOARD.md; the same for the same results in any order.

    Raises:
        DataError: as `tables`.
    """
    parts = [_INTRODUCTION]
    for table in tables(results):
        lines = [f"## {_title(table)}", "", *(f"- {line}" for line in _facts(table)), ""]
        lines += [_markdown_row(_HEADINGS), "|---:|:---|---:|:---:|---:|---:|---:|---:|"]
        lines += [_markdown_row(_cells(row)) for row in table.rows]
        parts.append("\n".join(lines) + "\n")
    if len(parts) == 1:
        parts.append("No results yet.\n")
    return "\n".join(parts)


def render_rich(results: Iterable[Result]) -> rich.table.Table:
    """The same for a terminal: a grid with one framed table below the other.

    Raises:
        DataError: as `tables`.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table as RichTable

    grid = RichTable.grid()
    for table in tables(results):
        framed = RichTable(
            title=escape(_title(table)),
            caption=escape("\n".join(_facts(table)[1:]).replace("`", "")),
            title_style="bold",
            caption_style="dim",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),  # fits 80 columns
            pad_edge=False,
        )
        for heading in _HEADINGS:
            left = heading == "Policy"
            framed.add_column(
                heading, justify="left" if left else "right", no_wrap=not left, overflow="fold"
            )
        for row in table.rows:
            style = "dim" if row.rank is None else "bold green" if row.rank == 1 else None
            framed.add_row(*map(escape, _cells(row)), style=style)
        grid.add_row(framed)
    if not grid.rows:
        grid.add_row("No results yet.")
    return grid


def is_stale(path: str | Path, results: Iterable[Result]) -> bool:
    """Whether the file at `path` is missing or differs from `render_markdown(results)`.

    Raises:
        DataError: as `tables`.
    """
    path = Path(path)
    return not path.is_file() or path.read_text(encoding="utf-8") != render_markdown(results)


def _table(results: Sequence[Result]) -> Table:
    first = results[0]
    runs: defaultdict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        if any(other.path == result.path for other in runs[result.variant]):
            raise DataError(f"{result.path} was given twice; one run must be counted once")
        runs[result.variant].append(result)
    users = np.array(first.user_ids)
    scores = [
        Scores(np.array([r.scores for r in group]), users, np.array(first.episode_seeds))
        for group in runs.values()
    ]
    for result in results:
        if (result.user_ids, result.user_model) != (first.user_ids, first.user_model):
            raise DataError(
                f"{result.path} and {first.path} have the same episode seeds but other users; one "
                "of them is from another version, or its changes of the user model are not among "
                "its env_kwargs: evaluate it again"
            )
    names = [name for name, _ in runs]
    problem: str | None
    try:
        resampled = resampled_means(scores)
    except ValueError as error:  # fewer than two users: nothing can be told apart
        resampled, problem = np.array([[own.mean] for own in scores]), str(error)
        normalised: list[Interval | None] = [None] * len(scores)
        ranked: list[int] = []
    else:
        normalised, problem = _normalised(names, scores, resampled)
        ranked = [n for n, name in enumerate(names) if name != ORACLE]
    rank_of = dict(zip(ranked, ranks(resampled[ranked]), strict=True))
    n_turns = max(max(result.turns) for result in results)
    rows = [
        Row(
            policy=_label(group[0], names),
            rank=rank_of.get(n),
            score=normalised[n],
            reward=percentile_interval(scores[n].mean, resampled[n]),
            success=float(np.mean([r.accepted for r in group])),
            turns=float(np.mean([r.turns for r in group])),
            seeds=len(group) if group[0].training_seed is not None else 0,
            accepted_by=_accepted_by(group, n_turns),
        )
        for n, group in enumerate(runs.values())
    ]
    # ties in rounded means go by name, so that the last bits of a mean do not move a row
    rows.sort(key=lambda row: (row.rank or 0, -round(row.reward.mean, 9), row.policy))
    return Table(
        env_id=first.env_id,
        env_kwargs=first.env_kwargs,
        kwargs_hash=first.kwargs_hash,
        world_name=first.world_name,
        world_hash=first.world_hash,
        evaluation_seed=first.evaluation_seed,
        user_kind=first.user_kind,
        episodes=len(first.scores),
        rows=tuple(rows),
        problem=problem,
    )


def _normalised(
    names: Sequence[str], scores: Sequence[Scores], resampled: np.ndarray
) -> tuple[list[Interval | None], str | None]:
    nothing: list[Interval | None] = [None] * len(names)
    for name in (RANDOM, ORACLE):
        if names.count(name) != 1:
            return nothing, f"{names.count(name) or 'no'} results of the policy {name}"
    low, high = names.index(RANDOM), names.index(ORACLE)
    try:
        return [
            normalised_percentiles(
                (own.mean, scores[low].mean, scores[high].mean),
                (resampled[n], resampled[low], resampled[high]),
            )
            for n, own in enumerate(scores)
        ], None
    except ValueError as error:
        return nothing, str(error).removeprefix("cannot normalise: ")


def _label(result: Result, names: Sequence[str]) -> str:
    if names.count(result.policy) == 1:
        return result.policy
    settings = [f"{key}={canonical_json(v)}" for key, v in sorted(result.policy_kwargs.items())]
    if result.training_steps is not None:
        settings.append(f"{result.training_steps:,} steps")
    return f"{result.policy} ({', '.join(settings)})" if settings else result.policy


def _accepted_by(group: Sequence[Result], n_turns: int) -> tuple[float, ...]:
    turns = np.array([result.turns for result in group])
    accepted = np.array([result.accepted for result in group])
    return tuple(float((accepted & (turns <= t)).mean()) for t in range(1, n_turns + 1))


def _title(table: Table) -> str:
    users = "rule-based users" if table.user_kind == RULE else f"users: {table.user_kind}"
    return f"{table.env_id}, {table.world_name}, {users}"


def _facts(table: Table) -> list[str]:
    kwargs = canonical_json(table.env_kwargs)
    facts = [
        f"Environment: `{table.env_id}`",
        f"Keyword arguments: `{kwargs}` (hash `{table.kwargs_hash}`)",
        f"World: {table.world_name} (hash `{table.world_hash}`)",
        f"Episodes: {table.episodes:,} (evaluation list {table.evaluation_seed})",
    ]
    if table.problem:
        facts.append(f"Not normalised: {table.problem}")
    return facts


def _cells(row: Row) -> tuple[str, ...]:
    score = interval = "–"
    if row.score is not None:
        score = _number(row.score.mean, 3)
        interval = f"[{_number(row.score.low, 3)}, {_number(row.score.high, 3)}]"
    return (
        "–" if row.rank is None else str(row.rank),
        row.policy,
        score,
        interval,
        f"{_number(100 * row.success, 1)}%",
        _number(row.turns, 2),
        _number(row.reward.mean, 3),
        str(row.seeds or "–"),
    )


def _number(value: float, digits: int) -> str:
    # twice, so that a tie is rounded alike on machines that differ in the last bits
    text = f"{round(value, 9):.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
