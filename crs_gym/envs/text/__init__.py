"""Conversations in words: what is heard, who answers, and many of them stepped together."""

from crs_gym.envs.text.conversations import Conversations, Exchange
from crs_gym.envs.text.hearing import Heard, hear, trim
from crs_gym.envs.text.opponents import (
    IcerUser,
    KeyboardUser,
    Opponent,
    Person,
    Situation,
    make_opponent,
    split_endpoint,
)

__all__ = [
    "Conversations",
    "Exchange",
    "Heard",
    "IcerUser",
    "KeyboardUser",
    "Opponent",
    "Person",
    "Situation",
    "hear",
    "make_opponent",
    "split_endpoint",
    "trim",
]
