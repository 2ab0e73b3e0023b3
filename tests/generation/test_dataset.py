import dataclasses

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from crs_gym.generation.card import card, summary
from crs_gym.generation.dataset import DataSet
from crs_gym.generation.settings import Settings
from crs_gym.world import DataError


def test_a_data_set_is_a_sequence(data):
    everything = list(data)
    assert len(data) == len(everything) == 20
    assert [d.number for d in everything] == list(range(20))
    assert data[13].transcript() == everything[13].transcript()
    for number in (-1, 20):
        with pytest.raises(IndexError, match="there are 0 to 19"):
            data[number]


def test_a_shard_that_was_replaced_is_read_anew(data, copied):
    assert copied()[0].reward == data[0].reward
    assert copied(reward=9.0)[0].reward == 9.0


def test_settings_come_back_as_they_were(settings):
    assert Settings.from_json(settings.to_json()) == settings
    other = dataclasses.replace(settings, seed=4)
    assert settings.differences(other) == "seed: 4, not 0"
    for broken in ("", "[]", '{"world": "x", "wings": 2}', '{"world": "x", "dialogues": 0}'):
        with pytest.raises(DataError, match="not the settings of a data set"):
            Settings.from_json(broken)


def test_another_world_is_noticed(copied, plane_world):
    other = copied()
    plane_world.save(other.folder / "world.safetensors")
    with pytest.raises(DataError, match="it was exchanged"):
        _ = DataSet.open(other.folder).world


def test_the_summary_counts_what_there_is(data):
    counts = summary(data)
    turns = [turn for dialogue in data for turn in dialogue.turns]
    assert counts["turns"] == f"{len(turns)} (mean {len(turns) / 20:.2f})"
    accepted = sum(dialogue.accepted >= 0 for dialogue in data)
    assert counts["accepted"] == f"{accepted / 20:.1%}"
    assert counts["accept"] == str(accepted)
    assert counts["words: template"] == "100.0%"


def test_hugging_face_reads_it(data, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="the extra `lm` is not installed")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = datasets.load_dataset(str(data.folder), cache_dir=str(tmp_path / "cache"))
    assert list(rows) == ["train"]
    assert len(rows["train"]) == 20
    for row, dialogue in zip(rows["train"], data, strict=True):
        assert row["number"] == dialogue.number
        np.testing.assert_array_equal(np.float32(row["embedding"]), dialogue.embedding)
        said = [turn["recommender"]["text"] for turn in row["turns"]]
        assert said == [turn.recommender.text for turn in dialogue.turns]


def test_a_card_takes_any_name_of_a_world(data, tmp_path):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    world = data.world.replace(name='films: "all" # of them')
    world.save(tmp_path / "world.safetensors")
    settings = dataclasses.replace(data.settings, world=world.hash)
    other = DataSet(tmp_path, settings)
    (tmp_path / "data").mkdir()
    for shard in range(settings.shards):
        other.write(shard, data.path(shard).read_bytes())
    head = yaml.safe_load(card(other).split("---")[1])
    assert head["pretty_name"].endswith('(films: "all" # of them)')


def test_the_card_says_what_holds(data):
    told = (data.folder / "README.md").read_text()
    world = data.world
    for said in (world.hash, world.licence, world.source, "| `effort` | 8 |", "20 dialogues"):
        assert said in told
