import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from stable_baselines3 import PPO

from agents import runs
from agents.args import parse_env_kwargs
from agents.runs import evaluate
from agents.sb3 import train as module
from agents.sb3.args import Args
from agents.sb3.standardise import Standardise
from agents.sb3.store import load_policy
from agents.sb3.train import train
from crs_gym.envs.sb3 import IcerVecEnv
from crs_gym.evaluation.results import read_all
from crs_gym.world import DataError
from tests.agents.tracked import entries, offline_records

SMALL = {"belief": "prior-samples", "belief_samples": 64, "candidates": 4, "max_turns": 3}


@pytest.fixture
def args(tmp_path, world_file):
    return Args(
        env_kwargs=dict(SMALL),
        world=world_file,
        out=tmp_path / "run",
        total_steps=64,
        n_envs=4,
        n_steps=8,
        batch_size=16,
        n_epochs=2,
        anneal=False,
        net_width=16,
        validate_every=32,
        validation_episodes=8,
        checkpoint_every=64,
        evaluation_episodes=8,
        progress=False,
    )


def weights(trained):
    return {name: value.numpy() for name, value in trained.policy.state_dict().items()}


def same(a, b):
    return all(np.array_equal(value, weights(b)[name]) for name, value in weights(a).items())


@pytest.mark.parametrize("algo", ["ppo", "maskable-ppo"])
def test_a_run_leaves_a_policy_a_curve_and_a_result(args, algo):
    args.algo = algo
    trained = train(args)
    assert trained.steps == 64
    assert [point["steps"] for point in trained.curve] == [0, 32, 64]
    assert json.loads((args.out / "curve.json").read_text()) == trained.curve
    loaded = load_policy(args.out)
    assert same(trained, loaded)
    assert loaded.curve == trained.curve
    (result,) = read_all(args.out / "results")
    assert result.training_steps == 64
    assert result.training_seed == 0
    again = evaluate(loaded, args.env, {**SMALL, "world": args.world}, 0, 8)
    assert again.scores == result.scores
    assert again.path == result.path


@pytest.mark.slow
def test_continuous_actions(args):
    args.env = "crs/Icer-v0"
    args.env_kwargs |= {"action": "embedding"}
    trained = train(args)
    observations = np.zeros((3, trained.policy.observation_space.shape[0]), np.float32)
    actions = load_policy(args.out).predict(observations, None)
    assert actions.shape == (3, *trained.policy.action_space.shape)
    assert (np.abs(actions) <= 1).all()


@pytest.mark.slow
def test_masked_policies_obey_the_mask(args):
    args.algo, args.evaluation_episodes = "maskable-ppo", 0
    trained = train(args)
    observations = np.zeros((6, trained.policy.observation_space.shape[0]), np.float32)
    masks = np.eye(6, dtype=bool)
    assert np.array_equal(trained.predict(observations, masks), np.arange(6))


@pytest.mark.slow
def test_a_resumed_run_is_the_run_that_never_stopped(args):
    args.evaluation_episodes = 0
    args.total_steps = 128
    whole = train(args)
    parts = replace(args, out=args.out.with_name("parts"), total_steps=64)
    train(parts)
    resumed = train(replace(parts, total_steps=128, resume=True))
    assert resumed.steps == whole.steps == 128
    assert [p["steps"] for p in resumed.curve] == [0, 32, 64, 96, 128]
    assert [p["return"] for p in resumed.curve] == [p["return"] for p in whole.curve]
    assert same(whole, resumed)
    for name in ("final.safetensors", "curve.json", "config.json"):
        assert (parts.out / name).is_file()


@pytest.mark.slow
def test_a_finished_run_does_nothing(args, capsys, monkeypatch):
    finished = train(args)
    before = {p: p.stat().st_mtime_ns for p in args.out.rglob("*.safetensors")}
    monkeypatch.setattr(module._Run, "learn", None)
    capsys.readouterr()
    again = train(replace(args, resume=True))
    assert "finished" in capsys.readouterr().out
    assert same(finished, again)
    assert before == {p: p.stat().st_mtime_ns for p in args.out.rglob("*.safetensors")}


