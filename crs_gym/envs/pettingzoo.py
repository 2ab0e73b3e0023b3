"""Recommender and user as two players, in PettingZoo's interfaces.

from crs_gym.envs import pettingzoo

env = pettingzoo.env("crs/IcerMacro-v0")          # AEC: they move in turn
env = pettingzoo.parallel_env("crs/IcerMacro-v0") # the same, actions of both at every step
"""

from __future__ import annotations

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from crs_gym.acts import RecommenderAct
from crs_gym.envs.core import open_talk, unpack
from crs_gym.envs.icer import IcerEnv
from crs_gym.envs.observations import layout
from crs_gym.envs.user import jit_hear, jit_icer_response, jit_say, responses, see
from crs_gym.simulation import seed_key

try:
    from pettingzoo import AECEnv, ParallelEnv
    from pettingzoo.utils import turn_based_aec_to_parallel, wrappers
except ImportError as error:
    raise ImportError(
        "crs_gym.envs.pettingzoo needs PettingZoo: pip install 'crs-gym[marl]'"
    ) from error

RECOMMENDER, USER = "recommender_0", "user_0"


class IcerGame(AECEnv[str, dict[str, np.ndarray], Any]):
    """A conversation as a game of two players that move in turn.

    The recommender sees and does what it does in the single-player environment. The user sees
    its own embedding and target, and of the act before it: kind, attribute asked about, utilities
    and attributes of the items on the table (`user_layout` maps block names to slices). It has
    `Discrete(2 k + 2 G + 4)` responses, see `crs_gym.envs.user.responses`. Observations are
    dictionaries: `observation`, and `action_mask` (int8) for `Discrete` actions; whoever is not to
    move has a mask of ones. `info["active_agent"]` says who is to move.

    Both players get the reward of the single-player environment plus `likelihood_weight` times the
    log-probability of the response under the ICER model, so that a user who is trained goes on to
    mean what it says. `icer_action()` is what the ICER model does: with it as the user, an episode
    is the one that the single-player environment plays with the same seed.

    Args:
        env_id: the single-player environment.
        likelihood_weight: lambda, at least 0.
        render_mode: None or `"ansi"`.
        arguments: of that environment.

    Raises:
        ValueError: another environment, or a negative weight.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": ["ansi"],
        "name": "icer_v0",
        "is_parallelizable": True,
        "render_fps": 1,
    }

    def __init__(
        self,
        env_id: str = "crs/IcerMacro-v0",
        likelihood_weight: float = 0.05,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        if likelihood_weight < 0:
            raise ValueError(f"likelihood_weight must be at least 0, not {likelihood_weight}")
        env = gymnasium.make(env_id, render_mode=render_mode, **arguments).unwrapped
        if not isinstance(env, IcerEnv):
            raise ValueError(f"{env_id} is not one of the Icer environments of crs-gym")
        super().__init__()
        self.env = env
        self.likelihood_weight = likelihood_weight
        self.render_mode = render_mode
        self.possible_agents = [RECOMMENDER, USER]
        self.agents: list[str] = []
        self._act: RecommenderAct | None = None

        simulator = env.core.simulator
        act = jax.tree.map(jnp.asarray, RecommenderAct(0, np.full(simulator.slate_size, -1), -1, 0))
        shapes: dict[str, tuple[int, ...]] = {}

        def look(key: jax.Array) -> None:
            blocks = see(env.core, open_talk(env.core, key), act)
            shapes.update({name: block.shape for name, block in blocks.items()})

        jax.eval_shape(look, seed_key(0))
        self.user_layout = layout(shapes)
        size = max(place.stop for place in self.user_layout.values())
        bound = env.observation_space.high[0]  # type: ignore[attr-defined]
        count = len(responses(simulator.slate_size, simulator.n_attributes).kind)
        self._action_spaces = {RECOMMENDER: env.action_space, USER: spaces.Discrete(count)}
        seen = {
            RECOMMENDER: env.observation_space,
            USER: spaces.Box(-bound, bound, (size,), np.float32),
        }
        self._observation_spaces = {
            name: spaces.Dict({"observation": space, **self._mask_space(name)})
            for name, space in seen.items()
        }
        self._seen: dict[str, np.ndarray] = {}
        self._masks: dict[str, np.ndarray] = {}

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self._observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        return self._action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Starts the next episode; with a seed, the first episode of that seed."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._masks = {}
        self._mask_recommender(info)
        self._move_on(RECOMMENDER, {RECOMMENDER: info})
        self._act = None
        nothing = np.zeros(max(place.stop for place in self.user_layout.values()), np.float32)
        self._seen = {RECOMMENDER: observation, USER: nothing}

    def observe(self, agent: str) -> dict[str, np.ndarray]:
        """What `agent` saw last."""
        seen = {"observation": self._seen[agent].copy()}
        if self._mask_space(agent):
            size = self._action_spaces[agent].n  # type: ignore[attr-defined]
            waits = agent != self.agent_selection
            seen["action_mask"] = np.ones(size, np.int8) if waits else self._masks[agent].copy()
        return seen

    def step(self, action: Any) -> None:
        """The move of whose turn it is.

        Raises:
            ValueError: an action outside the action space, or a response that the act before it
                does not allow.
        """
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        space = self.action_space(agent)
        if not space.contains(action):
            raise ValueError(f"action {action!r} of the {agent} is not in {space}")
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        core, talk = self.env.core, self.env.talk
        if agent == RECOMMENDER:
            self._act, seen, mask = jit_hear(core, talk, jnp.asarray(action))
            self._seen[USER], self._masks[USER] = np.array(seen), np.array(mask)
            self._move_on(USER, {})
            return
        if not self._masks[USER][action]:
            raise ValueError(f"the act before it does not allow response {action}: see action_mask")
        self.env.talk, packed, likely = jit_say(core, talk, self._act, np.int32(action))
        host = unpack(packed)
        observation, info = self.env.show(host)
        reward = float(host.reward) + self.likelihood_weight * float(likely)
        self.rewards = dict.fromkeys(self.agents, reward)
        self.terminations = dict.fromkeys(self.agents, bool(host.terminated))
        self.truncations = dict.fromkeys(self.agents, bool(host.truncated))
        self._seen[RECOMMENDER] = observation
        self._mask_recommender(info)
        said = {"log_likelihood": float(likely)}
        self._move_on(RECOMMENDER, {RECOMMENDER: info, USER: said})
        self._accumulate_rewards()

    def icer_action(self) -> int:
        """What the ICER model responds to the recommender's last act.

        Raises:
            ValueError: it is not the user's turn.
        """
        if self.agent_selection != USER or self._act is None:
            raise ValueError("the user responds to the recommender: it is not its turn")
        return int(jit_icer_response(self.env.core, self.env.talk, self._act))

    def render(self) -> str | None:
        """The conversation so far in words, for `render_mode="ansi"`."""
        return self.env.render()

    def close(self) -> None:
        self.env.close()

    def _move_on(self, agent: str, infos: dict[str, dict[str, Any]]) -> None:
        self.agent_selection = agent
        self.infos = {
            name: {**infos.get(name, {}), "active_agent": agent} for name in self.possible_agents
        }

    def _mask_recommender(self, info: dict[str, Any]) -> None:
        # PettingZoo's place for masks is the observation, and it knows none of several actions
        mask = info.pop("action_mask", None)
        if mask is not None:
            self._masks[RECOMMENDER] = mask

    def _mask_space(self, agent: str) -> dict[str, spaces.Space[Any]]:
        space = self._action_spaces[agent]
        if not isinstance(space, spaces.Discrete):
            return {}
        return {"action_mask": spaces.Box(0, 1, (int(space.n),), np.int8)}


def env(*args: Any, **arguments: Any) -> AECEnv[str, dict[str, np.ndarray], Any]:
    """`IcerGame` with PettingZoo's checks of the order of calls around it."""
    return wrappers.OrderEnforcingWrapper(IcerGame(*args, **arguments))


def parallel_env(*args: Any, **arguments: Any) -> ParallelEnv[str, dict[str, np.ndarray], Any]:
    """`IcerGame` with actions of both players at each step, of which the active one's counts."""
    return turn_based_aec_to_parallel(IcerGame(*args, **arguments))
