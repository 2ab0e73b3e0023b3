"""Reference policies, and how to get one by name."""

from crs_gym.policies.icer import Icer
from crs_gym.policies.reference import (
    AskThenRecommend,
    BeliefGreedy,
    FixedSlates,
    Greedy,
    OneAct,
    OneSlate,
    Oracle,
    Popularity,
    Random,
)
from crs_gym.policies.registry import NEVER_ASK, POLICIES, make_policy
from crs_gym.policies.tuning import best_fixed_slates, choose_questions, choose_threshold

__all__ = [
    "NEVER_ASK",
    "POLICIES",
    "AskThenRecommend",
    "BeliefGreedy",
    "FixedSlates",
    "Greedy",
    "Icer",
    "OneAct",
    "OneSlate",
    "Oracle",
    "Popularity",
    "Random",
    "best_fixed_slates",
    "choose_questions",
    "choose_threshold",
    "make_policy",
]
