"""Reference policies, and how to get one by name."""

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
from crs_gym.policies.registry import POLICIES, make_policy
from crs_gym.policies.tuning import best_fixed_slates, choose_questions

__all__ = [
    "POLICIES",
    "AskThenRecommend",
    "BeliefGreedy",
    "FixedSlates",
    "Greedy",
    "OneAct",
    "OneSlate",
    "Oracle",
    "Popularity",
    "Random",
    "best_fixed_slates",
    "choose_questions",
    "make_policy",
]
