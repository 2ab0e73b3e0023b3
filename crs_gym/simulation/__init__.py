"""The conversation as pure functions: `reset`, `step`, `rollout`."""

from crs_gym.simulation.keys import (
    belief_key,
    episode_key,
    evaluation_keys,
    evaluation_seeds,
    seed_key,
    seed_keys,
    turn_keys,
)
from crs_gym.simulation.rollout import Episodes, Policy, View, play, rollout
from crs_gym.simulation.simulator import (
    Outcome,
    Simulator,
    State,
    acceptance_reward,
    accepted_item,
    legal,
)

__all__ = [
    "Episodes",
    "Outcome",
    "Policy",
    "Simulator",
    "State",
    "View",
    "acceptance_reward",
    "accepted_item",
    "belief_key",
    "episode_key",
    "evaluation_keys",
    "evaluation_seeds",
    "legal",
    "play",
    "rollout",
    "seed_key",
    "seed_keys",
    "turn_keys",
]
