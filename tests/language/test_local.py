import shutil
from collections import Counter

import numpy as np
import pytest

from crs_gym.language import Failure, Message, Reply, Request
from crs_gym.language.local import LocalModel
from tests.language.tiny import CHAT_TEMPLATE, CONTEXT, SENTENCES, build

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model(tiny):
    return LocalModel(tiny, device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def parts(tiny):
    """(tokenizer, model) as transformers alone loads them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    return tokenizer, transformers.AutoModelForCausalLM.from_pretrained(tiny).eval()


def prompt(words):
    return f"<user>{words}</s><assistant>"


def greedy(parts, words, length):
    """Token by token over the whole sequence: no batch, no padding, no cache of keys."""
    tokenizer, network = parts
    ids = tokenizer(prompt(words), return_tensors="pt", add_special_tokens=False)["input_ids"]
    read = ids.shape[1]
    for _ in range(length):
        with torch.inference_mode():
            ids = torch.cat([ids, network(ids).logits[:, -1:].argmax(-1)], 1)
        if ids[0, -1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[0, read:], skip_special_tokens=True), read, ids.shape[1] - read


def test_greedy_replies_are_the_likeliest_tokens_one_by_one(model, parts, asking):
    words = [*SENTENCES, "a", "Alien" * 8, "no"]
    limits = [24, 1, 7, 24, 30, 16]
    requests = [asking(w, max_tokens=n) for w, n in zip(words, limits, strict=True)]
    replies = model.generate(requests)
    assert len(model.generate([])) == 0
    for reply, w, n in zip(replies, words, limits, strict=True):
        assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == greedy(parts, w, n)
    assert len({reply.text for reply in replies}) == len(replies)


def sampled(asking):
    return [
        asking(words, max_tokens=12, temperature=t, seed=seed)
        for words in (*SENTENCES, "a")
        for t in (0.0, 0.5, 1.5)
        for seed in (0, 1)
    ]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_reply_does_not_depend_on_the_batch_it_is_in(tiny, model, asking, batch_size):
    requests = sampled(asking)
    replies = model.generate(requests)
    assert LocalModel(tiny, device="cpu", batch_size=batch_size).generate(requests) == replies
    assert model.generate(requests[::-1]) == replies[::-1]


def test_seed_words_and_temperature_change_a_sample_and_nothing_else_does(model, asking):
    base = asking(max_tokens=30, temperature=1.0, seed=0)
    same, other_seed, other_words = model.generate(
        [base, asking(max_tokens=30, temperature=1.0, seed=1), asking("a", max_tokens=30)]
    )
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert model.generate([base]) == [same]
    assert torch.equal(torch.get_rng_state(), state)  # nobody else's random numbers are used
    assert len({same.text, other_seed.text, other_words.text}) == 3


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_samples_follow_the_softmax_of_the_logits(
    tiny, parts, asking, goodness_of_fit, temperature
):
    tokenizer, network = parts
    n = 4000
    ids = tokenizer(prompt("a"), return_tensors="pt", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = network(ids).logits[0, -1].double()
    probabilities = torch.softmax(logits / temperature, -1).numpy()
    texts = [tokenizer.decode([i], skip_special_tokens=True) for i in range(len(probabilities))]
    expected: Counter[str] = Counter()
    for text, p in zip(texts, probabilities, strict=True):
        expected[text] += p
    wide = LocalModel(tiny, device="cpu", batch_size=500)
    asked = [asking("a", max_tokens=1, temperature=temperature, seed=s) for s in range(n)]
    seen = Counter(reply.text for reply in wide.generate(asked))
    assert set(seen) <= set(expected)
    counts = np.array([seen[text] for text in expected])
    assert goodness_of_fit(counts, np.array(list(expected.values()))) > 1e-4


def test_stop_strings_cut_the_reply_and_end_the_work(model, asking):
    whole = model.generate([asking(max_tokens=30)])[0]
    for start, length in ((3, 1), (5, 4), (0, 2)):  # within a token, across tokens, at once
        stop = whole.text[start : start + length]
        cut, mate = model.generate(
            [asking(max_tokens=30, stop=("never seen", stop)), asking(max_tokens=30)]
        )
        at = whole.text.index(stop)
        assert (cut.text, cut.finish) == (whole.text[:at], "stop")
        assert 0 < cut.completion_tokens < whole.completion_tokens
        assert mate == whole
    assert model.generate([asking(max_tokens=30, stop=("never seen",))]) == [whole]


def test_finish_tells_an_end_from_a_cut(model, asking):
    """Also where the end of text is the very last token allowed."""
    exact = [
        asking(max_tokens=m, temperature=1.5, seed=seed) for m in (4, 6, 9) for seed in range(60)
    ]
    asked = list(zip(exact, model.generate(exact), strict=True))
    left = {
        finish: [r.max_tokens - a.completion_tokens for r, a in asked if a.finish == finish]
        for finish in ("stop", "length")
    }
    assert set(left["length"]) == {0}
    assert min(left["stop"]) == 0 < max(left["stop"])


def test_what_does_not_fit_or_is_refused_fails_alone(model, asking):
    good = asking(max_tokens=5)
    odd = Request((Message("narrator", "x"),), max_tokens=5)  # type: ignore[arg-type]
    replies = model.generate(
        [asking("word " * CONTEXT, max_tokens=5), good, odd, asking("\ud800", max_tokens=5)]
    )
    assert isinstance(replies[0], Failure)
    assert "shorten" in replies[0].reason
    assert isinstance(replies[1], Reply)
    assert isinstance(replies[2], Failure)
    assert "no such role" in replies[2].reason
    assert isinstance(replies[3], Failure)
    assert [replies[1]] == model.generate([good])


def test_an_empty_prompt_fails_alone(tiny, asking):
    bare = LocalModel(tiny, device="cpu", chat_template="{{ messages[0].content }}")
    failure, reply = bare.generate([asking(""), asking("a", max_tokens=3)])
    assert "empty prompt" in failure.reason
    assert isinstance(reply, Reply)


def test_a_reply_ends_with_the_context(model, asking):
    words = "a" * (CONTEXT - 13)
    (reply,) = model.generate([asking(words, max_tokens=100)])
    assert reply.prompt_tokens + reply.completion_tokens == CONTEXT
    assert reply.finish == "length"


def test_a_batch_too_large_for_memory_is_halved(tiny, model, asking, monkeypatch):
    requests = sampled(asking)[:7]
    replies = model.generate(requests)
    small = LocalModel(tiny, device="cpu", batch_size=7)
    generate, sizes = small._model.generate, []

    def full(*, input_ids, **rest):
        sizes.append(len(input_ids))
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("no memory")
        return generate(input_ids=input_ids, **rest)

    monkeypatch.setattr(small._model, "generate", full)
    assert small.generate(requests) == replies
    assert sizes == [7, 3, 1, 2, 4, 2, 2]

    def none(**_):
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(small._model, "generate", none)
    assert all("out of memory" in reply.reason for reply in small.generate(requests))


def test_the_name_follows_the_content_not_the_place(tiny, model, tmp_path):
    copied = shutil.copytree(tiny, tmp_path / "tiny")
    assert model.name == LocalModel(copied, device="cpu").name
    assert model.name.startswith("tiny@")
    retrained = build(tmp_path / "other" / "tiny", seed=1)
    other_template = LocalModel(tiny, device="cpu", chat_template=CHAT_TEMPLATE + " ")
    names = {model.name, LocalModel(retrained, device="cpu").name, other_template.name}
    assert len(names) == 3
    assert LocalModel(tiny, device="cpu", name="mine").name == "mine"


def test_errors_name_the_cure(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="no such folder here; to take it from the hub"):
        LocalModel("nobody/nothing", device="cpu")
    bare = build(tmp_path / "bare", chat_template=None)
    with pytest.raises(ValueError, match="--chat-template"):
        LocalModel(bare, device="cpu")
    assert LocalModel(bare, device="cpu", chat_template=CHAT_TEMPLATE).name.startswith("bare@")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="no config.json"):
        LocalModel(tmp_path / "empty", device="cpu")
    with pytest.raises(OSError, match="is not a folder"):
        LocalModel(tmp_path / "nowhere", device="cpu")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="is not a folder"):
        LocalModel("empty/nowhere", device="cpu")
    with pytest.raises(ValueError, match="no such device"):
        LocalModel(tiny, device="gpu")
    with pytest.raises(ValueError, match="batch size"):
        LocalModel(tiny, batch_size=0)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="--device cpu"):
            LocalModel(tiny, device="cuda")


def test_only_safetensors_are_read(tiny, tmp_path):
    pickled = shutil.copytree(tiny, tmp_path / "pickled")
    weights = transformers.AutoModelForCausalLM.from_pretrained(pickled).state_dict()
    torch.save(weights, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(OSError, match="weights in safetensors"):
        LocalModel(pickled, device="cpu")
