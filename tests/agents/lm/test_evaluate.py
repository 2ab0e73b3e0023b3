"""Recommenders that are models, on the evaluation users."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from agents.lm import models
from agents.lm.evaluate import Args, evaluate, policy_of
from crs_gym.language.card import card_of
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
    assert talked.extra["failed"]["user"] == []
    assert len(model.extra["failed"]["user"]) == round(12 * model.extra["user_failed"])
    assert talked.user_ids == model.user_ids
    assert talked.user_kind != model.user_kind


def test_who_failed_is_known_of_each_conversation(taught, plane_world, tmp_path):
    args = Args(taught, world=plane_world, out=tmp_path, episodes=3, max_turn=2, progress=False)
    result = evaluate(args)
    assert result.extra["failed"] == {"recommender": [0, 1, 2], "user": []}
    assert result.extra["cut"] == result.extra["recommender_failed"] == 1
    assert result.policy_kwargs == {"temperature": 0.3, "max_turn": 2}


def test_models_of_two_runs_have_results_of_their_own(tmp_path):
    assert policy_of(Args(tmp_path / "sft")) == "lm-sft"
    assert policy_of(Args(tmp_path / "ppo" / "final")) == "lm-ppo"
    assert policy_of(Args(tmp_path / "ppo", policy="mine")) == "mine"


def test_a_model_is_not_rated_by_one_with_other_tokens(taught, taught_user, plane_world, tmp_path):
    args = Args(taught, world=plane_world, out=tmp_path, episodes=2, progress=False)
    with pytest.raises(ValueError, match="not the recommender"):
        evaluate(dataclasses.replace(args, supervised=taught_user))
    tokenizer, model = models.load(taught)
    tokenizer.add_tokens(["another"])
    models.save(model, tokenizer, card_of(taught), tmp_path / "other")
    with pytest.raises(ValueError, match="other tokens than --model"):
        evaluate(dataclasses.replace(args, supervised=tmp_path / "other"))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"max_turn": 0}, "max_turn must be at least 1"),
        ({"temperature": -1.0}, "at least 0"),
        ({"device": "cuda:99"}, "cuda"),
        ({"env_kwargs": {"split": "train"}}, "split cannot be among env_kwargs"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(taught, plane_world, tmp_path, changed, says):
    args = Args(taught, world=plane_world, out=tmp_path, episodes=2, progress=False)
    with pytest.raises(ValueError, match=says):
        evaluate(dataclasses.replace(args, **changed))
    assert list(tmp_path.iterdir()) == []
