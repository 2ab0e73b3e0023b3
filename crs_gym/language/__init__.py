"""Language models behind one interface."""

from crs_gym.language.connection import DEFAULT_CACHE, connect
from crs_gym.language.model import (
    Failure,
    LanguageModel,
    Message,
    Reply,
    Request,
    StreamingModel,
    check_asked,
)
from crs_gym.language.usage import CountedModel, Prices, Usage

__all__ = [
    "DEFAULT_CACHE",
    "CountedModel",
    "Failure",
    "LanguageModel",
    "Message",
    "Prices",
    "Reply",
    "Request",
    "StreamingModel",
    "Usage",
    "check_asked",
    "connect",
]
