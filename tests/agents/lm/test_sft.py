"""Each side is trained on its own tokens alone; a killed training goes on as if it never was."""

import json
import warnings

import numpy as np
import pytest

from crs_gym.dialogue import format_turn
from crs_gym.generation.settings import Settings

torch = pytest.importorskip("torch")
pytest.importorskip("trl", reason="trl is not installed (the extra `lm`)")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from agents.lm import data, models, sft  # noqa: E402
from agents.lm.chats import ChatFormat  # noqa: E402
from agents.lm.tiny import CHAT_TEMPLATE, build_model, build_tokenizer  # noqa: E402
from crs_gym.language.card import Card, card_of  # noqa: E402
from crs_gym.language.persona import persona_of  # noqa: E402


@pytest.fixture(scope="session")
def dialogues(small_world, tmp_path_factory):
    from crs_gym.generation.run import generate

    settings = Settings(
        small_world.hash, dialogues=60, lanes=8, effort=8, draws=32, queries="either", shard=60
    )
    folder = tmp_path_factory.mktemp("dialogues") / "set"
    return generate(small_world, folder, settings, workers=1, progress=False)


@pytest.fixture(scope="session")
def chat(small_world):
    return ChatFormat(build_tokenizer(small_world, subwords=200))


@pytest.mark.parametrize("role", ["recommender", "user"])
def test_the_own_tokens_are_the_turns_of_one_side(role, dialogues, chat, small_world):
    for dialogue in list(dialogues)[:20]:
        (row,) = data.rows([dialogue], small_world, chat, role)
        assert len(row.ids) == len(row.own)
        if role == "recommender":
            own = [format_turn(t.act, t.recommender.text, small_world) for t in dialogue.turns]
            heard = [t.user.text for t in dialogue.turns[:-1]]
        else:
            own = [format_turn(t.response, t.user.text, small_world) for t in dialogue.turns]
            heard = [t.recommender.text for t in dialogue.turns]
        starts = np.flatnonzero(row.own & ~np.roll(row.own, 1))
        ends = np.flatnonzero(row.own & ~np.append(row.own[1:], False))
        assert len(starts) == len(own)
        for start, end, text in zip(starts, ends, own, strict=True):
            assert chat.text(row.ids[start : end + 1]) == text
            assert row.ids[end] == chat.end
        others = chat.tokenizer.decode(row.ids[~row.own])
        for words in heard:
            assert words in others
        assert "<action>" not in others


def test_a_user_is_told_its_persona_and_a_recommender_nothing(dialogues, chat, small_world):
    dialogue = list(dialogues)[3]
    rows = {role: next(data.rows([dialogue], small_world, chat, role)) for role in models_roles()}
    persona = persona_of(data.person_of(dialogue, small_world)).text()
    assert persona in chat.tokenizer.decode(rows["user"].ids)
    assert persona not in chat.tokenizer.decode(rows["recommender"].ids)


def models_roles():
    return ("recommender", "user")


def test_labels_hide_what_is_not_the_models_own(dialogues, chat, small_world):
    rows = list(data.rows(list(dialogues)[:5], small_world, chat, "recommender"))
    longest = max(len(row.ids) for row in rows)
    with pytest.warns(UserWarning, match=f"5 of 5 .* after 50 tokens.* to {longest} "):
        made = data.columns(rows, max_length=50)
    for row, ids, labels in zip(rows, made["input_ids"], made["labels"], strict=True):
        assert len(ids) == len(labels) == min(50, len(row.ids))
        np.testing.assert_array_equal(labels == -100, ~row.own[:50])
        np.testing.assert_array_equal(labels[labels != -100], ids[row.own[:50]])


