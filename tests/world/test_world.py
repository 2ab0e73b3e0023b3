"""A world is checked, hashed, and kept in a file that tells when it is broken."""

import json
import pickle
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from crs_gym.world import Attribute, DataError, World

FIELDS: dict[str, Any] = {
    "item_embeddings": np.array([[1.0, 0.25], [-1.0, 0.5], [0.1, -0.75]]),
    "titles": ("Ärger", "B", "C"),
    "years": np.array([1990, 0, 2001]),
    "genres": (("Drama",), (), ("Comedy", "Crime")),
    "popularity": np.array([10, 0, 5]),
    "cavs": np.array([[0.5, 1.0]]),
    "attributes": (Attribute("funny", "funnier", "less funny"),),
    "user_mean": np.array([[0.1, 0.2], [0.3, 0.4]]),
    "user_std": np.array([[0.0, 1.0], [0.0, 2.0]]),
    "evaluation": np.array([False, True]),
    "user_model": {"temperature": 0.2},
    "name": "tiny",
    "source": "by hand",
    "licence": "none",
    "report": {"fit": {"rmse": 0.9}, "list": [1, 2]},
}
CHANGES: dict[str, Any] = {
    "item_embeddings": FIELDS["item_embeddings"] + 0.5,
    "titles": ("A", "B", "D"),
    "years": np.array([1990, 0, 2002]),
    "genres": (("Drama",), (), ("Comedy",)),
    "popularity": np.array([10, 0, 6]),
    "cavs": np.array([[0.5, 1.5]]),
    "attributes": (Attribute("funny", "more funny", "less funny"),),
    "user_mean": np.array([[0.1, 0.2], [0.3, 0.5]]),
    "user_std": np.array([[0.0, 1.0], [0.0, 2.5]]),
    "evaluation": np.array([True, False]),
    "user_model": {"temperature": 0.3},
    "name": "small",
    "source": "by foot",
    "licence": "all",
    "report": {},
}
ARRAYS = [name for name, value in FIELDS.items() if isinstance(value, np.ndarray)]


def tiny(**changes):
    return World(**(FIELDS | changes))


def assert_same(one, other):
    for name in FIELDS:
        np.testing.assert_equal(getattr(other, name), getattr(one, name), err_msg=name)
        if name in ARRAYS:
            assert getattr(one, name).dtype == getattr(other, name).dtype
    assert one.hash == other.hash


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "tiny.world"
    tiny().save(path)
    return path


# The value


def test_sizes_and_labels():
    world = tiny()
    assert (world.n_items, world.n_users, world.n_attributes, world.dim) == (3, 2, 1, 2)
    assert [world.label(i) for i in range(3)] == ["Ärger (1990)", "B", "C (2001)"]
    np.testing.assert_allclose(world.attribute_scores, [[0.75], [0.0], [-0.7]], atol=1e-6)


def test_arrays_are_copies_that_cannot_be_written():
    given = FIELDS["user_mean"].astype(np.float32)
    world = tiny(user_mean=given)
    given[:] = 9
    assert world.user_mean.max() < 1
    for name in ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(world, name)[0] = 0
    with pytest.raises(TypeError):
        world.user_model["temperature"] = 1.0
    with pytest.raises(TypeError):
        world.report["fit"] = 1.0


def test_the_hash_is_of_the_content():
    assert tiny().hash == tiny().hash
    assert len(tiny().hash) == 16
    # the same numbers in another type
    assert tiny(popularity=np.array([10.0, 0.0, 5.0])).hash == tiny().hash
    assert set(CHANGES) == set(FIELDS)
    hashes = {tiny(**{name: value}).hash for name, value in CHANGES.items()}
    assert len(hashes) == len(FIELDS)
    assert tiny().hash not in hashes


def test_replace():
    assert tiny().replace(name="small").hash == tiny(name="small").hash
    with pytest.raises(DataError):
        tiny().replace(titles=("A",))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["item_embeddings", "popularity", "cavs", "user_mean", "user_std"])
def test_what_is_not_a_number_is_refused(name, bad):
    array = np.array(FIELDS[name], np.float64)
    array[-1] = bad
    message = f"{name} holds NaN or infinite values, first in row {len(array) - 1}"
    with pytest.raises(DataError, match=message):
        tiny(**{name: array})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"titles": ("A", "B")}, "2 titles for 3 items"),
        ({"genres": ()}, "0 genres for 3 items"),
        ({"years": np.zeros(2)}, r"years has shape \(2,\), expected \(3,\)"),
        ({"cavs": np.zeros((1, 3))}, r"cavs has shape \(1, 3\), expected \(1, 2\)"),
        ({"cavs": np.zeros((2, 2))}, r"cavs has shape \(2, 2\), expected \(1, 2\)"),
        ({"user_std": np.ones((2, 3))}, r"user_std has shape \(2, 3\)"),
        ({"user_std": np.full((2, 2), -0.1)}, "user_std holds negative"),
        ({"user_mean": np.zeros(2)}, r"user_mean must have two axes, not shape \(2,\)"),
        ({"evaluation": np.array([True, True])}, "both training and evaluation users"),
        ({"evaluation": np.array([False, False])}, "both training and evaluation users"),
        ({"user_mean": np.zeros((0, 2))}, "U=0"),
        ({"item_embeddings": np.zeros((0, 2))}, "N=0"),
    ],
)
def test_parts_that_do_not_agree(changes, message):
    with pytest.raises(DataError, match=message):
        tiny(**changes)


