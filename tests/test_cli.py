import json
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from crs_gym.cli import main
from crs_gym.evaluation import read_all
from crs_gym.world import World


def test_import_is_light():
    code = (
        "import sys, crs_gym; heavy = {'torch', 'transformers', 'matplotlib', 'sklearn', 'wandb'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        "",
        "world",
        "world build",
        "world build movielens",
        "world show",
        "world asking",
        "benchmark",
        "leaderboard",
        "judge",
        "serve",
    ],
)
def test_help_helps(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    assert "usage: crs-gym" in capsys.readouterr().out


def test_build_show_benchmark_and_leaderboard(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main("world build generated --items 600 --dim 8 --attributes 6 --users 200 -o s.world".split())
    assert "at least 0.95" in capsys.readouterr().out
    assert World.load("s.world").n_items == 600
    main(["world", "show", "s.world"])
    assert "most popular items" in capsys.readouterr().out

    main("benchmark --world s.world --episodes 40 -o b --policies random oracle popularity".split())
    out = capsys.readouterr().out
    assert "Rank" in out
    assert (tmp_path / "b" / "benchmark.png").stat().st_size > 10_000
    results = read_all(tmp_path / "b" / "results")
    assert {r.policy for r in results} == {"random", "oracle", "popularity"}
    assert all(len(r.scores) == 40 for r in results)
    assert {json.dumps(dict(r.env_kwargs)) for r in results} == {"{}"}

    main(["leaderboard", "b/results"])
    main(["leaderboard", "b/results", "--check"])
    (tmp_path / "LEADERBOARD.md").write_text("old")
    with pytest.raises(SystemExit):
        main(["leaderboard", "b/results", "--check"])
    assert "stale" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["world", "show", "atlantis"], "unknown world 'atlantis'"),
        (["benchmark", "--policies", "wizard"], "unknown policy 'wizard'; there are random"),
        (["benchmark", "--env", "crs/None-v0"], "unknown environment.*crs/Icer-v0"),
        (
            ["benchmark", "--env", "crs/Dialogue-v0", "--env-kwargs", '{"user": "lm:x"}'],
            "ICER users alone, not user='lm:x'",
        ),
        (["benchmark", "--env-kwargs", "{"], "--env-kwargs is not JSON"),
        (["world", "build", "movielens", "nowhere", "-o", "x.world"], "nowhere"),
    ],
)
def test_errors_are_told_in_one_line(args, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("crs-gym: ")
    assert re.search(message, error)


def test_world_show_of_one_film_and_its_map(tmp_path, capsys):
    main(["world", "show", "films", "--film", "toy story", "--plot", str(tmp_path / "map.png")])
    out = capsys.readouterr().out
    assert "Toy Story (1995): Animation" in out
    assert "Toy Story 2 (1999)" in out or "Monsters, Inc. (2001)" in out or "A Bug's Life" in out
    assert (tmp_path / "map.png").stat().st_size > 50_000


def test_world_show_of_an_unknown_film_names_near_ones(capsys):
    with pytest.raises(SystemExit):
        main(["world", "show", "films", "--film", "Toy Storry"])
    assert "no item 'Toy Storry' in films; near it: Toy Story" in capsys.readouterr().err


def test_world_lint(tmp_path, capsys):
    main(["world", "lint"])
    assert "720 films on 33 attributes, no problems" in capsys.readouterr().out
    (tmp_path / "films.csv").write_text("title,year\nOne,1999\n")
    with pytest.raises(SystemExit):
        main(["world", "lint", str(tmp_path / "films.csv")])
    assert "films.csv, line 1: no columns country, genres" in capsys.readouterr().err
    bad = Path(str(resources.files("crs_gym.world"))) / "data" / "films.csv"
    lines = bad.read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].replace(",US,", ",us,")
    (tmp_path / "films.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["world", "lint", str(tmp_path / "films.csv")])
    captured = capsys.readouterr()
    assert "films.csv, line 2: country 'us' is not a two-letter code" in captured.out
    assert "problems in the catalogue: 1" in captured.err


def test_serving_without_openenv_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr("crs_gym.extras.find_spec", lambda module: None)
    with pytest.raises(SystemExit):
        main(["serve"])
    assert "crs-gym: this needs openenv: pip install 'crs-gym[openenv]'" in capsys.readouterr().err


def test_an_interrupt_is_told_in_one_line(monkeypatch, capsys):
    from crs_gym.commands.worlds import WorldCommand

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(WorldCommand, "run", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["world", "show"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "crs-gym: interrupted; what is finished stays\n"


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "crs_gym", "world", "show"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() in (1, 141)  # rich has an exit status of its own
