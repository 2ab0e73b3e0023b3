"""`crs-gym serve`."""

from __future__ import annotations

from dataclasses import dataclass

from crs_gym.commands.arguments import json_object
from crs_gym.world import DEFAULT_WORLD


@dataclass(frozen=True)
class Serve:
    """Serves crs/Dialogue-v0 as an OpenEnv environment: a session for each client."""

    world: str = DEFAULT_WORLD
    """Bundled name or world file."""
    user: str = "icer"
    """Who answers: icer, icer-words:MODEL, lm:MODEL or person."""
    sessions: int = 64
    """Conversations at once; further clients are refused."""
    host: str = "127.0.0.1"
    """Address to listen on; the default is reached from this machine alone."""
    port: int = 8000
    """To listen on; 0 takes a free one."""
    env_kwargs: str = "{}"
    """Further arguments of the environment, as JSON."""

    def run(self) -> None:
        from crs_gym.extras import needs

        needs("openenv", "openenv")
        from crs_gym.envs.openenv.server.serving import make_app, serve

        arguments = json_object(self.env_kwargs, "--env-kwargs")
        if taken := sorted({"world", "user", "sessions"} & set(arguments)):
            raise ValueError(f"--env-kwargs: {taken[0]} has an option of its own, --{taken[0]}")
        try:
            app = make_app(self.world, self.user, self.sessions, **arguments)
        except TypeError as error:
            raise ValueError(f"--env-kwargs: {error}") from error
        serve(app, self.host, self.port)