def test_rows_of_which_nothing_would_be_learnt_are_an_error(dialogues, chat, small_world):
    rows = list(data.rows(list(dialogues)[:5], small_world, chat, "recommender"))
    longest = max(len(row.ids) for row in rows)
    first = [int(row.own.argmax()) for row in rows]
    with warnings.catch_warnings(action="error"):
        made = data.columns(rows, longest)
    assert made["length"] == [len(row.ids) for row in rows]
    bare = sum(place >= max(first) for place in first)
    with pytest.raises(ValueError, match=f"{bare} of 5 .* {max(first)} tokens.* to {longest} "):
        data.columns(rows, max(first))
    with pytest.warns(UserWarning, match="cut off"):
        data.columns(rows, max(first) + 1)


def test_no_gradient_comes_from_the_other_sides_tokens(dialogues, chat, small_world):
    """The gradient of the loss with respect to each place's logits is zero where the next token is
    not the model's own, and not zero where it is."""
    (row,) = data.rows([next(iter(dialogues))], small_world, chat, "recommender")
    model = build_model(chat.tokenizer, width=16, layers=1, heads=2)
    ids = torch.tensor(row.ids[None].astype(np.int64))
    labels = torch.tensor(data.columns([row], 1000)["labels"][0][None].astype(np.int64))
    result = model(input_ids=ids, labels=labels)
    result.logits.retain_grad()
    result.loss.backward()
    touched = result.logits.grad[0].abs().sum(-1).numpy() > 0
    np.testing.assert_array_equal(touched[:-1], row.own[1:])
    assert not touched[-1]


def test_held_out_dialogues_are_other_users(dialogues):
    rows = list(dialogues)
    train, held = data.split_users(rows, 0.3)
    assert not {rows[i].user_id for i in train} & {rows[i].user_id for i in held}
    assert len(train) + len(held) == len(rows)
    with pytest.raises(ValueError, match="too few"):
        data.split_users(rows[:1], 0.3)


def _args(dialogues, out, **changes):
    values = {
        "epochs": 2.0, "batch_size": 8, "evaluate_every": 3, "held_out": 0.3, "width": 16,
        "layers": 1, "heads": 2, "subwords": 100, "progress": False, "device": "cpu",
        "learning_rate": 1e-2,
    }  # fmt: skip
    return sft.Args(data=dialogues.folder, out=out, **{**values, **changes})


def _weights(folder):
    _, model = models.load(folder)
    return {name: p.detach().numpy() for name, p in model.named_parameters()}


