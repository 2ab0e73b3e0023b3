"""Recommenders that are models, on the evaluation users."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from agents.lm import models
from agents.lm.evaluate import Args, evaluate
from crs_gym.simulation import evaluation_seeds


@pytest.fixture(scope="module")
def results(taught, taught_user, plane_world, tmp_path_factory):
    """With users of rules, and with a model: (the result, the samples)."""
    out = tmp_path_factory.mktemp("results")
    common = {"model": taught, "world": plane_world, "env_kwargs": {"max_turns": 3}, "out": out}
    found = []
    for user in ("icer", str(taught_user)):
        before = set(out.glob("samples/*"))
        result = evaluate(Args(**common, user=user, episodes=12, batch=4, progress=False))
        (new,) = set(out.glob("samples/*")) - before
        assert (new.name == f"{result.policy}@0.3.txt") == (user == "icer")
        found.append((result, new.read_text(encoding="utf-8")))
    return found


def test_samples_are_the_first_conversations_with_each_user(results):
    assert len({samples for _, samples in results}) == 2
    for result, samples in results:
        returns = [line for line in samples.splitlines() if line.startswith("(return ")]
        assert returns == [f"(return {score:.2f})" for score in result.scores[:10]]


def test_the_result_says_which_model_it_is_of(results, taught):
    for result, _ in results:
        assert result.extra["model"] == models.name_of(taught)
        assert "started_from" not in result.extra


def test_the_result_is_that_of_the_evaluation_list(results):
    for result, _ in results:
        assert list(result.episode_seeds) == evaluation_seeds(0, 12).tolist()
        assert result.extra["reward"] == pytest.approx(np.mean(result.scores), abs=1e-6)
        assert result.extra["success"] == pytest.approx(np.mean(result.accepted))
        assert result.extra["turns"] == pytest.approx(np.mean(result.turns))
    (talked, _), (model, _) = results
    assert talked.user_ids == model.user_ids
    assert talked.user_kind != model.user_kind
