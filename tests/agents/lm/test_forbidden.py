"""What may not be said is found by the rules of the simulation, and its probability goes down."""

import dataclasses

import numpy as np
import pytest

from crs_gym.acts import AttributeQuery, Choice, Critique, ItemQuery, Recommendation, Reject
from crs_gym.dialogue import say

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from agents.lm import data  # noqa: E402
from agents.lm.chats import ChatFormat  # noqa: E402
from agents.lm.forbidden import Collator, forbidden, losses, title_tokens  # noqa: E402
from agents.lm.tiny import build_model, build_tokenizer  # noqa: E402
from crs_gym.generation.records import Dialogue, Exchange, Words  # noqa: E402


@pytest.fixture(scope="module")
def chat(plane_world):
    return ChatFormat(build_tokenizer(plane_world, subwords=60))


def _dialogue(world, turns):
    def exchange(act, response):
        words = Words(say(act, world), 0, say(act, world))
        reply = Words("No.", 0, "No.")
        return Exchange(act, response, words, reply, (0.0,) * 5, 1.0, (), 0.0, 0.0, 0, 0.0)

    empty = {field.name: 0 for field in dataclasses.fields(Dialogue)}
    return Dialogue(**{**empty, "turns": tuple(exchange(*turn) for turn in turns)})


TURNS = (
    (ItemQuery((5, 6)), Choice(5)),
    (Recommendation((1, 2)), Reject()),
    (AttributeQuery(1, 0, 1), Reject()),
    (Recommendation((3, 4)), Critique(3, 0, 1)),
    (Recommendation((7,)), Reject()),
)


def test_films_that_were_rejected_or_named_before_are_forbidden(plane_world, chat):
    dialogue = _dialogue(plane_world, TURNS)
    row = data.recommender_row(dialogue, plane_world, chat)
    items = title_tokens(plane_world, chat)
    assert sorted(items.values()) == list(range(plane_world.n_items))
    found = {}
    for place, token in forbidden(dialogue, row, chat, items):
        assert row.own[place]
        found.setdefault((place, items[int(row.ids[place])]), set()).add(items[token])
    named = [item for _, item in sorted(found)]
    # the first of a slate in which nothing was rejected before has nothing forbidden
    assert named == [6, 2, 3, 4, 7]
    assert [banned for _, banned in sorted(found.items())] == [
        {5}, {1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4},
    ]  # fmt: skip


def test_losses_are_those_of_the_whole_distribution(plane_world, chat):
    dialogue = _dialogue(plane_world, TURNS)
    row = data.recommender_row(dialogue, plane_world, chat)
    items = title_tokens(plane_world, chat)
    pairs = list(forbidden(dialogue, row, chat, items))
    model = build_model(chat.tokenizer, width=16, layers=1, heads=2)
    ids = torch.tensor(np.stack([row.ids, row.ids]).astype(np.int64))
    labels = torch.tensor(np.stack([np.where(row.own, row.ids, -100)] * 2).astype(np.int64))
    banned = torch.tensor([(1, place, token) for place, token in pairs])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found = losses(model, inputs, banned, labels)
    logprobs = torch.log_softmax(model(input_ids=ids[:1]).logits[0].detach().float(), -1)
    own = [-float(logprobs[p - 1, row.ids[p]]) for p in np.flatnonzero(row.own)]
    assert float(found.likelihood.detach()) == pytest.approx(2 * sum(own), rel=1e-4)
    expected = [-np.log1p(-np.exp(float(logprobs[p - 1, token]))) for p, token in pairs]
    assert float(found.unlikelihood.detach()) == pytest.approx(sum(expected), rel=1e-3)
    # log(1 + sum over what is forbidden of exp(its logit less that of the label))
    rivals = {place: [t for p, t in pairs if p == place] for place, _ in pairs}
    expected = [
        np.log1p(sum(np.exp(float(logprobs[p - 1, t] - logprobs[p - 1, row.ids[p]])) for t in some))
        for p, some in rivals.items()
    ]
    assert len(rivals) == 5
    assert float(found.contrastive.detach()) == pytest.approx(sum(expected), rel=1e-4)


def test_contrast_moves_the_label_and_what_is_forbidden_alone(plane_world, chat):
    dialogue = _dialogue(plane_world, TURNS)
    row = data.recommender_row(dialogue, plane_world, chat)
    pairs = list(forbidden(dialogue, row, chat, title_tokens(plane_world, chat)))
    model = build_model(chat.tokenizer, width=16, layers=1, heads=2)
    kept = []
    model.get_output_embeddings().register_forward_hook(lambda *args: kept.append(args[-1]))
    ids = torch.tensor(row.ids.astype(np.int64))[None]
    labels = torch.tensor(np.where(row.own, row.ids, -100).astype(np.int64))[None]
    banned = torch.tensor([(0, place, token) for place, token in pairs])
    found = losses(model, {"input_ids": ids}, banned, labels)
    gradients = torch.autograd.grad(found.contrastive, kept[0])[0].numpy()
    for at, place in enumerate(np.flatnonzero(row.own)):
        down = sorted(token for p, token in pairs if p == place)
        moved = np.flatnonzero(np.abs(gradients[at]) > 1e-6)
        assert sorted(moved) == (sorted([*down, int(row.ids[place])]) if down else [])
        assert (gradients[at][down] > 0).all()
        assert not down or gradients[at][row.ids[place]] < 0


def test_losses_of_a_batch_are_those_of_its_dialogues(plane_world, chat):
    trl = pytest.importorskip("trl.trainer.sft_trainer")
    items = title_tokens(plane_world, chat)
    examples = []
    for count in (2, 5, 3):
        dialogue = _dialogue(plane_world, TURNS[:count])
        row = data.recommender_row(dialogue, plane_world, chat)
        pairs = list(forbidden(dialogue, row, chat, items))
        columns = data.columns([row], 1024)
        one = {name: columns[name][0].tolist() for name in ("input_ids", "labels")}
        one["places"] = [place for place, _ in pairs]
        one["tokens"] = [token for _, token in pairs]
        examples.append(one)
    model = build_model(chat.tokenizer, width=16, layers=2, heads=2)
    pad = chat.tokenizer.pad_token_id
    collate = Collator(trl.DataCollatorForLanguageModeling(pad, pad_to_multiple_of=32))

    def of(some):
        batch = collate(some)
        labels, banned = batch.pop("labels"), batch.pop("forbidden")
        return [float(loss.detach()) for loss in losses(model, batch, banned, labels)]

    alone = np.array([of([one]) for one in examples])
    assert (alone[:, 0] > 0).all()
    assert alone[1, 1] > 0
    assert alone[1, 2] > 0
    np.testing.assert_allclose(of(examples), alone.sum(0), rtol=1e-4)
