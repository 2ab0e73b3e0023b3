"""A decoder small enough to be trained from nothing on one core, and its tokenizer.

The tokenizer keeps every film of a world, title and year, as one token, and so every tag of
structured turns: a model of a million parameters can copy a title that is one token, and never
misspells it. All other text is in subwords, and what they lack in bytes: any text is encoded, and
decoded exactly.

Both are plain Hugging Face objects: `save_pretrained` writes JSON and safetensors,
`AutoTokenizer`, `AutoModelForCausalLM`, TRL and `transformers serve` load them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    ReadableRecommenderAct,
    ReadableUserAct,
    Recommendation,
    Reject,
)
from crs_gym.dialogue import STRUCTURE_TOKENS, VARIANTS, say, say_response
from crs_gym.dialogue.grammar import escape
from crs_gym.dialogue.lexicon import unique_names
from crs_gym.world import World

PAD, BOS, END = "<pad>", "<bos>", "<end>"
ROLES = ("<system>", "<user>", "<assistant>")

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<' + message['role'] + '>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
"""`<bos>`, then `<role>content<end>` for each message; what the assistant says is marked for
losses on its tokens alone."""

_WORDS = r" ?\p{L}+(?:'\p{L}+)?| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s"


def build_tokenizer(world: World, texts: Sequence[str] = (), subwords: int = 1500) -> Any:
    """A `PreTrainedTokenizerFast` for the films of a world.

    Args:
        world: gives the titles, and template sentences to learn subwords from.
        texts: more to learn subwords from.
        subwords: of the vocabulary, besides titles, tags and bytes.

    Raises:
        ImportError: transformers is not installed.
    """
    try:
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
        from tokenizers.trainers import BpeTrainer
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise ImportError("a tokenizer needs transformers: pip install 'crs-gym[lm]'") from error

    titles = unique_names([world.label(item) for item in range(world.n_items)])
    split = pre_tokenizers.Split(Regex(_WORDS), "isolated")
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = split
    alphabet = [chr(code) for code in range(32, 127)] + ["\n"]
    trainer = BpeTrainer(vocab_size=subwords, initial_alphabet=alphabet, show_progress=False)
    learnt.train_from_iterator([*texts, *titles, *_sentences(world)], trainer)
    found = json.loads(learnt.to_str())["model"]

    # learnt first and given its bytes after: a trainer would make tokens of their names, which
    # would then be found in texts
    special = (PAD, BOS, END, *ROLES)
    names = (*special, *(f"<0x{byte:02X}>" for byte in range(256)), *found["vocab"])
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    merges = [tuple(pair) for pair in found["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(name, normalized=False) for name in special])
    # in structured turns some titles are written with escapes
    spellings = dict.fromkeys([*STRUCTURE_TOKENS, *titles, *map(escape, titles)])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in spellings])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def build_model(
    tokenizer: Any, width: int = 192, layers: int = 4, heads: int = 6, seed: int = 0
) -> Any:
    """A `LlamaForCausalLM` with random weights for a tokenizer of `build_tokenizer`.

    Args:
        tokenizer: gives the size of the vocabulary, and where a reply ends.
        width: of the hidden state, a multiple of twice `heads`.
        layers: blocks.
        heads: of the attention.
        seed: of the weights; torch's own random state is left as it was.

    Raises:
        ImportError: torch or transformers is not installed.
        ValueError: a width that the heads do not divide evenly.
    """
    if width % (2 * heads):
        raise ValueError(f"width {width} is not a multiple of twice the {heads} heads")
    try:
        import torch
        from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise ImportError(
            "a language model needs torch and transformers: pip install 'crs-gym[lm]'"
        ) from error

    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=32 * round(width / 12),  # 8/3 of the width
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        **ends,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        # tokens that are told apart from the start: titles are rare, and have to be copied
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=width**-0.5)
    model.generation_config = GenerationConfig(**ends)
    return model


def _sentences(world: World) -> Iterator[str]:
    """Template sentences of every attribute and of some films, always the same."""
    rng = random.Random(0)
    for attribute in range(world.n_attributes):
        for direction in (1, -1):
            items = tuple(rng.sample(range(world.n_items), min(2, world.n_items)))
            offer, asked = Recommendation(items), AttributeQuery(items[0], attribute, direction)
            talk: list[tuple[ReadableRecommenderAct, ReadableUserAct]] = [
                (offer, Accept(items[0])),
                (offer, Reject()),
                (offer, Critique(items[0], attribute, direction)),
                (ItemQuery(items), Choice(items[0])),
                (asked, Answer(attribute, direction)),
                (asked, Answer(attribute, -direction)),
                (Recommendation(()), Leave()),
            ]
            for act, response in talk:
                for variant in range(VARIANTS):
                    yield say(act, world, variant)
                    yield say_response(response, act, world, variant)
