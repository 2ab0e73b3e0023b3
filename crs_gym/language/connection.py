"""From a name to a model that is ready to be asked."""

from __future__ import annotations

from pathlib import Path

from crs_gym.language.cache import CachedModel
from crs_gym.language.endpoint import EndpointModel
from crs_gym.language.local import LocalModel
from crs_gym.language.model import LanguageModel
from crs_gym.language.usage import CountedModel, MeteredModel, Prices, Usage

DEFAULT_CACHE = Path("runs/replies")


def connect(
    model: str,
    *,
    endpoint: str | None = None,
    name: str | None = None,
    cache: Path | None = DEFAULT_CACHE,
    batch_size: int = 16,
    device: str = "auto",
    chat_template: Path | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    concurrency: int = 8,
    requests_per_minute: float | None = None,
    timeout: float = 60.0,
    retries: int = 5,
    prices: tuple[float, float] | None = None,
) -> CountedModel:
    """A language model, cached and counted.

    Args:
        model: folder or name on the hub; with an endpoint, the name that it goes by there.
        endpoint: base URL of an OpenAI-compatible endpoint; None to generate in this process.
        name: of the model in results and cache; see `LocalModel` and `EndpointModel`.
        cache: folder of replies, shared by all models; None for no cache.
        batch_size, device, chat_template: of `LocalModel`; the template is a file.
        api_key_env, concurrency, requests_per_minute, timeout, retries: of `EndpointModel`.
        prices: of a million prompt tokens and a million completion tokens.

    Returns:
        The model; its `usage` counts what was asked through it.

    Raises:
        ImportError, OSError, ValueError: as of `LocalModel`, `EndpointModel` and `CachedModel`; a
            chat template for an endpoint, which applies its own.
    """
    usage = Usage(prices=None if prices is None else Prices(*prices))
    inner: LanguageModel
    if endpoint is None:
        template = None if chat_template is None else chat_template.read_text(encoding="utf-8")
        inner = LocalModel(
            model, name=name, device=device, batch_size=batch_size, chat_template=template
        )
    elif chat_template is not None:
        raise ValueError("an endpoint applies its model's own chat template: leave it out")
    else:
        inner = EndpointModel(
            model,
            endpoint,
            name=name,
            api_key_env=api_key_env,
            concurrency=concurrency,
            requests_per_minute=requests_per_minute,
            timeout=timeout,
            retries=retries,
            usage=usage,
        )
    counted = MeteredModel(inner, usage, batch_size)
    return counted if cache is None else CachedModel(counted, cache, usage, batch_size)
