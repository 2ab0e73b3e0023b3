"""Groups share a user, the model's own tokens alone are learnt from, a killed run ends the same."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl", reason="GRPO is TRL's")

from safetensors.torch import load_file  # noqa: E402

from agents.lm import grpo, models  # noqa: E402
from agents.lm.arena import Arena  # noqa: E402
from agents.lm.chats import ChatFormat  # noqa: E402
from agents.lm.credit import near_advantages, turns_advantages  # noqa: E402
from agents.lm.tiny import build_model, build_tokenizer  # noqa: E402
from crs_gym.language.card import Card, card_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

GROUP, BATCH, MAX_TURN = 8, 16, 12


@pytest.fixture(scope="module", autouse=True)
def _offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("CI", "1")
        yield


@pytest.fixture(scope="module")
def arguments(taught, world_file):
    def of(out, **changed):
        base = grpo.Args(
            model=str(taught), out=out, world=world_file, seed=3, updates=4, batch_size=BATCH,
            group=GROUP, learning_rate=1e-3, max_turn=MAX_TURN, validate_every=2,
            validation_episodes=BATCH, device="cpu", progress=False, temperature=1.0,
            learn="turns", credit="dialogues", dense=0.0, illegal_cost=0.0,
        )  # fmt: skip
        return dataclasses.replace(base, **changed)

    return of


@pytest.fixture(scope="module")
def finished(arguments, tmp_path_factory):
    """Folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("grpo") / "whole"
    grpo.train(arguments(out))
    return out


@pytest.fixture(scope="module")
def parts(arguments, tmp_path_factory):
    """(trainer, arena, chat, what was played) with one rollout of two groups scored."""
    args = arguments(tmp_path_factory.mktemp("parts"))
    arena = Arena.of(args.world, seed=args.seed)
    tokenizer, model, card = models.load_recommender(args.model, arena.world)
    chat = ChatFormat(tokenizer)
    trainer = grpo._trainer(args, model, chat, arena, card, None)
    played = []
    with pytest.MonkeyPatch.context() as patch:
        play = Arena.play

        def spied(self, *given, **options):
            played.extend(play(self, *given, **options))
            return played

        patch.setattr(Arena, "play", spied)
        asked = [{"prompt": str(number)} for number in (4, 9) for _ in range(GROUP)]
        trainer.model.train()
        inputs = trainer._generate_and_score_completions(asked)
    return trainer, chat, played, inputs


def test_a_group_shares_the_user_and_the_greeting_and_groups_differ(parts):
    _, _, played, _ = parts
    users = [one.user_id for one in played]
    assert len(set(users[:GROUP])) == len(set(users[GROUP:])) == 1
    assert users[0] != users[GROUP]
    assert len({one.words[0] for one in played[:GROUP]}) == 1
    assert len({tuple(one.ids) for one in played[:GROUP]}) > 1, "sampling is not shared"


def test_columns_hold_every_token_once(parts):
    _, chat, played, _ = parts
    made = grpo.columns(played)
    for i, one in enumerate(played):
        prompt, completion, mask = (
            made[name][i] for name in ("prompt_ids", "completion_ids", "env_mask")
        )
        assert [*prompt, *completion] == one.ids
        assert [0] * len(prompt) + mask == [int(x) for x in one.own]
        assert len(mask) == len(completion)
        assert mask[0] == 1
        assert made["returns"][i] == pytest.approx(sum(e.reward for e in one.exchanges))
        assert made["turns"][i] == len(one.ends)
        said = chat.tokenizer.decode(np.array(one.ids)[one.own])
        for speaker, words in one.words[1:]:
            if speaker == "User":
                assert words not in said


def test_the_trainer_masks_what_the_user_said_and_cuts_nothing(parts):
    trainer, _, played, inputs = parts
    for i, one in enumerate(played):
        start = one.own.index(True)
        length = len(one.ids) - start
        assert inputs["completion_mask"][i].sum() == length
        assert inputs["completion_ids"][i, :length].tolist() == one.ids[start:]
        mask = (inputs["completion_mask"] * inputs["tool_mask"])[i, :length]
        assert mask.bool().tolist() == one.own[start:]
    del trainer


def test_advantages_compare_the_returns_of_a_group(parts):
    _, _, played, inputs = parts
    returns = np.array([one.total for one in played]).reshape(-1, GROUP)
    assert returns.std(1).min() > 0
    wanted = returns - returns.mean(1, keepdims=True)
    wanted /= returns.std(ddof=1) + 1e-4
    np.testing.assert_allclose(inputs["advantages"], wanted.ravel(), atol=1e-4)


