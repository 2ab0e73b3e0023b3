import pytest


@pytest.fixture(scope="session")
def world_file(tmp_path_factory, plane_world):
    path = tmp_path_factory.mktemp("world") / "plane.world"
    plane_world.save(path)
    return str(path)
