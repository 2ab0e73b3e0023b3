"""Acts to words, and words to acts."""

from crs_gym.dialogue.grammar import (
    STRUCTURE_TOKENS,
    RecommenderTurn,
    UserTurn,
    format_turn,
    parse_response,
    parse_turn,
    turn_of_names,
)
from crs_gym.dialogue.templates import (
    CONFUSED,
    VARIANTS,
    conversation,
    greet,
    say,
    say_response,
)
from crs_gym.dialogue.text import NotUnderstood
from crs_gym.dialogue.understanding import understand, understand_response

__all__ = [
    "CONFUSED",
    "STRUCTURE_TOKENS",
    "VARIANTS",
    "NotUnderstood",
    "RecommenderTurn",
    "UserTurn",
    "conversation",
    "format_turn",
    "greet",
    "parse_response",
    "parse_turn",
    "say",
    "say_response",
    "turn_of_names",
    "understand",
    "understand_response",
]
