"""What language models' training tells Weights & Biases, read back from an offline run."""

import json
import os

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl", reason="trl is not installed (the extra `lm`)")
wandb = pytest.importorskip("wandb")

from agents.lm import grpo, ppo  # noqa: E402
from tests.agents.tracked import entries, offline_records  # noqa: E402


@pytest.mark.parametrize(
    "learner",
    [
        "turns",
        pytest.param("dialogues", marks=pytest.mark.slow),
        pytest.param("grpo", marks=pytest.mark.slow),
    ],
)
def test_an_offline_run_holds_settings_curve_and_dialogues(
    learner, taught, world_file, monkeypatch, tmp_path
):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    common = {
        "model": str(taught), "out": tmp_path / "run", "world": world_file, "updates": 2,
        "batch_size": 4, "learning_rate": 1e-4, "max_turn": 12, "validate_every": 1,
        "validation_episodes": 4, "device": "cpu", "progress": False, "track": True, "group": 2,
    }  # fmt: skip
    if learner == "grpo":
        grpo.train(grpo.Args(**common))
    else:
        ppo.train(ppo.Args(**common, variant=learner, minibatch_size=4, epochs=1))
    wandb.teardown()  # only when its service ends is the file whole
    config, curve, losses, samples = {}, {}, 0, 0
    for record in offline_records(tmp_path / "run" / "wandb"):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            config |= entries(record.run.config.update)
        elif kind == "history":
            row = entries(record.history.item)
            if "validation/reward" in row:
                curve[row["_step"]] = row["validation/reward"]
            losses += any("kl" in name for name in row)
            samples += "samples" in row or any(name.startswith("samples.") for name in row)
    assert config["learning_rate"] == "0.0001"
    told = json.loads((tmp_path / "run" / "curve.json").read_text())
    assert curve == {point["update"]: pytest.approx(point["reward"]) for point in told}
    assert len(curve) == 3
    assert losses >= 2
    assert samples == 3
