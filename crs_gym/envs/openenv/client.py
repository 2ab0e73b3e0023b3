"""A client of the served environment."""

from __future__ import annotations

from typing import Any

from openenv.core import EnvClient
from openenv.core.client_types import StepResult
from openenv.core.env_server.types import State

from crs_gym.envs.openenv.models import RecommenderAction, UserObservation


class RecommenderClient(EnvClient[RecommenderAction, UserObservation, State]):
    """A conversation of one's own on a server.

        with RecommenderClient("http://127.0.0.1:8000").sync() as env:
            print(env.reset(seed=1).observation.words)
            step = env.step(RecommenderAction(kind="recommend", titles=["Heat (1995)"]))
            print(step.observation.words, step.reward, step.done)

    Raises:
        RuntimeError: the server answers with an error; the message is its own.
    """

    def _step_payload(self, action: RecommenderAction) -> dict[str, Any]:
        payload: dict[str, Any] = action.model_dump()
        return payload

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[UserObservation]:
        outcome = {"done": payload["done"], "reward": payload["reward"]}
        observation = UserObservation(**payload["observation"], **outcome)
        return StepResult(observation, metadata=observation.metadata, **outcome)

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(**payload)