def _killed_at(step):
    from transformers import TrainerCallback

    class Killed(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step:
                raise KeyboardInterrupt

    return Killed()


def test_training_lowers_the_loss_and_a_killed_one_goes_on(dialogues, tmp_path, monkeypatch):
    whole = sft.train(_args(dialogues, tmp_path / "whole"))
    history = json.loads((tmp_path / "whole" / "history.json").read_text())
    losses = [point["eval_loss"] for point in history if "eval_loss" in point]
    assert len(losses) >= 2
    assert losses[-1] < losses[0]

    monkeypatch.setattr(models, "callbacks", lambda args: [_killed_at(5)])
    with pytest.raises(KeyboardInterrupt):
        sft.train(_args(dialogues, tmp_path / "killed"))
    monkeypatch.undo()
    with pytest.raises(FileExistsError, match="--resume"):
        sft.train(_args(dialogues, tmp_path / "killed"))
    with pytest.raises(ValueError, match="learning_rate was 0.01, is 0.02"):
        sft.train(_args(dialogues, tmp_path / "killed", resume=True, learning_rate=0.02))
    again = sft.train(_args(dialogues, tmp_path / "killed", resume=True))
    for name, value in _weights(whole).items():
        np.testing.assert_allclose(_weights(again)[name], value, atol=1e-6, err_msg=name)
    # what is finished is not done again
    assert sft.train(_args(dialogues, tmp_path / "killed", resume=True)) == again


def test_a_killed_training_is_as_patient_as_one_that_was_not(dialogues, tmp_path, monkeypatch):
    """The loss stays as it is: all measurements but the first are without a lower one."""
    changes = {"evaluate_every": 2, "patience": 2, "learning_rate": 0.0, "muon_learning_rate": 0.0}

    def measured(**more):
        sft.train(_args(dialogues, tmp_path, **changes, **more))
        history = json.loads((tmp_path / "history.json").read_text())
        return [point["step"] for point in history if "eval_loss" in point]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "callbacks", lambda args: [_killed_at(5)])
    with pytest.raises(KeyboardInterrupt):
        measured()
    monkeypatch.undo()
    # once more when it has had enough, before the model is written
    monkeypatch.setattr(models, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        measured(resume=True)
    monkeypatch.undo()
    assert measured(resume=True) == [2, 4, 6]


def test_no_model_is_kept_of_a_loss_that_is_no_number(dialogues, tmp_path):
    with pytest.raises(ValueError, match="lower learning rates"):
        sft.train(_args(dialogues, tmp_path, learning_rate=1e30, warmup=0.0))
    assert not (tmp_path / "final").exists()


def test_a_model_from_elsewhere_learns_our_tags_the_same_again(dialogues, small_world, tmp_path):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(kinds.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain.train_from_iterator(["a film"], BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, eos_token="<end>", bos_token="<bos>", pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    model = build_model(tokenizer, width=16, layers=1, heads=2)
    models.save(model, tokenizer, Card(), tmp_path / "hub")
    changes = {"model": str(tmp_path / "hub"), "epochs": 0.2, "max_length": 4000}
    final, again = (sft.train(_args(dialogues, tmp_path / name, **changes)) for name in "ab")
    # the rows of new tokens are drawn, from the seed
    for name, value in _weights(final).items():
        np.testing.assert_array_equal(_weights(again)[name], value, err_msg=name)
    from agents.lm.chats import check_marks

    trained, _ = models.load(final)
    check_marks(trained)
    with pytest.raises(ValueError, match=r"agents\.lm\.sft"):
        check_marks(tokenizer)
    card = card_of(final)
    assert "recommend films" in card.system
    assert card.world == small_world.hash


def test_bad_arguments_say_what_helps_and_leave_no_run(dialogues, tmp_path):
    with pytest.raises(OSError, match="not a folder"):
        sft.train(_args(dialogues, tmp_path / "a", model="./nowhere"))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="use --device cpu"):
            sft.train(_args(dialogues, tmp_path / "b", device="cuda"))
    with pytest.raises(ValueError, match="raise max_length"):
        sft.train(_args(dialogues, tmp_path / "c", max_length=5))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_lora_trains_beside_the_weights_and_is_merged_into_them(dialogues, chat, tmp_path):
    pytest.importorskip("peft")
    model = build_model(chat.tokenizer, width=16, layers=1, heads=2)
    models.save(model, chat.tokenizer, Card(), tmp_path / "hub")
    final = sft.train(
        _args(dialogues, tmp_path / "run", model=str(tmp_path / "hub"), lora=2, epochs=0.5)
    )
    before, after = _weights(tmp_path / "hub"), _weights(final)
    assert before.keys() <= after.keys()  # embeddings may be untied by it
    moved = {name for name in before if np.abs(before[name] - after[name]).max() > 0}
    assert any("q_proj" in name for name in moved)
    assert not any("norm" in name for name in moved)


@pytest.mark.slow
def test_tracking_offline_holds_the_losses(dialogues, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    from tests.agents.tracked import entries, offline_records

    for name in ("PROJECT", "DIR", "RUN_ID", "RESUME", "MODE", "API_KEY"):
        monkeypatch.setenv(f"WANDB_{name}", "")
        monkeypatch.delenv(f"WANDB_{name}")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    sft.train(_args(dialogues, tmp_path / "run", track=True, epochs=1.0))
    wandb.teardown()  # only when its service ends is the file whole
    told = [
        entries(record.history.item)["eval/loss"]
        for record in offline_records(tmp_path / "run" / "wandb")
        if record.WhichOneof("record_type") == "history"
        and "eval/loss" in entries(record.history.item)
    ]
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    losses = [point["eval_loss"] for point in history if "eval_loss" in point]
    assert told == pytest.approx(losses)
    assert losses
