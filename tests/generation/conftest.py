import dataclasses
import shutil

import pytest

from crs_gym.generation.settings import Settings
from crs_gym.world import World

NO_PYARROW = "pyarrow is not installed (the extra `data`)"


@pytest.fixture(scope="session")
def settings(small_world: World) -> Settings:
    """Three shards, the last of them short, of short searches."""
    return Settings(
        small_world.hash,
        dialogues=20,
        shard=8,
        lanes=4,
        effort=8,
        draws=32,
        queries="either",
        user_model={"critique_rate": 0.6, "leave_question": 0.02},
    )


@pytest.fixture(scope="session")
def data(small_world: World, settings: Settings, tmp_path_factory):
    """A data set that nobody disturbed."""
    pytest.importorskip("pyarrow", reason=NO_PYARROW)
    from crs_gym.generation.run import generate

    folder = tmp_path_factory.mktemp("data") / "set"
    return generate(small_world, folder, settings, workers=1, progress=False)


@pytest.fixture
def copied(data, tmp_path):
    """(changes of a dialogue) to a data set whose dialogue 0 has them."""
    from crs_gym.generation.dataset import DataSet
    from crs_gym.generation.schema import decode, encode

    def copy(**changes):
        folder = tmp_path / "copy"
        if not folder.exists():
            shutil.copytree(data.folder, folder)
        other = DataSet.open(folder)
        rows = list(decode(data.path(0)))
        rows[0] = dataclasses.replace(rows[0], **changes)
        other.path(0).write_bytes(encode(rows))
        return DataSet.open(folder)

    return copy
