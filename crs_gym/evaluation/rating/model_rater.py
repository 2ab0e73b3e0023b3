"""A language model judges dialogues: it fills in the forms that people get.

It is asked for a whole form at a time, as people are: the same questions about the same words on
the same sides, an eighth of the requests, and no form is ever half filled in. The reply is JSON. It
is checked as a person's form is, and what is wrong with it is told to the model once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from crs_gym.evaluation.rating.forms import (
    INTRODUCTION,
    Answers,
    Form,
    NotFilled,
    aspects_of,
    check,
    from_json,
)
from crs_gym.evaluation.rating.store import Assignment, Store
from crs_gym.evaluation.rating.study import Lines
from crs_gym.language import Failure, LanguageModel, Message, Reply, Request
from crs_gym.language.model import stream

_ROLE = (
    "You judge conversations between a recommender of films and a user. Read closely and judge "
    "each question by itself: a conversation may be good in one respect and bad in another. You "
    "reply with one JSON object and nothing else."
)
_HOW: Mapping[Form, str] = {
    "dialogue": "Answer every question. Use the names in front of the questions as keys. The value "
    'is {"yes": true} where the answer is yes. Where it is no, it is {"yes": false, "turns": '
    '[...], "feedback": "..."}, with the numbers of the turns in which something is wrong, at '
    "least one, and one short sentence that says what.",
    "pair": "Answer every question. Use the names in front of the questions as keys. The value is "
    '{"better": "first"}, {"better": "second"} or, where the two are about the same, {"better": '
    '"same"}.',
}
_AGAIN = (
    "This does not count: {reason}. Fill in the whole form again, as one JSON object and nothing "
    "else."
)
LONGEST_REASON = 500


class Rated(NamedTuple):
    """What came of asking a model.

    answered: forms filled in. unanswered: forms given up.
    asked_again: forms of both kinds that were not filled in at the first attempt.
    """

    answered: int
    asked_again: int
    unanswered: int


def rate(
    store: Store,
    model: LanguageModel,
    *,
    max_tokens: int = 1024,
    seed: int = 0,
    batch: int = 64,
    progress: bool = True,
) -> Rated:
    """Has a model judge all of a study that it has not judged yet, under its name.

    Every answer is kept as soon as the model hands it over; a second run goes on. A form that is
    not filled in at the second attempt either is recorded as not answered, and why.

    Args:
        store: where the answers go.
        max_tokens: longest reply, in the model's tokens.
        seed: of the model's replies.
        batch: forms handed to the model at a time, at least 1.
        progress: shows a bar.

    Raises:
        ValueError: a batch below 1, a model whose name is empty or over 80 characters, or one that
            gives more or fewer replies than it was asked for.
        ConnectionError: the model fails for a reason that lasts.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, not {batch}")
    pending = store.pending(store.rater(model.name, "model"))
    again = unanswered = 0
    with tqdm(total=len(pending), desc=model.name, unit="form", disable=not progress) as bar:
        for start in range(0, len(pending), batch):
            shown = pending[start : start + batch]
            chats = [chat(assignment, store.study.form) for assignment in shown]
            for attempt in range(2):
                requests = [Request(chat, max_tokens=max_tokens, seed=seed) for chat in chats]
                refused = _take(store, shown, requests, model)
                bar.update(len(shown) - len(refused))
                if attempt == 0:
                    again += len(refused)
                chats = [_insist(chats[n], reply, reason) for n, reply, reason in refused]
                shown = [shown[n] for n, _, _ in refused]
            for assignment, (_, _, reason) in zip(shown, refused, strict=True):
                store.give_up(assignment.id, _storable(reason))
            unanswered += len(shown)
            bar.update(len(shown))
    return Rated(len(pending) - unanswered, again, unanswered)


