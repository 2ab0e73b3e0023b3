"""Language models behind one interface."""

from crs_gym.language.model import Failure, LanguageModel, Message, Reply, Request

__all__ = ["Failure", "LanguageModel", "Message", "Reply", "Request"]
