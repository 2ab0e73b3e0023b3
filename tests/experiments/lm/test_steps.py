"""What was measured is found again, without its model, until what it follows from changes."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import tyro

pytest.importorskip("trl", reason="trl is not installed (the extra `lm`)")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from agents.lm import sft
from crs_gym.evaluation.results import read, write
from experiments.lm import steps
from experiments.lm.steps import Plan, Step


@pytest.fixture(scope="module")
def plan(small_world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    small_world.save(folder / "small.safetensors")
    return Plan(
        world=str(folder / "small.safetensors"),
        runs=folder / "runs",
        results=folder / "results",
        dialogues=24,
        few=24,
        few_epochs=0.1,
        updates=1,
        episodes=8,
        workers=1,
        bf16=False,
        progress=False,
    )


@pytest.fixture(scope="module")
def measured(plan):
    """A result that was measured elsewhere, kept with the recipe of its model."""
    kept = next(Path(steps.__file__).parent.glob("results/crs/*/lm-sft/*.json"))
    result = read(kept)
    path = write(result, plan.results).relative_to(plan.results)
    recipe = steps.supervised(plan, 0).recipe
    record = plan.results / "measured" / f"lm-sft-0-icer-{plan.episodes}-0.3.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"result": str(path), "recipe": recipe}))
    return result


def test_a_result_is_found_where_there_is_no_model(plan, measured):
    found = steps.evaluated(plan, steps.supervised(plan, 0), "lm-sft", 0)
    assert found == measured
    assert not plan.runs.exists()


@pytest.mark.slow
def test_a_result_outlives_its_model(plan, tmp_path):
    plan = dataclasses.replace(plan, runs=tmp_path / "runs", results=tmp_path / "results")
    measured = steps.evaluated(plan, steps.supervised(plan, 0), "lm-sft", 0)
    assert measured.extra["model"] == steps.supervised(plan, 0).content()
    shutil.rmtree(plan.runs)
    assert steps.evaluated(plan, steps.supervised(plan, 0), "lm-sft", 0) == measured
    assert not plan.runs.exists()


def test_what_was_not_measured_is_not_there(plan, measured):
    assert steps.measured(plan, steps.supervised(plan, 0), "lm-sft", 0) == measured
    assert steps.measured(plan, steps.supervised(plan, 0), "lm-sft", 0, temperature=0.0) is None
    assert steps.measured(plan, steps.supervised(plan, 1), "lm-sft", 1) is None
    assert not plan.runs.exists()


def test_a_model_that_is_here_counts_not_one_that_was(plan, measured, tmp_path):
    plan = dataclasses.replace(plan, runs=tmp_path / "runs", results=tmp_path)
    step = steps.supervised(plan, 0)
    assert step.content() is None
    path = step.folder / "final" / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one")
    (path.parent / "config.json").write_text("{}")

    known = dataclasses.replace(measured, extra={**measured.extra, "model": step.content()})
    kept = write(known, plan.results).relative_to(plan.results)
    record = plan.results / "measured" / f"lm-sft-0-icer-{plan.episodes}-0.3.json"
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps({"result": str(kept), "recipe": step.recipe}))
    assert steps.measured(plan, step, "lm-sft", 0) == known
    path.write_bytes(b"another")
    with pytest.warns(UserWarning, match="another model than that in .*sft-0"):
        assert steps.measured(plan, step, "lm-sft", 0) is None
    shutil.rmtree(plan.runs)
    assert steps.measured(plan, step, "lm-sft", 0) == known


def test_references_are_played_once(plan, monkeypatch):
    first = steps.references(plan, ("random", "greedy"))
    assert [r.policy for r in first] == ["random", "greedy"]
    monkeypatch.setattr(steps, "benchmark", None)
    assert steps.references(plan, ("random", "greedy")) == first


def test_it_is_measured_again_when_what_it_follows_from_changes(plan, measured):
    asked = []

    def train():
        asked.append(True)
        raise InterruptedError

    for changed in ({"few": 20}, {"few_epochs": 0.2}, {"dialogues": 30}):
        step = steps.supervised(dataclasses.replace(plan, **changed), 0)
        step = Step(plan.runs / "not-there", step.recipe, train)
        with pytest.raises(InterruptedError):
            steps.evaluated(plan, step, "lm-sft", 0)
    assert len(asked) == 3


def test_how_it_is_computed_does_not_count(plan):
    recipe = steps.reinforced(plan, "grpo", 0).recipe
    changed = dataclasses.replace(
        plan, runs=plan.runs / "b", results=plan.results / "b", workers=2, bf16=True, progress=True
    )
    assert steps.reinforced(changed, "grpo", 0).recipe == recipe
    assert str(plan.runs.parent) not in json.dumps(recipe)


def test_recipes_tell_learners_seeds_and_users_apart(plan):
    made = [
        steps.untrained(plan, 0),
        steps.supervised(plan, 0),
        steps.supervised(plan, 1),
        steps.supervised(plan, 0, everything=True),
        steps.bot_user(plan),
        steps.reinforced(plan, "grpo", 0),
        steps.reinforced(plan, "grpo-all", 0),
        steps.reinforced(plan, "grpo-all", 1),
        steps.reinforced(plan, "ppo-turns", 0),
        steps.reinforced(plan, "ppo-dialogues", 0),
        steps.reinforced(plan, "ppo-bot", 0),
        steps.reinforced(plan, "ppo-bot", 1),
        *steps.self_played(plan, 0, 1, 1)[:1],
        steps.self_played(plan, 0, 2, 1)[0],
    ]
    recipes = {json.dumps(step.recipe, sort_keys=True) for step in made}
    assert len(recipes) == len(made)
    assert len({step.folder for step in made[:-1]}) == len(made) - 1
    seeds = {
        name: args.get("seed") for name, args in steps.reinforced(plan, "ppo-bot", 1).recipe.items()
    }
    assert (seeds["sft"], seeds["sft-user"], seeds["ppo-bot"]) == (1, 0, 1)


@pytest.mark.parametrize(("learner", "start"), [("ppo-turns-all", "sft-all"), ("grpo", "sft")])
def test_learners_start_from_the_supervised_model_of_their_seed(plan, learner, start):
    step = steps.supervised(plan, 1, everything=start == "sft-all")
    learnt = steps.reinforced(plan, learner, 1)
    assert learnt.recipe[start] == step.recipe[start]
    assert learnt.recipe[learner]["seed"] == 1
    updates = {"ppo-turns-all": plan.all_updates, "grpo": plan.updates}[learner]
    assert learnt.recipe[learner]["updates"] == updates


def test_an_unknown_learner_is_refused(plan):
    with pytest.raises(KeyError, match="ppo-turn"):
        steps.reinforced(plan, "ppo-turn", 0)


def test_a_command_line_says_all_arguments(tmp_path):
    args = sft.Args(
        data=tmp_path,
        out=tmp_path / "run",
        role="user",
        limit=3,
        held_out=0.1,
        batch_size=16,
        learning_rate=0.01,
        resume=True,
        progress=False,
    )
    assert tyro.cli(sft.Args, args=steps.command_line(args)) == args


@pytest.mark.slow
def test_processes_share_the_training_that_reads_everything(plan, tmp_path):
    plan = dataclasses.replace(plan, runs=tmp_path / "runs", dialogues=150, sft_epochs=1.0)
    step = steps.supervised(plan, 0, everything=True)
    assert step.recipe["sft-all"]["processes"] == 2
    folder = step.made()
    history = json.loads((folder / "history.json").read_text())
    # 150 dialogues, less those held out, are five batches of 32, not ten of 16
    assert history[-1]["step"] == 5
