"""Both sides learn in turn, against what the other was; a killed training goes on."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl", reason="trl is not installed (the extra `lm`)")

from agents.lm import botplay, models  # noqa: E402
from agents.lm.botplay import Args, Pool, Version  # noqa: E402
from agents.lm.users import PlayedUser, opponent  # noqa: E402
from crs_gym.language.card import card_of, trained  # noqa: E402


@pytest.fixture
def args(taught, taught_user, world_file, tmp_path):
    return Args(
        model=str(taught), user_model=str(taught_user), world=world_file, out=tmp_path / "run",
        env_kwargs={"max_turns": 3}, rounds=1, updates=2, batch_size=8, minibatch_size=8,
        epochs=1, validate_every=1, validation_episodes=8, max_turn=30, progress=False,
        device="cpu",
    )  # fmt: skip


def _weights(folder):
    _, model = models.load(folder)
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


@pytest.mark.slow
def test_both_sides_learn_and_a_killed_training_goes_on(args, taught, monkeypatch):
    recommender, user = botplay.train(args)
    assert card_of(recommender).role == "recommender"
    assert card_of(user).role == "user"
    assert opponent(str(user)).temperature == args.temperature == 0.3
    assert opponent(args.user_model).temperature == 1
    assert any(
        np.abs(value - _weights(recommender)[name]).max() > 0
        for name, value in _weights(taught).items()
    )
    for side in ("recommender-1", "user-1"):
        curve = json.loads((args.out / side / "curve.json").read_text())
        assert [point["update"] for point in curve] == [0, 1, 2]
    assert models.identity(args.out / "recommender-1") == {
        "model": models.name_of(recommender),
        "started_from": models.name_of(Path(trained(taught))),
    }

    from agents.lm import per_turn

    calls = []
    update = per_turn.Learner.update

    def killed(self, number):
        calls.append(number)
        if len(calls) == 4:  # the second of the user's
            raise KeyboardInterrupt
        return update(self, number)

    monkeypatch.setattr(per_turn.Learner, "update", killed)
    args.out = args.out.with_name("killed")
    with pytest.raises(KeyboardInterrupt):
        botplay.train(args)
    monkeypatch.undo()
    with pytest.raises(FileExistsError, match="--resume"):
        botplay.train(args)
    args.resume = True
    for whole, again in zip((recommender, user), botplay.train(args), strict=True):
        for name, value in _weights(whole).items():
            np.testing.assert_allclose(_weights(again)[name], value, atol=1e-6, err_msg=name)


def test_a_pool_plays_all_of_its_users(taught_user, plane_world):
    from agents.lm.arena import Arena
    from agents.lm.chats import ChatFormat

    tokenizer, model = models.load(taught_user)
    users = [PlayedUser(model, ChatFormat(tokenizer), name=name) for name in "abc"]
    arena = Arena.of(plane_world, Pool(users, seed=0), {"max_turns": 2})
    seen = set()
    for batch in range(30):
        arena.train.begin(arena.keys([batch, batch + 100]))
        seen.add(arena.train.opponent._now.name)
    assert seen == {"a", "b", "c"}
    assert arena.train.opponent.kind == "lm:pool of a, b, c"


def test_a_side_must_be_what_it_was_trained_for(args, taught, taught_user):
    with pytest.raises(ValueError, match="not the user"):
        Version.load(taught, "user")
    args.user_model = ""
    with pytest.raises(ValueError, match="--user-model"):
        botplay.train(args)


@pytest.mark.slow
def test_two_processes_wait_for_each_others_models(args):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "agents.lm.botplay", "--model", args.model]
    command += ["--user-model", args.user_model, "--world", args.world, "--out", str(args.out)]
    command += ["--rounds", "2", "--updates", "1", "--batch-size", "8", "--group", "2"]
    command += ["--minibatch-size", "4", "--env-kwargs", "max_turns=2", "--max-turn", "30"]
    command += ["--validation-episodes", "0", "--device", "cpu", "--no-progress"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    for side in ("recommender-2", "user-2"):
        assert (args.out / side / "final" / "config.json").is_file()
