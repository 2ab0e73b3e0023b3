"""A language model in this process: any Hugging Face causal model with a chat template."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crs_gym.language.cache import key
from crs_gym.language.model import Failure, Reply, Request, in_order, until_stop
from crs_gym.language.weights import content_name, find_device, find_source, load


class LocalModel:
    """Generates in batches, padded on the left, from weights in safetensors.

    The prompt is the tokenizer's chat template; the model's own generation settings hold (end of
    text, repetition penalty), but for temperature, top-p, top-k and beams, which are the request's
    alone. A token is drawn as argmax(logits + temperature * Gumbel noise), which has probability
    softmax(logits / temperature). Each request has a noise of its own, from a generator seeded by
    all that it says, its seed included; so its reply does not depend on the other requests of its
    batch, up to the last bits of the logits, which vary with the batch's shape: only a near tie
    can fall otherwise. Another device has another noise.

    A request that the template refuses or makes nothing of, or that does not fit the model's
    context, is a Failure; near the context's end the reply is cut off. Where memory runs out, a
    batch is halved.

    Args:
        model: folder that `save_pretrained` wrote, or the name of a model of the hub.
        name: of the model in results and cache; by default the folder's or hub's name and 12 hex
            digits of the hash of its content.
        device: auto (CUDA where there is one), cpu, cuda, cuda:1, ...
        batch_size: requests generated at once, at least 1.
        chat_template: Jinja, in place of the tokenizer's.

    Raises:
        ImportError: torch or transformers is not installed.
        OSError: no such model, or a folder that holds none.
        ValueError: no chat template, no such device, or a batch of none.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        name: str | None = None,
        device: str = "auto",
        batch_size: int = 16,
        chat_template: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"the batch size must be at least 1, not {batch_size}")
        self.batch_size = batch_size
        self._device = find_device(device)
        source = find_source(model)
        self._tokenizer, self._model = load(source)
        self._model.to(self._device).eval()
        if chat_template is not None:
            self._tokenizer.chat_template = chat_template
        if not self._tokenizer.chat_template:
            raise ValueError(
                f"the tokenizer of {model} has no chat template: write one (Jinja) to "
                "chat_template.jinja in the model's folder, or hand one over (--chat-template FILE)"
            )
        self.name = name or content_name(source, self._model.config, self._tokenizer.chat_template)
        self._config = _greedy(self._model.generation_config, self._tokenizer)
        ends = self._config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [] if ends is None else [ends])
        text_config = self._model.config.get_text_config()
        self._context: int | None = getattr(text_config, "max_position_embeddings", None)

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalModel:
        """Itself: nothing of it changes, and weights are large."""
        return self

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return in_order(self.stream(requests))

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply | Failure]]:
        """Each batch as it is done, the longest prompts first."""
        rows = []
        for at, request in enumerate(requests):
            row = self._row(at, request)
            if isinstance(row, Failure):
                yield at, row
            else:
                rows.append(row)
        rows.sort(key=lambda row: -len(row.prompt))
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size]
            for row, reply in zip(batch, self._batch(batch), strict=True):
                yield row.at, reply

    def _row(self, at: int, request: Request) -> _Row | Failure:
        from jinja2 import TemplateError

        messages = request.as_json()["messages"]
        try:
            prompt = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
        except (TemplateError, TypeError, UnicodeError, ValueError) as error:
            return Failure(f"the chat template or tokenizer refused the messages: {error}")
        if not prompt:
            return Failure("the chat template makes an empty prompt of the messages")
        room = request.max_tokens if self._context is None else self._context - len(prompt)
        if room < 1:
            return Failure(
                f"the prompt has {len(prompt)} tokens and the model reads {self._context}: shorten"
                " it or take a model with a longer context"
            )
        return _Row(at, request, prompt, min(room, request.max_tokens))

    def _batch(self, rows: Sequence[_Row]) -> list[Reply | Failure]:
        import torch

        try:
            return list(self._generate(rows))
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                return [Failure(f"out of memory on {self._device}: {error}")]
        half = len(rows) // 2
        return self._batch(rows[:half]) + self._batch(rows[half:])

    def _generate(self, rows: Sequence[_Row]) -> Iterator[Reply]:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        width = max(len(row.prompt) for row in rows)
        tokens = torch.full((len(rows), width), self._config.pad_token_id)
        mask = torch.zeros_like(tokens)
        for i, row in enumerate(rows):
            tokens[i, width - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[i, width - len(row.prompt) :] = 1
        config = copy.deepcopy(self._config)
        config.max_new_tokens = max(row.limit for row in rows)
        limits = _Limits(rows, width, self._text)
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=tokens.to(self._device),
                attention_mask=mask.to(self._device),
                generation_config=config,
                logits_processor=LogitsProcessorList([_Noise(rows, self._device)]),
                stopping_criteria=StoppingCriteriaList([limits]),
            )
        for row, length, all_new in zip(
            rows, limits.lengths, written[:, width:].tolist(), strict=True
        ):
            new = all_new[:length]
            end = next((i + 1 for i, token in enumerate(new) if token in self._ends), None)
            text, stopped = until_stop(self._text(new[:end]), row.request.stop)
            ended = stopped or end is not None
            counts = len(row.prompt), len(new[:end])
            yield Reply(text, "stop" if ended else "length", *counts)

    def _text(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))