@pytest.mark.slow
def test_a_killed_run_leaves_a_checkpoint_that_loads_and_goes_on(args, monkeypatch):
    class Killed(BaseException):
        pass

    update = Standardise.update
    calls: list[None] = []

    def dies(self, observations):
        calls.append(None)
        if len(calls) == 4:  # the warm-up and two rollouts went well
            raise Killed
        update(self, observations)

    args.total_steps, args.evaluation_episodes = 128, 0
    whole = train(replace(args, out=args.out.with_name("whole")))
    monkeypatch.setattr(Standardise, "update", dies)
    with pytest.raises(Killed):
        train(args)
    monkeypatch.undo()
    (checkpoint,) = (args.out / "checkpoints").iterdir()
    assert load_policy(checkpoint).steps == 64
    with pytest.raises(FileNotFoundError, match=r"--resume.*000064.safetensors"):
        load_policy(args.out)
    assert same(whole, train(replace(args, resume=True)))


def test_keep_best(args, monkeypatch):
    args.evaluation_episodes, args.keep = 0, "best"
    scores = iter([0.1, 0.9, 0.2])

    def plays(*arguments):
        return type(
            "Episodes", (), dict.fromkeys(("reward", "accepted", "turns"), np.array([next(scores)]))
        )

    monkeypatch.setattr(runs, "play", plays)
    trained = train(args)
    assert trained.steps == 32
    assert [round(p["return"], 1) for p in trained.curve] == [0.1, 0.9, 0.2]
    assert not same(trained, load_policy(args.out / "checkpoints" / f"{64:012d}.safetensors"))


def test_other_arguments_cannot_be_resumed(args):
    args.evaluation_episodes = 0
    train(args)
    with pytest.raises(FileExistsError, match="--resume"):
        train(args)
    other = replace(args, resume=True, learning_rate=0.5, env_kwargs={**SMALL, "turn_cost": 0.5})
    with pytest.raises(ValueError, match=r"env_kwargs was .*learning_rate was 0.001, is 0.5"):
        train(other)


def test_a_damaged_file_is_named(args):
    args.evaluation_episodes = 0
    train(args)
    path = args.out / "final.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="final"):
        load_policy(path)
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        load_policy(args.out / "nothing-here.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"world": "atlantis"}, "atlantis"),
        ({"env": "crs/Nothing-v0"}, "Nothing"),
        (
            {"algo": "maskable-ppo", "env": "crs/Icer-v0", "env_kwargs": {"action": "embedding"}},
            "maskable-ppo needs discrete actions",
        ),
        ({"env_kwargs": {"split": "evaluation"}}, "split cannot be in env_kwargs"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
    ],
)
def test_bad_arguments_say_what_is_wrong(args, change, message):
    with pytest.raises((ValueError, FileNotFoundError, gymnasium.error.Error), match=message):
        train(replace(args, **change))
    assert not args.out.exists()


def test_env_kwargs_are_json_or_pairs():
    assert parse_env_kwargs(['{"turn_cost": 0.1}', "prior=personal", "max_turns=3"]) == {
        "turn_cost": 0.1,
        "prior": "personal",
        "max_turns": 3,
    }
    with pytest.raises(ValueError, match="key=value"):
        parse_env_kwargs(["turn_cost"])


def test_standardise_agrees_with_the_moments_of_all_it_saw():
    rng = np.random.default_rng(0)
    rows = rng.normal(3.0, 2.0, (50, 4)).astype(np.float32)
    rows[:, 3] = 1.0
    layer = Standardise(gymnasium.spaces.Box(-10, 10, (4,), np.float32))
    for part in np.split(rows, [7, 30]):
        layer.update(part)
    np.testing.assert_allclose(layer.mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.square, rows.var(0), rtol=1e-4, atol=1e-9)


