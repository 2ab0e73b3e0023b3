"""Acts to words, and words to acts."""

from crs_gym.dialogue.templates import VARIANTS, conversation, say, say_response
from crs_gym.dialogue.text import NotUnderstood
from crs_gym.dialogue.understanding import understand, understand_response

__all__ = [
    "VARIANTS",
    "NotUnderstood",
    "conversation",
    "say",
    "say_response",
    "understand",
    "understand_response",
]