def chat(shown: Assignment, form: Form) -> tuple[Message, ...]:
    """What a model is asked first."""
    if form == "dialogue":
        conversations = f"The conversation:\n\n{_transcript(shown.first)}"
    else:
        conversations = (
            f"The first conversation:\n\n{_transcript(shown.first)}\n\n"
            f"The second conversation:\n\n{_transcript(shown.second)}"
        )
    questions = "\n".join(
        f"{aspect.name}: {aspect.question if form == 'dialogue' else aspect.comparison}"
        for aspect in aspects_of(form)
    )
    parts = (INTRODUCTION, conversations, f"The questions:\n\n{questions}", _HOW[form])
    return Message("system", _ROLE), Message("user", "\n\n".join(parts))


def read_reply(text: str, form: Form, turns: int) -> Answers:
    """The form in a reply: a JSON object, alone or in a fenced block of code.

    Args:
        turns: how many the dialogue has; not looked at for a pair.

    Raises:
        NotFilled: anything else, or a form that is not filled in as it should be.
    """
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text.removesuffix("```").partition("\n")[2]
    try:
        values = json.loads(text, object_pairs_hook=_object)
        # half a character in an escape is valid JSON, and cannot be stored
        json.dumps(values, ensure_ascii=False).encode()
    except NotFilled:
        raise
    except json.JSONDecodeError as error:
        raise NotFilled(f"the reply is not one JSON object ({error})") from error
    except (ValueError, RecursionError) as error:  # half characters, endless numbers, depth
        raise NotFilled("the reply is not the JSON of a form") from error
    answers = from_json(values, form)
    check(answers, form, turns)
    return answers


_Refused = tuple[int, Reply | Failure, str]
"""Which of the batch, what came back, and what is wrong with it."""


def _take(
    store: Store, shown: Sequence[Assignment], requests: Sequence[Request], model: LanguageModel
) -> list[_Refused]:
    """Asks the model, keeps the forms that are filled in, and tells of the others."""
    refused: list[_Refused] = []
    came = 0
    for n, reply in stream(model, requests, batch_size=max(len(requests), 1)):
        came += 1
        if n >= len(shown):
            continue
        try:
            answers = _answers(reply, store.study.form, len(shown[n].first) // 2)
        except NotFilled as error:
            refused.append((n, reply, str(error)))
        else:
            store.answer(shown[n].id, answers)
    if came != len(shown):
        raise ValueError(f"{model.name} gave {came} replies to {len(shown)} requests")
    # only now: what else came with a failure is kept
    for _, reply, reason in refused:
        if isinstance(reply, Failure) and reply.lasting:
            raise ConnectionError(
                f"{model.name} cannot be asked: {reason}; what it has answered is kept, and the "
                "same command goes on from there"
            )
    return sorted(refused, key=lambda one: one[0])


def _answers(reply: Reply | Failure, form: Form, turns: int) -> Answers:
    if isinstance(reply, Failure):
        raise NotFilled(reply.reason)
    if reply.finish == "length":
        raise NotFilled("the reply is too long and was cut off")
    return read_reply(reply.text, form, turns)


def _insist(chat: tuple[Message, ...], reply: Reply | Failure, reason: str) -> tuple[Message, ...]:
    # what failed, or said nothing, leaves no message to object to
    said = reply.text.strip() if isinstance(reply, Reply) else ""
    if not said:
        return chat
    return (*chat, Message("assistant", said), Message("user", _AGAIN.format(reason=reason)))


def _storable(reason: str) -> str:
    return reason[:LONGEST_REASON].encode(errors="replace").decode()


def _transcript(lines: Lines) -> str:
    """The words, the recommender's and the user's of each turn below its number."""
    parts = []
    for n, (who, said) in enumerate(lines):
        if n % 2 == 0:
            parts.append(f"Turn {n // 2 + 1}")
        parts.append(f"{who}: {said}")
    return "\n".join(parts)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotFilled("an aspect, or a part of an answer, is there twice")
    return found
