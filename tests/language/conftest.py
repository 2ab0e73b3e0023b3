"""The tiny language model, and requests to put to it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from crs_gym.language import Message, Request
from tests.language.tiny import build


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model with random weights; skips without torch and transformers."""
    for module in ("torch", "transformers", "tokenizers"):
        pytest.importorskip(module)
    return build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def asking() -> Callable[..., Request]:
    """(words, further fields) to a request."""

    def request(words: str = "Do you prefer Alien?", **fields: object) -> Request:
        return Request((Message("user", words),), **fields)  # type: ignore[arg-type]

    return request
