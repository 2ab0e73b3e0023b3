"""What a batch writes is what each of its texts would have written alone."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from transformers import DynamicCache  # noqa: E402

from agents.lm import cache  # noqa: E402
from agents.lm.tiny import build_model, build_tokenizer  # noqa: E402
from agents.lm.writing import Writer  # noqa: E402

PIECES = [
    [[5, 6, 7], [30, 31], [32]],
    [[8], [33, 34, 35, 36], [37, 38]],
    [[9, 10, 11, 12, 13, 14], [39], [40, 41, 42]],
    [[15, 16], [43, 44], [45, 46, 47, 48]],
]
"""Of four texts what they read in three rounds."""


@pytest.fixture(scope="module")
def tokenizer(plane_world):
    return build_tokenizer(plane_world, subwords=60)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.set_num_threads(1)
    return build_model(tokenizer, width=32, layers=2, heads=2, seed=4).eval()


def writer(model, texts, temperature=0.0, seed=0, end=-1, bf16=False):
    generator = torch.Generator().manual_seed(seed)
    return Writer(
        model, texts, end=end, pad=0, temperature=temperature, generator=generator, bf16=bf16
    )


def rounds(model, pieces, limit=6, over=(), **options):
    """Tokens of each text, which are its own, and their log-probabilities; the texts of `over` end
    after the first round.
    """
    made = writer(model, len(pieces), **options)
    ids = [[] for _ in pieces]
    own = [[] for _ in pieces]
    likely = [[] for _ in pieces]
    for number in range(len(pieces[0])):
        live = [not number or i not in over for i in range(len(pieces))]
        given = [pieces[i][number] if live[i] else [] for i in range(len(pieces))]
        made.read(given)
        for i, found in enumerate(made.write(live, limit)):
            assert (found is not None) == live[i]
            if found is not None:
                ids[i] += [*given[i], *found.ids]
                own[i] += [False] * len(given[i]) + [True] * len(found.ids)
                likely[i] += found.logprobs
    return ids, own, likely


def whole(model, ids, own):
    """Log-probabilities of the own tokens by one forward pass."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return [logits[t - 1, ids[t]].item() for t in range(1, len(ids)) if own[t]]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_log_probabilities_are_those_of_a_whole_forward_pass(model, temperature):
    # one of the tokens ends turns, so that texts go on at different lengths
    ids, own, likely = rounds(model, PIECES, temperature=temperature, end=50, limit=9)
    for i in range(len(PIECES)):
        np.testing.assert_allclose(likely[i], whole(model, ids[i], own[i]), atol=1e-4)


def test_texts_that_wait_for_the_others_are_as_they_were(model, monkeypatch):
    """Most texts end a turn long before the last of them, in each of three rounds."""
    pieces = [[[5 + i % 20, 6 + i % 7], [30 + i] * (1 + i % 3), [8]] for i in range(24)]
    computed = []
    feed = Writer._feed

    def counted(self, tokens, mask):
        computed.append(len(tokens))
        feed(self, tokens, mask)

    choose, draws = Writer._choose, torch.Generator().manual_seed(0)

    def soon_over(self):
        """One token in twelve is the end."""
        chosen, _ = choose(self)
        chosen[torch.rand(len(chosen), generator=draws) < 1 / 12] = 50
        return chosen, self._logits.log_softmax(-1).gather(-1, chosen[:, None])[:, 0]

    monkeypatch.setattr(Writer, "_feed", counted)
    monkeypatch.setattr(Writer, "_choose", soon_over)
    ids, own, likely = rounds(model, pieces, temperature=1.0, end=50, limit=100, over=(3, 9))
    assert min(computed) < 6  # narrowed more than once
    assert computed.count(24) > 1
    for i in range(len(pieces)):
        np.testing.assert_allclose(likely[i], whole(model, ids[i], own[i]), atol=1e-4)


def test_bfloat16_is_near_it(model):
    ids, own, likely = rounds(model, PIECES, temperature=1.0, end=50, limit=9, bf16=True)
    exact = [whole(model, ids[i], own[i]) for i in range(len(PIECES))]
    for mine, theirs in zip(likely, exact, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=0.05)  # 8 bits of mantissa
    assert likely != exact
    made = writer(model, 1, bf16=True)
    made.read([[5, 6, 7]])
    # half of it would take a processor longer
    kept = torch.float32 if model.device.type == "cpu" else torch.bfloat16
    assert {x.dtype for layer in made._cache.layers for x in layer.buffers} == {kept}


