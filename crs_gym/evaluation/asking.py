"""How soon users must lose patience for questions to be worth their turns.

What the calibration of a world leaves open: patient users tell as much by rejecting as by
answering, and whether asking pays then differs from world to world. Here it is measured with
reference policies on training users, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crs_gym.evaluation.benchmark import make_env
from crs_gym.evaluation.statistics import Interval, Scores, paired_difference
from crs_gym.policies import NEVER_ASK, make_policy
from crs_gym.simulation import evaluation_keys, evaluation_seeds, play
from crs_gym.world import World

IMPATIENCE = (0.0, 0.1, 0.2, 0.3, 0.5, 0.8)
"""Values of `leave_dissatisfaction` that are tried, in this order."""
# policies are tuned on list 0
_LIST = 1


@dataclass(frozen=True)
class Asking:
    """What asking is worth at one degree of impatience.

    impatience: `leave_dissatisfaction` of the user model, at least 0.
    never, asks: the best policy that never asks, and ask-n as it was tuned.
    never_return, asks_return: their mean returns.
    gain: the second less the first, with its interval.
    """

    impatience: float
    never: str
    asks: str
    never_return: float
    asks_return: float
    gain: Interval


def worth_of_asking(world: str | World, impatience: float, episodes: int = 1024) -> Asking:
    """Plays ask-n and all policies that never ask on the same training users.

    Args:
        world: bundled name, world file, or a world.
        episodes: conversations of each policy, others than those that policies are tuned on.
    """
    kwargs = {"world": world, "user_model": {"leave_dissatisfaction": impatience}}
    core = make_env("crs/IcerMacro-v0", kwargs, "train").core
    keys, seeds = evaluation_keys(_LIST, episodes), evaluation_seeds(_LIST, episodes)

    def played(name: str) -> tuple[str, Scores]:
        policy = make_policy(name, core.simulator, core.inference)
        found = play(core.simulator, policy, core.inference, keys)
        return policy.name, Scores(found.reward, found.user_id, seeds)

    never, without = max(map(played, NEVER_ASK), key=lambda pair: pair[1].mean)
    asks, with_questions = played("ask-n")
    gain = paired_difference(with_questions, without)
    return Asking(impatience, never, asks, without.mean, with_questions.mean, gain)


def least_impatience(
    world: str | World, margin: float = 0.1, episodes: int = 1024
) -> Iterator[Asking]:
    """`worth_of_asking` for each of `IMPATIENCE`, until the gain is at least `margin`.

    The last one given is the answer, if its gain is that large; else there is none.

    Args:
        margin: in units of return.
    """
    for impatience in IMPATIENCE:
        found = worth_of_asking(world, impatience, episodes)
        yield found
        if found.gain.mean >= margin:
            return
