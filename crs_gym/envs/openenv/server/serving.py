"""The application that serves the environment, and how many sessions share one user."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from gymnasium.error import ResetNeeded
from openenv.core.env_server.http_server import create_app

from crs_gym.dialogue import NotUnderstood, UserTurn
from crs_gym.envs.openenv.models import RecommenderAction, UserObservation
from crs_gym.envs.openenv.server.environment import RecommenderEnvironment
from crs_gym.envs.text import Opponent, Person, Situation, make_opponent, split_endpoint
from crs_gym.world import DEFAULT_WORLD, World, load_world

SESSIONS = 64
"""At once, unless another number is asked for."""


class _InTurn:
    """An opponent that all sessions share, and that answers one of them at a time."""

    def __init__(self, opponent: Opponent) -> None:
        self._opponent, self._lock = opponent, threading.Lock()
        self.kind = opponent.kind

    def greet(self, persons: Sequence[Person]) -> list[str]:
        with self._lock:
            return self._opponent.greet(persons)

    def respond(self, situations: Sequence[Situation]) -> list[UserTurn | NotUnderstood]:
        with self._lock:
            return self._opponent.respond(situations)


def make_app(
    world: str | World = DEFAULT_WORLD,
    user: str | Opponent = "icer",
    sessions: int = SESSIONS,
    **arguments: Any,
) -> Any:
    """A FastAPI application; each WebSocket session has an environment of its own.

    Args:
        world, user, arguments: as `DialogueEnv` takes them. The world is loaded and the user made
            once. A model in this process answers one session at a time.
        sessions: how many there may be at once.

    Raises:
        ValueError, TypeError: as `DialogueEnv` does, and for fewer than one session.
    """
    if sessions < 1:
        raise ValueError(f"sessions must be at least 1, not {sessions}")
    opponent = make_opponent(user)
    # an endpoint takes many requests at once
    if not (isinstance(user, str) and split_endpoint(user)[1]):
        opponent = _InTurn(opponent)
    environment = partial(
        RecommenderEnvironment, world=load_world(world), user=opponent, **arguments
    )
    environment()  # what is wrong with the arguments is told now, not to the first client
    app = create_app(
        environment,
        RecommenderAction,
        UserObservation,
        env_name="crs_dialogue",
        max_concurrent_envs=sessions,
    )
    app.add_exception_handler(ResetNeeded, _refuse)
    return app


async def _refuse(request: Any, error: Exception) -> Any:
    """A step by plain HTTP, where every request has an environment of its own."""
    from fastapi.responses import JSONResponse

    return JSONResponse({"detail": f"{error}; conversations are held on /ws"}, 409)


def serve(app: Any, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serves an application until it is interrupted."""
    import uvicorn

    uvicorn.run(app, host=host, port=port)
