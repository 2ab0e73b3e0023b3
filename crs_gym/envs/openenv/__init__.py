"""`crs/Dialogue-v0` as an OpenEnv environment: what is sent, a client, and the server.

Needs the extra `openenv`.
"""

from crs_gym.envs.openenv.client import RecommenderClient
from crs_gym.envs.openenv.models import RecommenderAction, UserObservation

__all__ = ["RecommenderAction", "RecommenderClient", "UserObservation"]
