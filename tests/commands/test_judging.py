"""`crs-gym judge` on files of dialogues."""

import json

import pytest

from crs_gym.cli import main
from crs_gym.generation.opening import open_dialogues
from crs_gym.world import DataError
from tests.evaluation.judging.dialogues import simulate
from tests.language.faulty import serving

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def dialogues(small_world):
    return simulate(small_world, 32, split="evaluation", max_turns=5)


@pytest.fixture(scope="module")
def folder(dialogues, small_world, tmp_path_factory):
    from crs_gym.generation.schema import encode

    folder = tmp_path_factory.mktemp("judged")
    small_world.save(folder / "small.world")
    (folder / "data").mkdir()
    (folder / "data" / "b.parquet").write_bytes(encode(dialogues[16:]))
    (folder / "data" / "a.parquet").write_bytes(encode(dialogues[:16]))
    return folder


def test_prints_tables_and_writes_json(folder, small_world, capsys):
    out = folder / "judged.json"
    main(f"judge {folder / 'data'} --world {folder / 'small.world'} --turns 5 -o {out}".split())
    printed = capsys.readouterr().out
    assert "belief-stored" in printed
    assert "consistency (AUC)" in printed
    report = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert (report["dialogues"], report["world"]) == (32, small_world.hash)
    (rows,) = report["judged"].values()
    assert [row["turn"] for row in rows] == list(range(len(rows)))
    assert rows[0]["n"] == 32
    assert 0 <= rows[1]["accuracy"]["low"] <= rows[1]["accuracy"]["mean"] <= 1
    # words that are the templates are measured once
    assert set(report["measured"]) == {"template"}
    assert len(report["measured"]["template"]["distinct"]["user"]) == 4


def test_reads_files_in_order_and_stops_at_the_limit(folder):
    world = str(folder / "small.world")
    found = open_dialogues(folder / "data", world)
    assert [d.number for d in found.dialogues] == list(range(32))
    few = open_dialogues(folder / "data", world, 3)
    assert [d.number for d in few.dialogues] == [0, 1, 2]


def test_bad_input_is_told_in_one_line(folder, capsys):
    def fails(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["judge", *map(str, arguments)])
        assert stop.value.code == 1
        return capsys.readouterr().err

    assert "--world" in fails(folder / "data")
    assert "no Parquet file" in fails(folder / "data" / "none")
    (folder / "empty").mkdir()
    assert "no Parquet file" in fails(folder / "empty")
    assert "does not exist" in fails(folder / "data", "-o", folder / "nowhere" / "x.json")
    assert "is a folder" in fails(folder / "data", "-o", folder)
    assert "--dialogues must be at least 1" in fails(folder / "data", "--dialogues", -1)
    world = ("--world", folder / "small.world")
    assert "the seed must be" in fails(folder / "data", *world, "--seed", -1)
    assert "the seed must be" in fails(folder / "data", *world, "--seed", 2**32)
    (folder / "broken.parquet").write_bytes(b"PAR1")
    assert "not a whole Parquet file" in fails(folder / "broken.parquet")
    with pytest.raises(DataError, match="no dialogues"):
        open_dialogues(folder / "data", str(folder / "small.world"), 0)


def test_conversations_are_had_and_judged(folder, capsys, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = folder / "talks.jsonl"
    data = [str(folder / "data"), "--world", str(folder / "small.world"), "--cache", "None"]
    with serving() as server:
        data += ["--model", "faulty", "--endpoint", server.url]
        main(["converse", *data, "-o", str(path), "--turns", "1"])
        talks = [json.loads(line) for line in path.read_text().splitlines()]
        # the last one is the example, which no conversation with its own user may show
        assert [talk["number"] for talk in talks] == list(range(31))
        assert len(server.asked) == 62
        assert sum("Here is an example" in json.dumps(body) for body in server.asked) == 62

        judging = ["judge", *data, "--transcripts", str(path), "--no-belief", "--no-measures"]
        main([*judging, "--turns", "1"])
        assert "faulty@" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            main([*judging, "--turns", "1", "--seed", "3"])
        assert "another profile" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*judging, "--turns", "1"])
    assert "\ncrs-gym: faulty@" in (told := capsys.readouterr().err)
    assert "start the server" in told
