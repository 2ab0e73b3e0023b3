from pathlib import Path

from crs_gym.evaluation import is_stale, read_all

ROOT = Path(__file__).parents[2]


def test_the_leaderboard_is_what_the_committed_results_say():
    """Render it again with `crs-gym leaderboard experiments/results` where this fails."""
    results = read_all(ROOT / "experiments" / "results")
    assert results
    assert not is_stale(ROOT / "LEADERBOARD.md", results)
