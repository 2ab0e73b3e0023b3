"""One session: a `crs/Dialogue-v0` behind OpenEnv's interface."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import EnvironmentMetadata, State

from crs_gym import __version__
from crs_gym.dialogue.grammar import MAX_TURN
from crs_gym.envs.dialogue import DialogueEnv
from crs_gym.envs.openenv.models import RecommenderAction, UserObservation


class RecommenderEnvironment(Environment[RecommenderAction, UserObservation, State]):
    """A recommender's conversations with users, one after the other.

    Args:
        arguments: as `DialogueEnv` takes them.

    Raises:
        ValueError, TypeError: as `DialogueEnv` does.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self._env = DialogueEnv(**{"max_length": MAX_TURN, **arguments})
        self._state = State(episode_id=None, step_count=0)

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **_: Any
    ) -> UserObservation:
        """The user's first words. The same seed is the same user as in `crs/Dialogue-v0`; without
        one, the next episode of the seed before.
        """
        words, info = self._env.reset(seed=seed)
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        return UserObservation(words=words, metadata=info)

    def step(
        self, action: RecommenderAction, timeout_s: float | None = None, **_: Any
    ) -> UserObservation:
        """One turn.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset, or after the conversation's end.
        """
        words, reward, terminated, truncated, info = self._env.step(action.as_text())
        self._state.step_count += 1
        return UserObservation(
            words=words,
            turn=info["turn"],
            understood=info["understood"],
            reason=info["cut"] or info["reason"],
            reward=float(reward),
            done=terminated or truncated,
            metadata=info,
        )

    @property
    def state(self) -> State:
        """Episode and turns so far; nothing of what the user likes."""
        return self._state

    def get_metadata(self) -> EnvironmentMetadata:
        return EnvironmentMetadata(
            name="crs_dialogue",
            description="Recommend films in conversation to a user with a hidden taste.",
            version=__version__,
        )