def test_the_command_line_has_help():
    done = subprocess.run(
        [sys.executable, "-m", "agents.sb3.train", "--help"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "--env-kwargs" in done.stdout


def test_tracking_offline_holds_config_and_curve(args, monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    trained = train(replace(args, track=True))
    wandb.teardown()  # only when its service ends is the file whole
    config: dict[str, object] = {}
    curve: dict[int, float] = {}
    summary: dict[str, float] = {}
    for record in offline_records(args.out / "wandb"):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            config |= entries(record.run.config.update)
        elif kind == "history":
            row = entries(record.history.item)
            if "validation/success" in row:
                curve[row["_step"]] = row["validation/success"]
        elif kind == "summary":
            summary |= entries(record.summary.update)
    assert config["learning_rate"] == args.learning_rate
    assert config["world_hash"]
    assert curve == {p["steps"]: pytest.approx(p["success"]) for p in trained.curve}
    (result,) = read_all(args.out / "results")
    assert summary["evaluation/success"] == pytest.approx(result.summary().success)


def test_without_track_nothing_of_wandb_is_loaded(args):
    code = "import sys, agents.sb3.train\nassert 'wandb' not in sys.modules, 'wandb was imported'"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


# The vectorised environment as SB3 sees it


@pytest.mark.slow
def test_vec_env_plays_what_single_environments_play(plane_world):
    kwargs = {**SMALL, "world": plane_world}
    venv = IcerVecEnv("crs/IcerMacro-v0", 3, seed=20, env_kwargs=kwargs)
    singles = [gymnasium.make("crs/IcerMacro-v0", **kwargs) for _ in range(3)]
    observations = venv.reset()
    for i, env in enumerate(singles):
        first, info = env.reset(seed=20 + i)
        np.testing.assert_allclose(observations[i], first, atol=1e-4)
        assert venv.reset_infos[i]["user_id"] == info["user_id"]
    rng = np.random.default_rng(0)
    ended, total = [0, 0, 0], np.zeros(3)
    while min(ended) < 4:
        actions = np.where(rng.random(3) < 0.5, 0, rng.integers(1, 6, 3))
        observations, rewards, dones, infos = venv.step(actions)
        assert observations.dtype == np.float32
        assert dones.dtype == bool
        for i, env in enumerate(singles):
            now, reward, terminated, truncated, info = env.step(actions[i])
            total[i] += reward
            assert rewards[i] == pytest.approx(reward, abs=1e-5)
            assert dones[i] == (terminated or truncated)
            assert infos[i]["accepted_item"] == info["accepted_item"]
            if dones[i]:
                np.testing.assert_allclose(infos[i]["terminal_observation"], now, atol=1e-4)
                assert infos[i]["TimeLimit.truncated"] == (truncated and not terminated)
                assert infos[i]["episode"]["r"] == pytest.approx(total[i], abs=1e-4)
                now, _ = env.reset()
                ended[i] += 1
                total[i] = 0.0
            else:
                assert "terminal_observation" not in infos[i]
            np.testing.assert_allclose(observations[i], now, atol=1e-4)
            assert np.array_equal(venv.action_masks()[i], env.get_wrapper_attr("action_masks")())


def test_vec_env_seeds(plane_world):
    kwargs = {**SMALL, "world": plane_world}
    venv = IcerVecEnv("crs/IcerMacro-v0", 2, seed=1, env_kwargs=kwargs)
    first, users = venv.reset(), [info["user_id"] for info in venv.reset_infos]
    for seed, same_again in ((1, True), (50, False)):
        venv.seed(seed)
        assert np.allclose(venv.reset(), first) or not same_again
        assert ([info["user_id"] for info in venv.reset_infos] == users) == same_again


@pytest.mark.slow
def test_stock_ppo_trains_on_the_vec_env(plane_world):
    venv = IcerVecEnv("crs/IcerMacro-v0", 2, seed=1, env_kwargs={**SMALL, "world": plane_world})
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=16, n_epochs=1, device="cpu", seed=0)
    model.learn(32)
    assert model.num_timesteps == 32