def test_turns_are_compared_token_by_token(arguments, tmp_path):
    args = arguments(tmp_path, credit="turns", learn="acts", gae_lambda=0.3, dense=2.0)
    arena = Arena.of(args.world, seed=args.seed)
    tokenizer, model, card = models.load_recommender(args.model, arena.world)
    chat = ChatFormat(tokenizer)
    trainer = grpo._trainer(args, model, chat, arena, card, None)
    asked = [{"prompt": str(number)} for number in (4, 9) for _ in range(GROUP)]
    trainer.model.train()
    inputs = trainer._generate_and_score_completions(asked)
    keys = [4] * GROUP + [9] * GROUP
    drawn = np.random.SeedSequence([args.seed, 0, 0]).generate_state(1)[0]
    played = arena.play(
        keys, trainer.model, chat, words=False, dense=2.0, temperature=1.0, seed=int(drawn),
        max_turn=MAX_TURN,
    )  # fmt: skip
    found = [
        turns + near
        for turns, near in zip(
            turns_advantages([one.rewards for one in played], GROUP, 0.3),
            near_advantages([one.near for one in played], GROUP, 0.3),
            strict=True,
        )
    ]
    size = np.std(np.concatenate(found)) + 1e-4
    for i, (one, turns) in enumerate(zip(played, found, strict=True)):
        start = one.own.index(True)
        assert inputs["tool_mask"][i, : len(one.ids) - start].bool().tolist() == one.acts[start:]
        for turn, (end, before) in enumerate(zip(one.ends, [start, *one.ends], strict=False)):
            mine = inputs["advantages"][i, before + 1 - start : end + 1 - start]
            assert mine.tolist() == pytest.approx([turns[turn] / size] * len(mine), abs=1e-5)
        assert not inputs["advantages"][i, len(one.ids) - start :].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"scale": "group"}, "scale"), ({"batch_size": 3 * GROUP // 2}, "multiple")],
)
def test_turns_that_cannot_be_compared_are_refused(arguments, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        grpo.check(arguments(tmp_path, credit="turns", **changes))


def test_no_gradient_flows_from_what_the_user_said(parts):
    trainer, _, _, inputs = parts
    caught = []

    def keep(_, __, result):
        result.logits.retain_grad()
        caught.append(result.logits)

    hook = trainer.model.register_forward_hook(keep)
    try:
        trainer.current_gradient_accumulation_steps = 1
        trainer.compute_loss(trainer.model, inputs).backward()
    finally:
        hook.remove()
        trainer.model.zero_grad()
    gradient = caught[0].grad[:, :-1].abs().sum(-1)  # of what predicts each token
    gradient = gradient[:, -inputs["completion_ids"].shape[1] :]
    own = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
    assert (gradient[~own] == 0).all()
    learnt = gradient[own & (inputs["advantages"][:, None].abs() > 1e-3)]
    assert (learnt > 0).float().mean() > 0.99


def test_the_trainer_computes_the_probabilities_that_were_drawn_from(parts):
    trainer, _, played, inputs = parts
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    width = inputs["completion_ids"].shape[1]
    with torch.no_grad():
        found, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, width)
    for i, one in enumerate(played):
        start = one.own.index(True)
        own = np.array(one.own[start:])
        np.testing.assert_allclose(
            found[i, : len(own)].numpy()[own], np.array(one.logprobs[start:])[own], atol=1e-4
        )


def test_sampling_follows_from_seed_update_and_process(parts, arguments, tmp_path):
    trainer, chat, _, _ = parts
    args = arguments(tmp_path)
    seeds = []
    arena = SimpleNamespace(play=lambda *_, seed, **__: seeds.append(seed) or [])
    for seed, update, process in [(0, 0, 0), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        accelerator = SimpleNamespace(process_index=process, unwrap_model=lambda model: model)
        now = SimpleNamespace(
            state=SimpleNamespace(global_step=update), accelerator=accelerator, model=trainer.model
        )
        play = grpo.rollouts(dataclasses.replace(args, seed=seed), arena, chat, "")
        play(["0", "0"], now)
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 4


def test_a_run_leaves_a_model_a_curve_dialogues_and_the_newest_checkpoints(finished, taught):
    curve = json.loads((finished / "curve.json").read_text())
    assert [point["update"] for point in curve] == [0, 2, 4]
    assert {path.name for path in (finished / "samples").iterdir()} == {
        "000000.txt", "000002.txt", "000004.txt"
    }  # fmt: skip
    assert {path.name for path in (finished / "trainer").glob("checkpoint-*")} == {
        "checkpoint-2", "checkpoint-4"
    }  # fmt: skip
    history = json.loads((finished / "history.json").read_text())
    steps = [line for line in history if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-6)
    rates = [line["learning_rate"] for line in steps]
    np.testing.assert_allclose(rates, 1e-3 * (1 - 0.9 * np.arange(4) / 4), rtol=1e-5)
    assert card_of(finished / "final") == card_of(taught)
    assert not equal_weights(taught, finished / "final")


def kill(args, step):
    """Begins a run that is killed after so many steps of the optimiser."""
    from transformers import TrainerCallback

    class Kill(TrainerCallback):
        def on_step_end(self, _, state, control, **given):
            if state.global_step == step:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "callbacks", lambda args: [Kill()])
        with pytest.raises(KeyboardInterrupt):
            grpo.train(args)
    assert not (args.out / "final").exists()


def equal_weights(one, other):
    wanted, found = (load_file(folder / "model.safetensors") for folder in (one, other))
    return wanted.keys() == found.keys() and all(torch.equal(wanted[n], found[n]) for n in wanted)


def test_a_killed_run_goes_on_to_the_same_end(finished, arguments, tmp_path):
    out = tmp_path / "killed"
    kill(arguments(out), step=3)
    # a validation that no checkpoint followed is forgotten
    curve = json.loads((out / "curve.json").read_text())
    (out / "curve.json").write_text(json.dumps([*curve, {**curve[-1], "update": 3}]))
    with pytest.raises(FileExistsError, match="--resume"):
        grpo.train(arguments(out))
    with pytest.raises(ValueError, match="group was 8, is 4"):
        grpo.train(arguments(out, resume=True, group=4))
    final = grpo.train(arguments(out, resume=True))
    assert equal_weights(finished / "final", final)
    curves = [json.loads((folder / "curve.json").read_text()) for folder in (finished, out)]
    for point in (*curves[0], *curves[1]):
        del point["seconds"]
    assert curves[0] == curves[1]


def test_a_finished_run_returns_at_once(finished, arguments, monkeypatch):
    monkeypatch.setattr(models, "load_recommender", None)
    assert grpo.train(arguments(finished, resume=True)) == finished / "final"
    with pytest.raises(FileExistsError, match="--resume"):
        grpo.train(arguments(finished))


def test_a_run_is_a_model_to_start_from(finished, plane_world):
    _, model, card = models.load_recommender(finished, plane_world)
    assert card.world == plane_world.hash
    assert torch.equal(
        model.state_dict()["model.norm.weight"],
        load_file(finished / "final" / "model.safetensors")["model.norm.weight"],
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 12}, "batch_size 12 is not a multiple of group 8"),
        ({"group": 1}, "at least 2 conversations"),
        ({"micro_batch": 3}, "is not a multiple of what 1 process"),
        ({"micro_batch": 0}, "choose another"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"updates": 0}, "updates must be at least 1"),
        ({"kl_coef": -1.0}, "kl_coef at least 0"),
        pytest.param(
            {"device": "cuda"}, "no cuda here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device"),
        ),
        ({"world": "films"}, "knows the films of world"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named_and_leave_no_run(changed, message, arguments, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        grpo.train(arguments(out, **changed))
    assert not out.exists()


@pytest.fixture
def damaged(plane_world, tmp_path):
    """Saves a small model with its tokenizer changed, and a card."""

    def save(card=None, **changed):
        tokenizer = build_tokenizer(plane_world, subwords=60)
        model = build_model(tokenizer, width=16, layers=1, heads=2)
        for name, value in changed.items():
            setattr(tokenizer, name, value)
        models.save(model, tokenizer, card or Card(), tmp_path / "model")
        return str(tmp_path / "model")

    return save


def test_models_that_cannot_recommend_are_refused(damaged, arguments, tmp_path):
    with pytest.raises(ValueError, match="no chat template"):
        grpo.train(arguments(tmp_path / "run", model=damaged(chat_template=None)))
    with pytest.raises(ValueError, match="trained to play the user"):
        grpo.train(arguments(tmp_path / "run", model=damaged(Card(role="user"))))


def test_a_tokenizer_without_our_tags_is_refused(arguments, tmp_path):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    from agents.lm.tiny import CHAT_TEMPLATE

    plain = Tokenizer(WordLevel({"<pad>": 0, "<bos>": 1, "<end>": 2, "b": 3}, unk_token="<pad>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<bos>", eos_token="<end>",
        chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    models.save(build_model(tokenizer, 16, 1, 2), tokenizer, Card(), tmp_path / "model")
    with pytest.raises(ValueError, match="our tags as tokens"):
        grpo.train(arguments(tmp_path / "run", model=str(tmp_path / "model")))


def test_only_the_main_process_makes_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert models.begin(tmp_path / "run", {"seed": 0}, resume=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("changed", [{"epochs": 2}, {"micro_batch": 4}, {"lora": 4}])
def test_other_ways_to_update_learn_and_can_be_resumed(changed, arguments, tmp_path, taught):
    args, steps = arguments(tmp_path / "whole", **changed), 4 * changed.get("epochs", 1)
    final = grpo.train(args)
    history = json.loads((args.out / "history.json").read_text())
    assert [line["step"] for line in history if "loss" in line] == list(range(1, steps + 1))
    assert not equal_weights(taught, final)
    killed = dataclasses.replace(args, out=tmp_path / "killed")
    kill(killed, step=3 * steps // 4)
    assert equal_weights(final, grpo.train(dataclasses.replace(killed, resume=True)))


@pytest.mark.slow
def test_the_return_rises(arguments, tmp_path):
    args = arguments(
        tmp_path / "run", updates=30, batch_size=64, learning_rate=3e-3, validate_every=30,
        validation_episodes=256, adam_eps=1e-8,
    )  # fmt: skip
    grpo.train(args)
    first, last = json.loads((args.out / "curve.json").read_text())
    assert last["reward"] > first["reward"] + 0.1
