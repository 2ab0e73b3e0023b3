"""crs-gym: reinforcement-learning environments for conversational recommenders.

Importing the package registers `crs/Icer-v0` and `crs/IcerMacro-v0` with Gymnasium.
"""

from importlib.metadata import version

import gymnasium

__version__ = version("crs-gym")

for _id, _name in (("crs/Icer-v0", "Icer"), ("crs/IcerMacro-v0", "IcerMacro")):
    if _id not in gymnasium.registry:
        gymnasium.register(
            _id,
            entry_point=f"crs_gym.envs.icer:{_name}Env",
            vector_entry_point=f"crs_gym.envs.vector:{_name}VectorEnv",
        )

__all__ = ["__version__"]
