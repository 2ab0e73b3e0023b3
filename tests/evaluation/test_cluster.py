import os
import signal
import sys
from functools import partial

import numpy as np
import pytest

from crs_gym.cli import main
from crs_gym.cluster import check_versions, connected
from crs_gym.evaluation.benchmark import benchmark, make_env
from crs_gym.evaluation.cluster import play_on_cluster
from crs_gym.policies import make_policy
from crs_gym.simulation import Simulator, acceptance_reward, evaluation_keys, play

NO_RAY = "Ray is not installed (the extra `ray`)"


@pytest.fixture(scope="module")
def cluster():
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = pytest.importorskip("ray", reason=NO_RAY)
    ray.init("local", num_cpus=2, object_store_memory=200_000_000, include_dashboard=False)
    yield ray
    ray.shutdown()


def test_without_ray_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'crs-gym\[ray\]'"):
        benchmark(policies=["random"], ray="local")


def test_an_address_where_nothing_answers(monkeypatch, capsys):
    ray = pytest.importorskip("ray", reason=NO_RAY)
    assert not ray.is_initialized()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for address in ("127.0.0.1:1", "no-such-host.invalid:6379"):
        with pytest.raises(ConnectionError, match=rf"'{address}' .*ray start --head"):
            benchmark(policies=["random"], ray=address)
    with pytest.raises(SystemExit):
        main(["benchmark", "--ray", "127.0.0.1:1"])
    assert capsys.readouterr().err.startswith("crs-gym: no Ray cluster to join at '127.0.0.1:1'")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConnectionError, match="'127.0.0.1:1'"), connected("auto"):
        pass


def test_other_versions_are_refused():
    with pytest.raises(RuntimeError, match="'jax': '0.1'.* install the same on every machine"):
        check_versions({"crs-gym": "0", "jax": "0.1", "numpy": "0"})


@pytest.mark.parametrize(
    "policies",
    [("random", "never-ask"), pytest.param(("belief-greedy", "ask-n"), marks=pytest.mark.slow)],
)
def test_a_cluster_gives_what_one_process_gives(cluster, plane_world, policies):
    # two chunks, of which the second has to be filled up
    run = partial(
        benchmark,
        policies=policies,
        episodes=300,
        seed=3,
        env_kwargs={"world": plane_world, "belief_samples": 64, "candidates": 4, "max_turns": 3},
        progress=False,
    )
    for here, there in zip(run(), run(ray="local"), strict=True):
        for name in ("policy", "policy_kwargs", "user_ids", "episode_seeds", "left", "path"):
            assert getattr(here, name) == getattr(there, name)
        for name in ("scores", "turns", "accepted", "utilities"):
            assert getattr(here, name) == getattr(there, name), (here.policy, name)
    assert cluster.is_initialized(), "a connection of the caller's stays open"


def test_errors_of_workers_are_those_of_one_process(cluster, plane_world):
    with pytest.raises(ValueError, match="^unknown policy 'wizard'"):
        benchmark(policies=["wizard"], env_kwargs={"world": plane_world}, ray="local")


def test_a_killed_worker_changes_nothing(cluster, plane_world, tmp_path):
    killed = tmp_path / "killed"

    def deadly(simulator, state, turn):
        # called where the worker compiles the step, which is on the way through a chunk
        if not killed.exists():
            killed.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return acceptance_reward(simulator, state, turn)

    env = make_env("crs/IcerMacro-v0", {"world": plane_world}, "evaluation")
    inference, keys = env.core.inference, evaluation_keys(0, 70)
    simulator = Simulator.of(plane_world, split="evaluation")
    expected = play(simulator, make_policy("random", simulator, inference), inference, keys, 32)
    with connected("local") as ray:
        lethal = Simulator.of(plane_world, split="evaluation", reward=deadly)
        (played,) = play_on_cluster(
            ray, ["random"], simulator, lethal, inference, keys, chunk=32, progress=False
        )
    assert killed.is_file()
    assert int(killed.read_text()) != os.getpid()
    for name in ("reward", "turns", "accepted", "utility", "user_id"):
        assert np.array_equal(getattr(played.episodes, name), getattr(expected, name)), name