# The file


def test_round_trip(saved):
    assert_same(tiny(), World.load(saved))
    assert [p.name for p in saved.parent.iterdir()] == ["tiny.world"]


def test_round_trip_of_a_calibrated_world(small_world, tmp_path):
    small_world.save(tmp_path / "small.world")
    assert_same(small_world, World.load(tmp_path / "small.world"))


def test_half_precision_only_where_it_is_exact(tmp_path):
    exact = np.array([[1.0, 0.25], [-1.0, 0.5], [0.125, -0.75]])
    for embeddings, size in ((exact, 2), (exact + 1e-6, 4)):
        path = tmp_path / f"{size}.world"
        tiny(item_embeddings=embeddings).save(path)
        tensors = safetensors.numpy.load_file(path)
        assert tensors["item_embeddings"].dtype.itemsize == size
        assert World.load(path).hash == tiny(item_embeddings=embeddings).hash


def test_saving_replaces_the_whole_file(saved):
    tiny(name="other").save(saved)
    assert World.load(saved).name == "other"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing to write my\.world to"):
        tiny().save(tmp_path / "missing" / "my.world")


def test_a_failed_write_leaves_what_was_there(saved, monkeypatch):
    def fail(source, target):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        tiny(name="other").save(saved)
    assert World.load(saved).name == "tiny"
    assert [p.name for p in saved.parent.iterdir()] == ["tiny.world"]


def test_no_such_file_or_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no world file at .*nowhere\.world"):
        World.load(tmp_path / "nowhere.world")
    with pytest.raises(FileNotFoundError):
        tiny().save(tmp_path / "nowhere" / "tiny.world")


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 200, -1])
def test_truncated(saved, length):
    data = saved.read_bytes()
    saved.write_bytes(data[:length])
    with pytest.raises(DataError, match=r"tiny\.world.*truncated.*crs-gym world build"):
        World.load(saved)


def test_every_flipped_byte_is_noticed(saved):
    """A `DataError` that names file and cure, or the same content (an escape in capitals, say)."""
    data, expected, silent = saved.read_bytes(), tiny().hash, 0
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= (0x01, 0x20, 0x80)[position % 3]
        saved.write_bytes(altered)
        message = ""
        try:
            assert World.load(saved).hash == expected
        except DataError as error:
            message = str(error)
        silent += not message
        assert not message or ("tiny.world" in message and "build" in message)
    assert silent < 5


def test_another_safetensors_file(tmp_path):
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"model\.safetensors.*not a crs-gym world.*world build"):
        World.load(path)
    safetensors.numpy.save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(DataError, match="not a crs-gym world"):
        World.load(path)


def rewrite(path, change):
    with safetensors.safe_open(str(path), framework="numpy") as file:
        metadata = json.loads(file.metadata()["crs_gym_world"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    safetensors.numpy.save_file(tensors, path, metadata={"crs_gym_world": json.dumps(metadata)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, t: m.update(format=3), "has world format 3, this version reads 2.*upgrade"),
        (lambda m, t: m.pop("format"), "has world format None"),
        (lambda m, t: m.pop("titles"), "lacks a part of a world: 'titles'; build it again"),
        (lambda m, t: t.pop("cavs"), "lacks a part of a world: 'cavs'; build it again"),
        (lambda m, t: m.update(name="x"), "was altered after it was written.*build it again"),
        (lambda m, t: t.update(cavs=t["cavs"] + 1), "was altered after it was written"),
        (lambda m, t: m.update(user_model={"null_z": 9.0}), "was altered after it was written"),
    ],
)
def test_wrong_content(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(DataError, match=rf"tiny\.world {message}"):
        World.load(saved)


def test_values_that_are_refused_name_the_file(saved):
    def spoil(metadata, tensors):
        tensors["popularity"] = np.array([np.nan, 0, 0], np.float32)

    rewrite(saved, spoil)
    message = r"tiny\.world is not a valid world: popularity holds NaN.*build it again"
    with pytest.raises(DataError, match=message):
        World.load(saved)


def test_a_pickle_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was run",))

    path = tmp_path / "world.pkl"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match=r"world\.pkl is not a whole safetensors file"):
        World.load(path)
