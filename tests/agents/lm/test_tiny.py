"""The tokenizer is exact for any text, and model and tokenizer survive being saved."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crs_gym.acts import Recommendation
from crs_gym.dialogue import STRUCTURE_TOKENS, format_turn
from crs_gym.world import load_world

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from agents.lm.tiny import ROLES, build_model, build_tokenizer  # noqa: E402

WORLD = load_world("films")
TOKENIZER = build_tokenizer(WORLD)


def _ids(text):
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


PIECES = st.sampled_from(
    ["Amélie (2001)", "The Matrix (1999)", " (1999)", "<0x41>", "<end>", "<action>", "<more",
     "Ġ", "▁", "\n", "  ", "don't", "\x00", "🎬", "<unk>", "é", " ."]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=3))).map("".join)))
@settings(max_examples=500, deadline=None)
def test_any_text_comes_back_exactly(text):
    assert TOKENIZER.decode(_ids(text)) == text


def test_every_title_and_every_tag_is_one_token():
    for item in range(WORLD.n_items):
        before, title, after = _ids("How about "), _ids(WORLD.label(item)), _ids("? Yes.")
        assert len(title) == 1, WORLD.label(item)
        assert _ids(f"How about {WORLD.label(item)}? Yes.") == [*before, *title, *after]
    for tag in (*STRUCTURE_TOKENS, *ROLES):
        assert len(_ids(tag)) == 1, tag


def test_titles_and_tags_survive_where_special_tokens_are_skipped():
    turn = format_turn(Recommendation((3, 7)), f"How about {WORLD.label(3)}?", WORLD)
    assert TOKENIZER.decode(_ids(turn + "<end>"), skip_special_tokens=True) == turn


def test_films_of_one_name_have_tokens_of_their_own(plane_world):
    twins = plane_world.replace(
        titles=("Up", *plane_world.titles[1:-1], "Up"), years=[2009] * plane_world.n_items
    )
    tokenizer = build_tokenizer(twins, subwords=300)
    first, second = (tokenizer(f"Up (2009) #{n}")["input_ids"] for n in (1, 2))
    assert len(first) == len(second) == 1
    assert first != second


def test_the_same_world_gives_the_same_tokenizer():
    assert build_tokenizer(WORLD).get_vocab() == TOKENIZER.get_vocab()


def test_what_the_assistant_says_is_marked():
    chat = [
        {"role": "user", "content": "How about Heat (1995)?"},
        {"role": "assistant", "content": "Yes, please."},
    ]
    said = TOKENIZER.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    marked = [n for n, own in zip(said["input_ids"], said["assistant_masks"], strict=True) if own]
    assert TOKENIZER.decode(marked) == "Yes, please.<end>"
    assert TOKENIZER.decode(said["input_ids"]) == (
        "<bos><user>How about Heat (1995)?<end><assistant>Yes, please.<end>"
    )
    asked = TOKENIZER.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<bos><user>How about Heat (1995)?<end><assistant>"


def test_model_and_tokenizer_survive_being_saved(tmp_path):
    torch.set_num_threads(1)
    model = build_model(TOKENIZER, width=48, layers=2, heads=2, seed=3)
    model.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".jinja"}
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "How about Amélie (2001) or The Matrix (1999)?\n<more>funny</more> 🎬"
    ids = tokenizer(text, return_tensors="pt")
    assert ids["input_ids"][0].tolist() == _ids(text)
    assert tokenizer.decode(ids["input_ids"][0]) == text
    assert tokenizer.chat_template == TOKENIZER.chat_template
    with torch.no_grad():
        want = model(input_ids=ids["input_ids"]).logits
        got = loaded(input_ids=ids["input_ids"]).logits
    torch.testing.assert_close(got, want)
    assert loaded.generation_config.eos_token_id == tokenizer.eos_token_id


def test_weights_follow_from_the_seed_alone():
    state = torch.random.get_rng_state()
    one, same, other = (build_model(TOKENIZER, 48, 1, 2, seed=n) for n in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), state)
    first, second, third = (m.state_dict()["lm_head.weight"] for m in (one, same, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize(
    ("width", "layers", "heads", "low", "high"),
    [(128, 4, 4, 1e6, 2e6), (192, 4, 6, 2e6, 4e6), (320, 6, 5, 8e6, 10e6)],
)
def test_sizes_are_one_to_ten_million_parameters(width, layers, heads, low, high):
    count = sum(p.numel() for p in build_model(TOKENIZER, width, layers, heads).parameters())
    assert low <= count <= high


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of twice"):
        build_model(TOKENIZER, width=50, heads=4)


def test_titles_are_one_token_in_structured_turns_too():
    escaped = [i for i in range(WORLD.n_items) if "&" in WORLD.label(i)]
    assert escaped
    for item in escaped:
        act = Recommendation((item,))
        tokens = TOKENIZER.convert_ids_to_tokens(_ids(format_turn(act, "This one.", WORLD)))
        assert tokens[:3] == ["<action>", "<recommend>", "<movie_title>"]
        assert tokens[4] == "</movie_title>"
