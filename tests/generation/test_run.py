import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from crs_gym.cli import main
from crs_gym.generation import runners
from crs_gym.generation.dataset import DataSet
from crs_gym.generation.run import _fill, generate
from crs_gym.generation.settings import Settings
from crs_gym.world import DataError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_number_of_workers_changes_nothing(data, small_world, settings, tmp_path):
    generate(small_world, tmp_path / "two", settings, workers=2, progress=False)
    assert contents(tmp_path / "two") == contents(data.folder)


def test_a_worker_that_dies_changes_nothing(data, small_world, settings, tmp_path, monkeypatch):
    deaths = []

    class Mortal(runners.Worker):
        def make(self, shard):
            if shard == 1 and len(deaths) < 2:
                deaths.append(self._process.pid)
                os.kill(self._process.pid, signal.SIGKILL)
            return super().make(shard)

    monkeypatch.setattr(runners, "Worker", Mortal)
    generate(small_world, tmp_path / "set", settings, workers=1, progress=False)
    assert len(set(deaths)) == 2
    assert contents(tmp_path / "set") == contents(data.folder)


def test_a_shard_that_kills_every_worker_is_given_up(small_world, settings, tmp_path, monkeypatch):
    class Doomed(runners.Worker):
        def make(self, shard):
            os.kill(self._process.pid, signal.SIGKILL)
            return super().make(shard)

    monkeypatch.setattr(runners, "Worker", Doomed)
    with pytest.raises(ChildProcessError, match="shard 0 killed 3 workers: .*exit status -9"):
        generate(small_world, tmp_path / "set", settings, workers=1, progress=False)
    with pytest.raises(DataError, match="3 of 3 shards are missing; run the `crs-gym generate`"):
        DataSet.open(tmp_path / "set")


def test_what_a_worker_refuses_is_told(small_world, settings, tmp_path):
    wrong = Settings(**{**vars(settings), "world": "0" * 16})
    small_world.save(tmp_path / "world.safetensors")
    shards = runners.make_here(tmp_path / "world.safetensors", wrong, [0], 1)
    with pytest.raises(ChildProcessError, match="the settings are for a world of hash 0000"):
        list(shards)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 6])
def test_killed_and_started_again(data, small_world, settings, tmp_path, kills):
    small_world.save(tmp_path / "small.world")
    command = [
        sys.executable, "-m", "crs_gym", "generate", "--world", tmp_path / "small.world",
        "-o", tmp_path / "set", "--dialogues", "20", "--shard", "8", "--lanes", "4",
        "--effort", "8", "--draws", "32", "--queries", "either",
        "--user-model", '{"critique_rate": 0.6, "leave_question": 0.02}',
    ]  # fmt: skip
    chance = random.Random(kills)
    for n in range(kills):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        # at a random moment after the start, or after the first shard
        until = time.monotonic() + chance.uniform(0.0, 40.0)
        shards = n % 2 + 1
        while process.poll() is None and time.monotonic() < until:
            if len(list(tmp_path.glob("set/data/*.parquet"))) >= shards:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert contents(tmp_path / "set") == contents(data.folder)


def test_a_damaged_shard_is_made_again(data, small_world, settings, copied):
    other = copied()
    path = other.path(1)
    path.write_bytes(path.read_bytes()[:-20])
    (other.folder / "data" / ".train.123.partial").write_bytes(b"left behind")
    assert other.missing() == [1]
    generate(small_world, other.folder, settings, workers=1, progress=False)
    assert contents(other.folder) == contents(data.folder)


def test_other_settings_are_refused(data, small_world, settings, tmp_path):
    other = Settings(**{**vars(settings), "seed": 1})
    with pytest.raises(DataError, match="other settings .seed: 0, not 1."):
        generate(small_world, data.folder, other)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(DataError, match="is not empty, and no data set"):
        generate(small_world, tmp_path, settings)


def test_a_full_disk_loses_nothing(data, small_world, settings, tmp_path, monkeypatch):
    real = Path.write_bytes

    def full(path, payload):
        if "00001-of" in path.name:
            raise OSError(28, "No space left on device")
        return real(path, payload)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left .*what is finished stays"):
        generate(small_world, tmp_path / "set", settings, workers=1, progress=False)
    monkeypatch.setattr(Path, "write_bytes", real)
    begun = DataSet.begun(tmp_path / "set")
    assert begun.missing() == [1, 2]
    generate(small_world, tmp_path / "set", settings, workers=1, progress=False)
    assert contents(tmp_path / "set") == contents(data.folder)


def test_nothing_goes_on_after_an_interrupt(settings, tmp_path, monkeypatch):
    ended = []

    def make(missing):
        try:
            for shard in missing:
                yield shard, b""
        finally:
            ended.append(True)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(DataSet, "write", interrupted)
    # what the frames hold on to lives as long as the traceback
    with pytest.raises(KeyboardInterrupt) as held:
        _fill(DataSet(tmp_path, settings), make, None, progress=False)
    assert held.tb is not None
    assert ended


def test_who_is_hired_too_late_is_let_go(settings, tmp_path, monkeypatch):
    released, begun, killed = threading.Event(), threading.Event(), threading.Event()

    class Late:
        def __init__(self, *_):
            begun.set()
            released.wait()

        def make(self, shard):
            return b""

        def kill(self):
            killed.set()

    class Quick(Late):
        def __init__(self, *_):
            monkeypatch.setattr(runners, "Worker", Late)
            begun.wait()

    monkeypatch.setattr(runners, "Worker", Quick)
    shards = runners.make_here(tmp_path, settings, [0, 1], 2)
    next(shards)
    killed.clear()
    shards.close()
    killed.clear()
    released.set()
    assert killed.wait(60)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dialogues": 0}, "dialogues must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"threshold": float("nan")}, "threshold must be finite"),
        ({"slate_size": 1}, "slate_size must be between 2"),
        ({"user_model": {"charm": 1.0}}, "unknown user-model parameters .'charm'."),
        ({"draws": 3}, "draws must be an even number"),
        ({"queries": "rude"}, "unknown 'rude'; there are both"),
    ],
)
def test_settings_that_cannot_work(small_world, settings, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        generate(small_world, tmp_path / "set", Settings(**{**vars(settings), **changes}))
    assert not (tmp_path / "set").exists()


def test_the_commands(data, tmp_path, capsys):
    main(["dataset", "info", str(data.folder)])
    assert "dialogues" in capsys.readouterr().out
    main(["dataset", "export", str(data.folder), "-o", str(tmp_path / "x.jsonl")])
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 20
    with pytest.raises(SystemExit):
        main(["dataset", "info", str(tmp_path)])
    assert "holds no data set of dialogues" in capsys.readouterr().err


def test_a_cluster_makes_the_same(data, small_world, settings, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init("local", num_cpus=2, object_store_memory=200_000_000, include_dashboard=False)
    killed = []

    def kill_one():
        # Ray names a worker after what it runs
        while not killed:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if b"ray::_shard" in (process / "cmdline").read_bytes():
                        os.kill(int(process.name), signal.SIGKILL)
                        killed.append(process.name)
                        return
                except OSError:
                    continue
            time.sleep(0.05)

    thread = threading.Thread(target=kill_one, daemon=True)
    try:
        thread.start()
        generate(small_world, tmp_path / "set", settings, ray="local", progress=False)
    finally:
        killed.append(None)
        ray.shutdown()
    assert killed[0] is not None, "no worker was caught at work"
    assert contents(tmp_path / "set") == contents(data.folder)
