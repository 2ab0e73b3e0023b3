"""Differences are taken between the models that belong together."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("trl", reason="trl is not installed (the extra `lm`)")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from experiments.lm import compare, steps


@pytest.fixture(scope="module")
def kept():
    plan, made = steps.Plan.of(compare.Args()), []
    for seed in range(3):
        made.append(steps.measured(plan, steps.supervised(plan, seed), "lm-sft", seed))
        made.append(steps.measured(plan, steps.reinforced(plan, "grpo", seed), "lm-grpo", seed))
    assert None not in made, "not measured with these defaults yet: run experiments.lm.compare"
    return made


def of(results, policy, *seeds):
    found = {r.training_seed: r.scores for r in results if r.policy == policy}
    return np.array([found[seed] for seed in seeds])


def table(results, folder):
    compare.write_table(results, [], folder)
    return json.loads((folder / "compare.json").read_text())


def test_a_learner_is_measured_against_the_model_that_it_started_from(kept, tmp_path):
    some = [r for r in kept if (r.policy, r.training_seed) != ("lm-grpo", 0)]
    row = table(some, tmp_path)["lm-grpo@0.3"]["less sft@0.3"]
    assert row["seeds"] == 2
    gain = of(kept, "lm-grpo", 1, 2) - of(kept, "lm-sft", 1, 2)
    assert row["mean"] == pytest.approx(gain.mean())
    assert row["low"] < row["mean"] < row["high"]


def test_a_start_that_was_trained_anew_is_no_pair(kept, tmp_path):
    def said(result, **extra):
        return dataclasses.replace(result, extra={**result.extra, **extra})

    some = [
        said(r, model=f"sft@{r.training_seed}")
        if r.policy == "lm-sft"
        else said(r, started_from="sft@1" if r.training_seed else "sft@other")
        for r in kept
    ]
    row = table(some, tmp_path)["lm-grpo@0.3"]["less sft@0.3"]
    assert row["seeds"] == 1
    gain = of(kept, "lm-grpo", 1) - of(kept, "lm-sft", 1)
    assert row["mean"] == pytest.approx(gain.mean())


def test_a_learner_of_all_dialogues_started_from_a_model_of_all(kept, tmp_path):
    some = [r for r in kept if r.policy == "lm-sft"]
    some += [
        dataclasses.replace(r, policy=f"{r.policy}-all", training_seed=r.training_seed + 1)
        for r in kept
        if r.policy == "lm-sft" or r.training_seed < 2
    ]
    row = table(some, tmp_path)["lm-grpo-all@0.3"]
    gain = of(kept, "lm-grpo", 0, 1) - of(kept, "lm-sft", 0, 1)
    assert row["less sft@0.3"]["seeds"] == 2
    assert row["less sft@0.3"]["mean"] == pytest.approx(gain.mean())
    assert row["conversations"] == 1000
    assert row["users"] == len(set(kept[0].user_ids))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"lm-grpo": range(8), "lm-ppo-bot": range(5), "lm-sft-all": range(5)}),
        ({"seeds": 2, "first_seed": 6}, {"lm-grpo": [6, 7], "lm-ppo-bot": [6, 7]}),
    ],
)
def test_every_policy_has_its_number_of_seeds(given, expected, monkeypatch):
    asked = []
    monkeypatch.setattr(
        steps,
        "measured",
        lambda plan, step, policy, seed, temperature: asked.append((policy, seed)),
    )
    compare.main(compare.Args(**given, measured=True, temperatures=(0.0,), table=False))
    for policy, seeds in expected.items():
        assert [seed for name, seed in asked if name == policy] == list(seeds)


@pytest.mark.parametrize("seeds", [None, 1])
def test_a_policy_that_there_is_not_is_refused(seeds):
    args = compare.Args(policies=("ppo-turn",), seeds=seeds, measured=True, table=False)
    with pytest.raises(KeyError, match="ppo-turn"):
        compare.main(args)


def test_references_are_those_of_as_many_conversations(kept, tmp_path):
    plan = steps.Plan.of(compare.Args())
    (icer,) = steps.references(plan, ["icer"], 1000)
    lists = "scores user_ids episode_seeds turns accepted left utilities".split()
    half = dataclasses.replace(
        icer, policy="half", **{name: getattr(icer, name)[:500] for name in lists}
    )
    compare.write_table(kept, [icer, half], tmp_path)
    row = json.loads((tmp_path / "compare.json").read_text())["lm-sft@0.3"]
    assert row["less icer"]["mean"] == pytest.approx(row["return"] - np.mean(icer.scores))
    assert "less half" not in row