def test_a_batch_writes_what_each_text_would_alone(model):
    together, _, _ = rounds(model, PIECES)
    for i, pieces in enumerate(PIECES):
        assert rounds(model, [pieces])[0] == [together[i]]


def test_texts_that_are_over_change_nothing(model, monkeypatch):
    kept = [0]
    dropped = rounds(model, PIECES, over=(1, 2, 3))
    alone = rounds(model, [PIECES[0]])
    monkeypatch.setattr(Writer, "_drop", lambda *_: None)
    padded = rounds(model, PIECES, over=(1, 2, 3))
    for i in kept:
        assert dropped[0][i] == padded[0][i] == alone[0][i]
        np.testing.assert_allclose(dropped[2][i], padded[2][i], atol=1e-5)


def test_over_texts_leave_the_batch(model):
    made = writer(model, 4)
    made.read([p[0] for p in PIECES])
    made.write([True] * 4, 2)
    made.read([PIECES[0][1], [], [], PIECES[3][1]])
    assert made._rows == [0, 3]
    assert [w is None for w in made.write([True, False, False, True], 2)] == [
        False, True, True, False
    ]  # fmt: skip


def test_a_turn_that_never_ends_is_cut(model):
    made = writer(model, 2)
    made.read([[5], [6, 7]])
    for found in made.write([True, True], 5):
        assert len(found.ids) == len(found.logprobs) == 5
        assert not found.ended


def test_a_turn_ends_with_its_end(model):
    made = writer(model, 1)
    made.read([[5, 6]])
    (free,) = made.write([True], 4)
    again = writer(model, 1, end=free.ids[2])
    again.read([[5, 6]])
    (found,) = again.write([True], 4)
    first = free.ids.index(free.ids[2])
    assert found.ids == free.ids[: first + 1]
    assert found.ended


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_by_softmax(model, temperature, goodness_of_fit):
    """Pearson's chi-square at the 0.001 level, with a fixed seed."""
    texts = 8_000
    made = writer(model, texts, temperature=temperature, seed=1)
    made.read([[5, 6, 7]] * texts)
    drawn = [found.ids[0] for found in made.write([True] * texts, 1)]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1].double()
    wanted = (logits / temperature).softmax(-1).numpy()
    counts = np.bincount(drawn, minlength=len(wanted))
    assert goodness_of_fit(counts, wanted) > 0.001


def test_the_same_seed_draws_the_same(model):
    one, same, other = (
        rounds(model, PIECES, temperature=1.0, seed=seed)[0] for seed in (3, 3, 4)
    )  # fmt: skip
    assert one == same
    assert one != other


def test_the_growing_cache_holds_what_that_of_transformers_does(model, monkeypatch):
    pieces = [[list(range(5, 105)), [7] * 90, [8] * 40], [[9], [10] * 5, [11] * 70]]
    grown = rounds(model, pieces, limit=40)  # passes the room that is made at once, twice

    class Usual(DynamicCache):
        narrows, window = False, None

        def __init__(self, config, dtype):
            super().__init__(config=config)

        def widen(self):
            pass

    monkeypatch.setattr(cache, "GrowingCache", Usual)
    usual = rounds(model, pieces, limit=40)
    assert grown[0] == usual[0]
    for mine, theirs in zip(grown[2], usual[2], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_models_with_a_window_write_as_long_as_it_holds_padding_too():
    from transformers import MistralConfig, MistralForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    config = MistralConfig(vocab_size=100, sliding_window=60, **shape, **heads)
    torch.manual_seed(0)
    model = MistralForCausalLM(config).eval()
    ids, own, likely = rounds(model, PIECES, limit=9, temperature=1.0, end=50)
    for i in range(len(PIECES)):
        np.testing.assert_allclose(likely[i], whole(model, ids[i], own[i]), atol=1e-4)
    with pytest.raises(ValueError, match=r"window of 60: play them one by one"):
        rounds(model, PIECES, limit=25)
    alone, own, likely = rounds(model, PIECES[:1], limit=25, temperature=1.0)
    assert len(alone[0]) > 60
    np.testing.assert_allclose(likely[0], whole(model, alone[0], own[0]), atol=1e-4)


def test_texts_too_long_and_temperatures_below_zero_are_refused(model):
    with pytest.raises(ValueError, match=r"has 3000 tokens and the model reads 2048"):
        writer(model, 1).read([[5] * 3000])
    with pytest.raises(ValueError, match="temperature must be at least 0"):
        writer(model, 1, temperature=-1.0)
    with pytest.raises(ValueError, match="temperature must be at least 0"):
        writer(model, 1, temperature=float("nan"))
