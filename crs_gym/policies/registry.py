"""Reference policies by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import cast, get_args

from crs_gym.inference import Inference
from crs_gym.policies.icer import Icer, Queries
from crs_gym.policies.reference import (
    AskThenRecommend,
    BeliefGreedy,
    Greedy,
    OneAct,
    OneSlate,
    Oracle,
    Popularity,
    Random,
)
from crs_gym.policies.tuning import best_fixed_slates, choose_questions, choose_threshold
from crs_gym.simulation import Policy, Simulator

Builder = Callable[[Simulator, Inference], Policy]

POLICIES: Mapping[str, Builder] = MappingProxyType(
    {
        "random": lambda simulator, inference: Random(),
        "popularity": lambda simulator, inference: Popularity(),
        "greedy": lambda simulator, inference: Greedy(),
        "belief-greedy": lambda simulator, inference: BeliefGreedy(),
        "ask-n": choose_questions,
        "icer": choose_threshold,
        "oracle": lambda simulator, inference: Oracle(),
        "one-act": lambda simulator, inference: OneAct(),
        "one-slate": lambda simulator, inference: OneSlate(),
        "never-ask": lambda simulator, inference: best_fixed_slates(simulator),
    }
)
"""What builds each policy from a simulator of the training users and an inference."""

NEVER_ASK = ("random", "popularity", "greedy", "belief-greedy", "never-ask", "one-slate")
"""Names of those that only recommend."""

_ASK = re.compile(r"ask-(\d+)-(item|attribute)")
_ICER = re.compile(rf"icer(?:-({'|'.join(get_args(Queries))}))?(?:-(\d+(?:\.\d+)?))?")


def make_policy(name: str, simulator: Simulator, inference: Inference) -> Policy:
    """The policy of that name.

    `ask-n` asks n questions and then recommends, with n and the kind of question chosen on
    training users; `ask-3-item` or `ask-3-attribute` fix both. `icer` asks while the best query's
    EVOI is above a threshold chosen on training users; `icer-0.2` fixes it; `icer-item` and the
    like restrict the queries (see `Icer`).

    Args:
        name: a key of `POLICIES`, or `ask-<n>-item` or `ask-<n>-attribute`, or
            `icer-<queries>-<threshold>` without one of the two.
        simulator: of the training users; what is tuned is tuned on these.

    Raises:
        ValueError: an unknown name; the message lists the names.
    """
    if name in POLICIES:
        return POLICIES[name](simulator, inference)
    if match := _ASK.fullmatch(name):
        return AskThenRecommend(int(match[1]), "item" if match[2] == "item" else "attribute")
    if match := _ICER.fullmatch(name):
        policy = Icer(queries=cast(Queries, match[1] or "both"))
        if match[2]:
            return replace(policy, threshold=float(match[2]))
        return choose_threshold(simulator, inference, policy)
    raise ValueError(
        f"unknown policy {name!r}; there are {', '.join(POLICIES)}, and ask-<n>-item, "
        f"ask-<n>-attribute, icer-<threshold> and icer-<queries>-<threshold> with a number and "
        f"queries of {', '.join(get_args(Queries))}"
    )
