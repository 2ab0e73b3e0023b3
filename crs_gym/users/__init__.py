"""How a user answers: pure functions, the same for the simulator and the recommender's belief."""

from crs_gym.users.model import Context, Items, Percept, User, UserModel, items_of, perceive
from crs_gym.users.response import (
    log_prob,
    log_prob_given_topic,
    log_prob_topic,
    n_uniforms,
    respond,
)

__all__ = [
    "Context",
    "Items",
    "Percept",
    "User",
    "UserModel",
    "items_of",
    "log_prob",
    "log_prob_given_topic",
    "log_prob_topic",
    "n_uniforms",
    "perceive",
    "respond",
]
