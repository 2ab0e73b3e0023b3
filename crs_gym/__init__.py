"""crs-gym: reinforcement-learning environments for conversational recommenders.

Importing the package registers `crs/Icer-v0`, `crs/IcerMacro-v0` and `crs/Dialogue-v0` with
Gymnasium.
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

if "crs/Dialogue-v0" not in gymnasium.registry:
    gymnasium.register("crs/Dialogue-v0", entry_point="crs_gym.envs.dialogue:DialogueEnv")

__all__ = ["__version__"]