@dataclass(frozen=True)
class _Row:
    """A request in tokens; `limit` is the longest reply that it may have."""

    at: int
    request: Request
    prompt: list[int]
    limit: int


class _Noise:
    """Logits processor: adds temperature * Gumbel noise, so that the argmax is a draw."""

    def __init__(self, rows: Sequence[_Row], device: Any) -> None:
        import torch

        self._noisy = []
        for i, row in enumerate(rows):
            if row.request.temperature > 0:
                seed = int(key("", row.request)[:15], 16)
                generator = torch.Generator(device).manual_seed(seed)
                self._noisy.append((i, row.request.temperature, generator))

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        import torch

        for i, temperature, generator in self._noisy:
            exponential = torch.empty_like(scores[i]).exponential_(generator=generator)
            scores[i] -= temperature * exponential.log()
        return scores


class _Limits:
    """Stopping criterion: a row ends at its own limit, or where a stop string is complete.

    lengths: tokens written until then, for each row; None where it has not come to that.
    """

    def __init__(self, rows: Sequence[_Row], width: int, text: Any) -> None:
        self._rows, self._width, self._text = rows, width, text
        self.lengths: list[int | None] = [None] * len(rows)

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        import torch

        written = input_ids.shape[1] - self._width
        for i, row in enumerate(self._rows):
            if self.lengths[i] is None and (
                written >= row.limit or self._stopped(input_ids[i], row.request.stop)
            ):
                self.lengths[i] = written
        ended = [length is not None for length in self.lengths]
        return torch.tensor(ended, device=input_ids.device)

    def _stopped(self, tokens: Any, stop: Sequence[str]) -> bool:
        return bool(stop) and until_stop(self._text(tokens[self._width :].tolist()), stop)[1]


def _greedy(settings: Any, tokenizer: Any) -> Any:
    """The model's generation settings without sampling, beams and lengths."""
    config = copy.deepcopy(settings)
    config.do_sample, config.num_beams, config.max_length = False, 1, None
    config.temperature = config.top_p = config.top_k = None
    if config.eos_token_id is None:
        config.eos_token_id = tokenizer.eos_token_id
    if config.pad_token_id is None:
        ends = config.eos_token_id
        first_end = ends[0] if isinstance(ends, list) else ends
        pads = (tokenizer.pad_token_id, first_end, 0)
        config.pad_token_id = next(pad for pad in pads if pad is not None)
    return config
