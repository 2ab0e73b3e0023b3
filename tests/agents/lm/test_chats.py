"""Rows are what the chat template makes of the whole dialogue, and own is what the model writes."""

import numpy as np
import pytest

from crs_gym.dialogue import STRUCTURE_TOKENS, format_turn
from crs_gym.language import Message
from crs_gym.language.recommender import recommender_messages
from tests.talks import film_talks

pytest.importorskip("torch")
pytest.importorskip("transformers")

from agents.lm.chats import ChatFormat, add_marks, check_marks
from agents.lm.data import greeting, recommender_row, user_row
from agents.lm.tiny import CHAT_TEMPLATE, build_model, build_tokenizer

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""As Qwen's: a system message where none is given, and a line's end after each message's."""

ALTERNATING = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
"""As Mistral's: no system role."""

WORLD, TALKS = film_talks()


def make(template, world=WORLD, subwords=100):
    tokenizer = build_tokenizer(world, subwords=subwords)
    tokenizer.chat_template = template
    if "<|im_end|>" in template:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.eos_token = "<|im_end|>"
    return tokenizer


@pytest.fixture(scope="module", params=[CHAT_TEMPLATE, CHATML], ids=["tiny", "chatml"])
def chat(request):
    return ChatFormat(make(request.param))


def messages_of(dialogue, system=""):
    turns = [
        (format_turn(t.act, t.recommender.text, WORLD), t.user.text) for t in dialogue.turns
    ]  # fmt: skip
    whole = recommender_messages(greeting(dialogue), turns, system)[:-1]
    return [{"role": role, "content": content} for role, content in whole], turns


@pytest.mark.parametrize("system", ["", "You recommend films.\n"])
def test_a_row_is_what_the_template_makes_of_the_whole_dialogue(chat, system):
    for dialogue in TALKS:
        row = recommender_row(dialogue, WORLD, chat, system)
        messages, _ = messages_of(dialogue, system)
        text = chat.tokenizer.apply_chat_template(messages, tokenize=False)
        text = text[: text.rindex(chat.tokenizer.eos_token) + len(chat.tokenizer.eos_token)]
        assert chat.tokenizer.decode(row.ids) == text
        assert row.ids.tolist() == chat.tokenizer.encode(text, add_special_tokens=False)
        assert row.ids.dtype == np.int32
        assert row.own.dtype == bool
        assert row.ids.shape == row.own.shape


def test_own_are_the_turns_and_their_ends_token_by_token(chat):
    for dialogue in TALKS:
        row = recommender_row(dialogue, WORLD, chat)
        _, turns = messages_of(dialogue)
        edges = np.flatnonzero(np.diff(row.own.astype(int))) + 1
        parts = np.split(row.ids, edges)
        assert not row.own[0]
        assert row.own[-1]
        for (said, _), part in zip(turns, parts[1::2], strict=True):
            assert part.tolist() == [*chat.tokenizer.encode(said), chat.end]
        for (_, heard), part in zip(turns[:-1], parts[2::2], strict=True):
            assert heard in chat.tokenizer.decode(part)
            assert chat.end in part
            assert part[0] != chat.end or chat.tokenizer.chat_template == CHAT_TEMPLATE
        assert greeting(dialogue) in chat.tokenizer.decode(parts[0])


def test_a_row_that_ends_with_the_other_side_goes_on_to_the_next_turn(chat):
    opening = [Message("user", "Hello.")]
    row = chat.row(opening, [("One?", "No.")])
    longer = chat.row(opening, [("One?", "No."), ("Two?", None)])
    assert longer.ids[: len(row.ids)].tolist() == row.ids.tolist()
    assert longer.ids[len(row.ids) :].tolist() == chat.turn("Two?")


def test_a_turn_comes_back_from_its_tokens(chat):
    said = format_turn(TALKS[0].turns[0].act, TALKS[0].turns[0].recommender.text, WORLD)
    assert chat.text(chat.turn(said)) == said
    assert chat.text(np.array(chat.turn(said))[:-1]) == said


def test_a_turn_without_its_words(chat):
    act = "<action><recommend></recommend></action>"
    turns = [
        (f"{act}<response>What I say.</response>", "No."),
        (f"{act}<response>What never ends", "Yes?"),
        (f"No tag.{act}<response>Well</response>", None),
    ]
    row = chat.row([Message("user", "Hello.")], turns)
    kept = chat.without_words(row.ids.tolist(), row.own.tolist())
    assert not (np.array(kept) & ~row.own).any()
    end = chat.tokenizer.eos_token
    assert chat.tokenizer.decode(row.ids[kept]) == (
        f"{act}<response></response>{end}{act}<response>{end}No tag.{act}<response></response>{end}"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        # counts the messages: earlier text changes when later ones come
        ("{{ messages | length }}" + CHATML, "must add messages at the end"),
        # strips what was thought before
        (
            "{% for m in messages %}{% if m['role'] == 'assistant' and not loop.last %}-{% else %}"
            "{{ m['content'] }}{% endif %}{{ eos_token }}{% endfor %}",
            "must add messages at the end",
        ),
        # opens a turn with a thought that it leaves out later
        (
            "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + eos_token }}"
            "{% endfor %}{% if add_generation_prompt %}<assistant><think></think>{% endif %}",
            "must add messages at the end",
        ),
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "end a turn"),
        ("{{ raise_exception('no users here') }}", "no users here"),
    ],
    ids=["none", "counts", "strips", "thinks", "endless", "refuses"],
)
def test_templates_that_change_what_was_said_are_refused(template, message):
    tokenizer = make(template or "")
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=message):
        ChatFormat(tokenizer)


def test_a_template_without_a_system_role_does_for_a_recommender_that_is_told_nothing():
    chat = ChatFormat(make(ALTERNATING))
    with pytest.raises(ValueError, match=r"must alternate.*--system none.*CHAT_TEMPLATE"):
        recommender_row(TALKS[0], WORLD, chat, "You recommend films.")
    with pytest.raises(ValueError, match=r"for a user, .*CHAT_TEMPLATE"):
        user_row(TALKS[0], WORLD, chat)
    messages, _ = messages_of(TALKS[0])
    whole = chat.tokenizer.apply_chat_template(messages, tokenize=False)
    assert chat.tokenizer.decode(recommender_row(TALKS[0], WORLD, chat).ids) == whole
    assert user_row(TALKS[0], WORLD, ChatFormat(make(CHAT_TEMPLATE))).own.any()


def test_a_tokenizer_without_an_end_is_refused():
    tokenizer = make(CHAT_TEMPLATE)
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no end-of-text token"):
        ChatFormat(tokenizer)


def test_tags_are_added_once_and_each_is_then_a_token(plane_world):
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(WordLevel({"<unk>": 0, "<end>": 1}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="<unk>", bos_token="<unk>", eos_token="<end>",
        pad_token="<end>",
    )  # fmt: skip
    with pytest.raises(ValueError, match=f"{len(STRUCTURE_TOKENS)} of our tags"):
        check_marks(tokenizer)
    model = build_model(tokenizer, 16, 1, 2)
    assert add_marks(tokenizer, model) == len(STRUCTURE_TOKENS)
    assert add_marks(tokenizer, model) == 0
    check_marks(tokenizer)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    assert all(len(tokenizer.encode(tag)) == 1 for tag in STRUCTURE_TOKENS)
    # nothing to add, and room that a model has to spare is left to it
    spare = build_model(tokenizer, 16, 1, 2)
    spare.resize_token_embeddings(500)
    assert add_marks(build_tokenizer(plane_world, subwords=60), spare) == 0
    assert spare.get_input_embeddings().weight.shape[0] == 500
