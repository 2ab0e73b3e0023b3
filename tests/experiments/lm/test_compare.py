"""Differences are taken between the models that belong together."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("trl", reason="trl is not installed (the extra `lm`)")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from experiments.lm import compare, steps


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    # models that happen to be in the usual folder are not these
    plan, made = steps.Plan.of(compare.Args(runs=tmp_path_factory.mktemp("runs"))), []
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
    assert row["conversations"] == 4000
    assert row["users"] == len(set(kept[0].user_ids))


def test_a_policy_that_there_is_not_is_refused():
    args = compare.Args(policies=("ppo-turn",), measured=True, table=False)
    with pytest.raises(KeyError, match="ppo-turn"):
        compare.main(args)


def test_references_are_compared_with_all_seeds(kept, tmp_path):
    (icer,) = steps.references(steps.Plan.of(compare.Args()), ["icer"], play=False)
    compare.write_table(kept, [icer], tmp_path)
    row = json.loads((tmp_path / "compare.json").read_text())["lm-sft@0.3"]
    assert row["less icer"]["mean"] == pytest.approx(row["return"] - np.mean(icer.scores))
    assert row["less icer"]["seeds"] == row["seeds"] == 3


def test_what_is_drawn(kept, tmp_path):
    unlearnt = [dataclasses.replace(r, policy="lm-untrained") for r in kept[:1]]
    (icer,) = steps.references(steps.Plan.of(compare.Args()), ["icer"], play=False)
    compare.write_table([*unlearnt, *kept], [icer], tmp_path)
    assert (tmp_path / "compare.png").stat().st_size > 10_000
    drawn = compare.telling(json.loads((tmp_path / "compare.json").read_text()))
    less_icer, less_start = drawn.values()
    assert set(less_icer) == {"lm-sft@0.3", "lm-grpo@0.3"}
    assert set(less_start) == {"lm-grpo@0.3"}
    gain = of(kept, "lm-grpo", 0, 1, 2) - of(kept, "lm-sft", 0, 1, 2)
    assert less_start["lm-grpo@0.3"].mean == pytest.approx(gain.mean())
