"""The leaderboard: what is compared with what, and a text that changes only with the results."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from crs_gym.evaluation.leaderboard import is_stale, render_markdown, render_rich, tables
from crs_gym.evaluation.results import Result
from crs_gym.world import DataError

EPISODES = 200


def result(policy: str, mean: float, **changes: Any) -> Result:
    rng = np.random.default_rng([int(100 * mean), changes.get("training_seed") or 0])
    users = np.random.default_rng(0)
    fields: dict[str, Any] = {
        "env_id": "crs/Icer-v0",
        "env_kwargs": {"max_turns": 4},
        "world_name": "films",
        "world_hash": "0123456789abcdef",
        "user_model": {},
        "user_kind": "rule",
        "policy": policy,
        "policy_kwargs": {},
        "evaluation_seed": 0,
        "episode_seeds": np.arange(EPISODES),
        "user_ids": users.integers(0, 50, EPISODES),
        "scores": mean + users.normal(0, 0.2, EPISODES) + rng.normal(0, 0.05, EPISODES),
        "turns": np.tile([1, 2, 4, 4], EPISODES // 4),
        "accepted": np.tile([True, True, True, False], EPISODES // 4),
        "left": np.zeros(EPISODES, bool),
        "utilities": np.tile([0.5, 0.5, 0.5, 0], EPISODES // 4),
        "wall_seconds": 1,
        "command": "test",
    }
    return Result(**(fields | changes))


REFERENCE = [result("random", 0.0), result("oracle", 1.0), result("greedy", 0.3)]
LEARNT = [result("ppo", 0.6 + 0.02 * s, training_seed=s, training_steps=1000) for s in range(3)]


def test_one_table() -> None:
    (table,) = tables([*REFERENCE, *LEARNT])
    assert [row.policy for row in table.rows] == ["oracle", "ppo", "greedy", "random"]
    assert [row.rank for row in table.rows] == [None, 1, 2, 3]
    assert [row.seeds for row in table.rows] == [0, 3, 0, 0]
    assert (table.episodes, table.problem, table.kwargs_hash) == (200, None, LEARNT[0].kwargs_hash)
    oracle, ppo, _, random = table.rows
    assert (oracle.score, random.score) == ((1, 1, 1), (0, 0, 0))
    pooled = np.mean([r.scores for r in LEARNT])
    means = [np.mean(r.scores) for r in REFERENCE]
    assert ppo.reward.mean == pytest.approx(pooled)
    assert ppo.score is not None
    assert ppo.score.mean == pytest.approx((pooled - means[0]) / (means[1] - means[0]))
    assert ppo.score.low < ppo.score.mean < ppo.score.high
    assert (ppo.success, ppo.turns) == (0.75, 11 / 4)
    assert ppo.accepted_by == (0.25, 0.5, 0.5, 0.75)


@pytest.mark.parametrize(
    "change",
    [
        {"env_id": "crs/IcerMacro-v0"},
        {"world_hash": "f" * 16},
        {"env_kwargs": {"max_turns": 5}},
        {"evaluation_seed": 1},
        {"episode_seeds": np.arange(EPISODES) + 1},
        {"user_kind": "lm:small"},
    ],
)
def test_only_the_same_is_compared(change: dict[str, Any]) -> None:
    alone = result("greedy", 0.9, **change)
    before = tables(REFERENCE)
    after = tables([*REFERENCE, alone])
    assert len(after) == 2
    assert before[0] in after
    (other,) = (table for table in after if table != before[0])
    assert other.problem == "no results of the policy random"
    assert [(row.policy, row.rank, row.score) for row in other.rows] == [("greedy", 1, None)]
    assert "Not normalised: no results of the policy random" in render_markdown([alone])


def test_rule_based_users_come_first() -> None:
    kinds = ["lm:a", "rule", "lm:b"]
    found = tables([result("random", 0, user_kind=kind) for kind in kinds])
    assert [table.user_kind for table in found] == ["rule", "lm:a", "lm:b"]


def test_variants_of_a_policy_are_rows_of_their_own() -> None:
    variants = [
        result("ppo", 0.5, training_seed=0, training_steps=1000),
        result("ppo", 0.7, training_seed=0, training_steps=20_000),
        result("ask", 0.2, policy_kwargs={"n": 1}),
    ]
    (table,) = tables([*REFERENCE, *variants])
    names = [row.policy for row in table.rows]
    assert names == ["oracle", "ppo (20,000 steps)", "ppo (1,000 steps)", "greedy", "ask", "random"]


def test_a_policy_does_not_change_the_numbers_of_others() -> None:
    def scores(results: list[Result]) -> dict[str, Any]:
        (table,) = tables(results)
        return {row.policy: (row.score, row.reward) for row in table.rows}

    few, many = scores([*REFERENCE, *LEARNT]), scores([*REFERENCE, *LEARNT, result("x", 0.4)])
    for name, (score, reward) in few.items():
        assert many[name][0] == pytest.approx(score, abs=1e-12)
        assert many[name][1] == pytest.approx(reward, abs=1e-12)


def test_an_oracle_no_better_than_random() -> None:
    (table,) = tables([result("random", 0.5), result("oracle", 0.4)])
    assert table.problem is not None
    assert "is not above random's" in table.problem
    (table,) = tables([result("oracle", 0.4)])
    assert [row.rank for row in table.rows] == [None]


def test_one_user_gives_no_interval() -> None:
    few = {
        k: getattr(REFERENCE[0], k)[:1]
        for k in ("episode_seeds", "user_ids", "scores", "turns", "accepted", "left", "utilities")
    }
    (table,) = tables([result("random", 0, **few), result("oracle", 1, **few)])
    assert table.problem is not None
    assert "at least two users" in table.problem
    assert [row.rank for row in table.rows] == [None, None]


def test_what_cannot_be_counted() -> None:
    with pytest.raises(DataError, match="given twice"):
        tables([*REFERENCE, REFERENCE[0]])
    for change in ({"user_ids": np.arange(EPISODES)}, {"user_model": {"temperature": 9}}):
        other = result("popularity", 0.1, **change)
        with pytest.raises(DataError, match=r"other users.*evaluate it again"):
            tables([*REFERENCE, other])


def test_the_text_is_the_same_in_any_order() -> None:
    everything = [
        *REFERENCE,
        *LEARNT,
        result("tie", 0.3, scores=REFERENCE[2].scores),
        result("random", 0.0, user_kind="lm:b"),
        result("random", 0.0, env_id="crs/A-v0"),
    ]
    text = render_markdown(everything)
    for seed in range(3):
        shuffled = [everything[n] for n in np.random.default_rng(seed).permutation(len(everything))]
        assert render_markdown(shuffled) == text
    assert text.index("| greedy |") < text.index("| tie |")


def test_the_markdown_says_what_was_measured() -> None:
    text = render_markdown(REFERENCE)
    for part in (
        "## crs/Icer-v0, films, rule-based users",
        '`{"max_turns":4}` (hash `',
        "World: films (hash `0123456789abcdef`)",
        "Episodes: 200 (evaluation list 0)",
        "| – | oracle | 1.000 | [1.000, 1.000] | 75.0% | 2.75 |",
    ):
        assert part in text
    assert "Not normalised" not in text
    assert text.endswith("|\n")
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {9}
    assert "No results yet" in render_markdown([])
    assert "| a\\|b |" in render_markdown([result("a|b", 0)])
    assert "-0.000" not in render_markdown([result("x", 0, scores=np.full(EPISODES, -1e-5))])


def test_staleness(tmp_path: Path) -> None:
    path = tmp_path / "LEADERBOARD.md"
    assert is_stale(path, REFERENCE)
    path.write_text(render_markdown(REFERENCE), encoding="utf-8")
    assert not is_stale(path, REFERENCE[::-1])
    assert is_stale(path, [*REFERENCE, *LEARNT])
    path.write_text(path.read_text(encoding="utf-8").replace("greedy", "greedier"))
    assert is_stale(path, REFERENCE)


def test_the_terminal_shows_every_policy_in_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(render_rich([*REFERENCE, *LEARNT, result("[b]ask-3-attribute", 0.2)]))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for name in ("oracle", "ppo", "greedy", "[b]ask-3-attribute", "Seeds", "Episodes: 200"):
        assert name in text
    assert "…" not in text
    console.print(render_rich([]))
    assert "No results yet." in console.file.getvalue()
