"""What a recommender may not say: a film that was rejected before, or that the slate holds already.

A data set shows what is said, and hardly ever what is not: that no recommendation repeats a
rejected film is learnt from the likelihood only slowly. So there are losses on every place of an
act where a film is named, for the films that may not be named there:

- contrastive (Jiang et al., 2022, "A Simple Contrastive Learning Objective for Alleviating Neural
  Text Degeneration", their L_CT): the film that was named is to be likelier than all of them,
- unlikelihood (Welleck et al., 2020): each is to be unlikely, whatever else is said instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from agents.lm.chats import ChatFormat, Row
from agents.lm.models import logits_at
from crs_gym.acts import AttributeQuery, Critique, ItemQuery, Reject
from crs_gym.dialogue.grammar import escape
from crs_gym.dialogue.lexicon import lexicon
from crs_gym.generation.records import Dialogue
from crs_gym.world import World

_OPEN, _CLOSE = "<action>", "</action>"


def title_tokens(world: World, chat: ChatFormat) -> dict[int, int]:
    """Token to item, for the films whose title in structured turns is one token."""
    found = {}
    for item, name in enumerate(lexicon(world).films):
        tokens = chat.tokenizer.encode(escape(name), add_special_tokens=False)
        if len(tokens) == 1:
            found[int(tokens[0])] = item
    return found


def forbidden(
    dialogue: Dialogue, row: Row, chat: ChatFormat, items: dict[int, int]
) -> Iterator[tuple[int, int]]:
    """(place, token): what may not stand at a place of the row, where a film is named in an act.

    Args:
        row: the dialogue as its recommender's model sees it.
        items: token to item, see `title_tokens`.
    """
    tokens = {item: token for token, item in items.items()}
    opens, closes = chat.tokenizer.convert_tokens_to_ids([_OPEN, _CLOSE])
    rejected: list[int] = []
    place = 0
    for turn in dialogue.turns:
        act = turn.act
        named = () if isinstance(act, AttributeQuery) else act.items
        place = _find(row.ids, opens, place)
        end = _find(row.ids, closes, place)
        places = [p for p in range(place, end) if int(row.ids[p]) in items]
        before = [] if isinstance(act, ItemQuery | AttributeQuery) else list(rejected)
        if len(places) == len(named):
            for p, item in zip(places, named, strict=True):
                yield from ((p, tokens[other]) for other in before if other in tokens)
                before.append(item)
        if isinstance(turn.response, Reject | Critique):
            rejected += named
        place = end


def _find(ids: np.ndarray, token: int, start: int) -> int:
    """The first place of a token from `start` on; the end where there is none."""
    found = np.flatnonzero(ids[start:] == token)
    return start + int(found[0]) if len(found) else len(ids)


class Collator:
    """Adds `forbidden` to batches: (N, 3) int64 rows of dialogue, place and token.

    inner: collates `input_ids` and `labels`, and pads on the right.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        plain = [{k: one[k] for k in ("input_ids", "labels")} for one in examples]
        batch: dict[str, Any] = self.inner(plain)
        # nothing that counts looks to the right, where rows are padded, and attention without a
        # mask computes half as much
        del batch["attention_mask"]
        rows = [
            (i, place, token)
            for i, one in enumerate(examples)
            for place, token in zip(one["places"], one["tokens"], strict=True)
        ]
        batch["forbidden"] = torch.tensor(rows, dtype=torch.long).reshape(-1, 3)
        return batch


class Losses(NamedTuple):
    """Sums over a batch.

    likelihood: -log p of the labels. contrastive: where something is forbidden, -log of the share
    of the label in its own probability and that of all that is. unlikelihood: -log(1 - p) of each
    that is.
    """

    likelihood: Any
    contrastive: Any
    unlikelihood: Any


def losses(model: Any, inputs: dict[str, Any], forbidden: Any, labels: Any) -> Losses:
    """The losses of a batch, each a scalar tensor with gradients.

    Args:
        model: a causal language model.
        inputs: its arguments, without labels.
        forbidden: (N, 3) rows of dialogue, place and token; places that the model does not predict
            count nothing.
        labels: (B, T), -100 for what is not its own.
    """
    import torch

    rows, before = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    with logits_at(model, (rows, before)):
        logits = model(**inputs, use_cache=False).logits.float()
    logprobs = torch.log_softmax(logits, -1)
    said = labels[rows, before + 1][:, None]
    own = logprobs.gather(1, said)
    number = torch.full_like(labels, -1)
    number[rows, before + 1] = torch.arange(len(rows), device=labels.device)
    which = number[forbidden[:, 0], forbidden[:, 1]]
    there = which >= 0
    which, tokens = which[there], forbidden[there, 2]
    banned = logprobs[which, tokens]

    places, place = which.unique(return_inverse=True)
    rivals = torch.zeros((len(places), logprobs.shape[1]), dtype=torch.bool, device=labels.device)
    rivals[place, tokens] = True
    rivals.scatter_(1, said[places], True)
    among = logprobs[places].masked_fill(~rivals, -torch.inf).logsumexp(-1)
    return Losses(
        -own.sum(),
        (among - own[places].squeeze(1)).sum(),
        -torch.log1p(-banned.exp().clamp(max=1 - 1e-6)).sum(),
    )
