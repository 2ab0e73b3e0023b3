"""Results: one schema, checked both when made and when read; files that are never half written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crs_gym.evaluation import results
from crs_gym.evaluation.results import Result, read, read_all, write
from crs_gym.world import DataError

FIELDS: dict[str, Any] = {
    "env_id": "crs/Icer-v0",
    "env_kwargs": {"max_turns": 7},
    "world_name": "films",
    "world_hash": "0123456789abcdef",
    "user_model": {"temperature": 0.15},
    "user_kind": "rule",
    "policy": "popularity",
    "policy_kwargs": {},
    "evaluation_seed": 3,
    "episode_seeds": [3000000, 3000001, 3000002, 3000003],
    "user_ids": [5, 1, 5, 9],
    "scores": [0.5, -0.14, 0.7, -0.02],
    "turns": [2, 7, 1, 1],
    "accepted": [True, False, True, False],
    "left": [False, False, False, True],
    "utilities": [0.54, 0.0, 0.72, 0.0],
    "wall_seconds": 1.5,
    "command": ["crs-gym", "benchmark", "--policy", "a b"],
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
json_dicts = st.dictionaries(st.text(), json_values, max_size=3)


def result(**changes: Any) -> Result:
    return Result(**(FIELDS | changes))


def stored(tmp_path: Path, **changes: Any) -> Path:
    """A written result whose JSON was then changed; `...` removes a key."""
    path = write(result(), tmp_path)
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
    return path


def test_summary() -> None:
    summary = result().summary()
    assert summary._replace(utility=0, score=0) == (4, 0.5, 0.25, 11 / 4, 0, 0)
    assert summary.utility == pytest.approx(0.63)
    assert summary.score == pytest.approx(1.04 / 4)
    nobody = result(accepted=[False] * 4, utilities=[0] * 4).summary()
    assert nobody.utility is None
    assert nobody.success == 0


def test_the_path_says_what_was_measured() -> None:
    own = result()
    assert own.kwargs_hash == "ec0c104e"  # printf '{"max_turns":7}' | sha256sum
    assert own.path == Path("crs/Icer-v0/popularity/films-01234567-ec0c104e-e3x4.json")
    trained = result(training_seed=2, training_steps=1000)
    assert trained.path.name.endswith("-s2.json")


@pytest.mark.parametrize(
    "change",
    [
        {"env_id": "crs/IcerMacro-v0"},
        {"env_kwargs": {"max_turns": 8}},
        {"world_hash": "f123456789abcdef"},
        {"world_name": "books"},
        {"user_kind": "lm:small"},
        {"policy": "greedy"},
        {"policy_kwargs": {"n": 1}},
        {"evaluation_seed": 4},
        {"training_seed": 0},
        {"training_steps": 5},
        {k: FIELDS[k][:2] for k in results._COLUMNS},
    ],
)
def test_no_other_measurement_has_the_same_path(change: dict[str, Any]) -> None:
    assert result(**change).path != result().path
    assert result(**change, created="1999-01-01", commit=None).path == result(**change).path


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_no_name_leaves_the_folder(env_id: str, policy: str, world_name: str) -> None:
    path = result(env_id=env_id, policy=policy, world_name=world_name).path
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert len(path.parts) == env_id.count("/") + 3


def test_unsafe_names_stay_apart() -> None:
    names = ["a/b", "a_b", "a b", "a\\b", "..", ".", "ä", "x" * 300]
    assert len({results.safe_name(name) for name in names}) == len(names)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 5))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return data.draw(st.lists(values, min_size=n, max_size=n))

    whole, finite = st.integers(0, 2**62), st.floats(allow_nan=False, allow_infinity=False)
    accepted = column(st.booleans())
    own = result(
        env_kwargs=data.draw(json_dicts),
        policy_kwargs=data.draw(json_dicts),
        extra=data.draw(json_dicts),
        world_name=data.draw(st.text(min_size=1)),
        policy=data.draw(st.text(min_size=1)),
        user_kind=data.draw(st.just("rule") | st.just("lm:Some/Model")),
        training_seed=data.draw(st.none() | whole),
        training_steps=data.draw(st.none() | whole),
        episode_seeds=column(whole),
        user_ids=column(whole),
        scores=column(finite),
        turns=column(st.integers(0, 99)),
        accepted=accepted,
        left=[not a for a in accepted],
        utilities=column(finite),
        wall_seconds=data.draw(st.floats(0, 1e9)),
    )
    root = tmp_path_factory.mktemp("results")
    path = write(own, root)
    assert path == root / own.path
    assert read(path) == own
    assert read_all(root) == [own]


def test_arrays_are_taken_and_kept_as_python_numbers(tmp_path: Path) -> None:
    own = result(
        env_kwargs={"turn_cost": np.float32(0.5), "sizes": (1, 2)},
        scores=np.array([1, 2, 3, 4], np.float32),
        accepted=np.array(FIELDS["accepted"]),
        turns=np.array([1, 2, 3, 4], np.int32),
    )
    assert own.env_kwargs == {"turn_cost": 0.5, "sizes": [1, 2]}
    assert own.scores == (1.0, 2.0, 3.0, 4.0)
    assert {type(x) for x in own.scores} == {float}
    assert {type(x) for x in own.turns} == {int}
    assert {type(x) for x in own.accepted} == {bool}
    assert own.command == "crs-gym benchmark --policy 'a b'"
    assert read(write(own, tmp_path)) == own


def test_a_result_is_frozen() -> None:
    own = result()
    with pytest.raises(AttributeError):
        own.policy = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        own.env_kwargs["x"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [0.5, float("nan"), 0, 0]}, "scores holds NaN or infinite.*episode 1"),
        ({"utilities": [0.5, 0, 0, float("inf")]}, "utilities holds NaN or infinite.*episode 3"),
        ({"scores": [0.5]}, "different lengths.*'scores': 1"),
        ({"scores": []}, "scores must be a list of finite numbers"),
        ({"scores": ["a", "b", "c", "d"]}, "scores must be a list of finite numbers"),
        ({"scores": [[1], [1, 2], [1], [1]]}, "scores must be a list of finite numbers"),
        ({"turns": [1.5, 2, 3, 4]}, "turns must be a list of integers"),
        ({"accepted": [1, 0, 1, 0]}, "accepted must be a list of true or false"),
        ({"left": [True] * 4}, "episode 0 counts as both accepted and left"),
        ({"user_kind": "gpt"}, "'rule' or 'lm:<id>', not 'gpt'"),
        ({"env_kwargs": {"a": object()}}, "env_kwargs is not JSON.*use numbers"),
        ({"env_kwargs": {"a": float("nan")}}, "env_kwargs is not JSON"),
        ({"env_kwargs": [1]}, "env_kwargs must be a dict"),
        ({"evaluation_seed": None}, "evaluation_seed must be a whole number"),
        ({"training_seed": -1}, "training_seed must be a whole number"),
        ({"training_seed": True}, "training_seed must be a whole number"),
        ({"world_hash": "xyz"}, "world_hash must be 8 or more hex digits"),
        ({"policy": ""}, "policy must be a text"),
        ({"command": 3}, "command must be a text"),
        ({"commit": 3}, "commit must be a git hash"),
        ({"wall_seconds": "long"}, "wall_seconds must be finite"),
        ({"wall_seconds": -1}, "wall_seconds must be finite"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        result(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": ...}, "not a crs-gym result.*move it elsewhere"),
        ({"schema": 99}, "result schema 99, this version reads 1"),
        ({"scores": ...}, r"lacks \['scores'\].*evaluate the policy again"),
        ({"color": 1}, r"unknown \['color'\]"),
        ({"scores": [1, 2]}, "different lengths.*evaluate the policy again"),
        ({"env_kwargs": {"max_turns": 9}}, "was altered: its env_kwargs have hash"),
        ({"scores": [1, 2, 3, float("nan")]}, "NaN is not a number"),
        ({"training_seed": "one"}, "training_seed must be a whole number"),
    ],
)
def test_broken_files_name_cause_and_cure(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = stored(tmp_path, **changes)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "\udcff"])
def test_what_is_not_json(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"x.json is not whole JSON.*restore the file"):
        read(path)
    path.write_text("[1, 2]")
    with pytest.raises(DataError, match="not a crs-gym result"):
        read(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = write(result(), tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="not whole JSON"):
        read_all(tmp_path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no result file"):
        read(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="evaluate a policy first"):
        read_all(tmp_path / "none")
    assert read_all(tmp_path) == []


def test_a_copy_is_not_another_run(tmp_path: Path) -> None:
    path = write(result(), tmp_path)
    (path.parent / "copy.json").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"copy.json belongs at .*e3x4.json"):
        read_all(tmp_path)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(result(), tmp_path)
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="disk full"):
                write(result(scores=[1, 2, 3, 4]), tmp_path)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]
    write(result(scores=[1, 2, 3, 4]), tmp_path)
    assert read(path).scores == (1, 2, 3, 4)


def test_files_have_a_line_for_each_field(tmp_path: Path) -> None:
    lines = write(result(), tmp_path).read_text().splitlines()
    assert '  "user_ids": [5,1,5,9],' in lines
    assert lines[1:-1] == sorted(lines[1:-1])


def test_provenance() -> None:
    own = result()
    assert set(own.machine) == {"platform", "processors", "accelerator"}
    assert own.machine["processors"] >= 1
    assert own.created.endswith("+00:00")
    assert own.package_version
    head = own.commit
    assert head is None or len(head.removesuffix("-dirty")) == 40


def test_machine_imports_nothing() -> None:
    code = (
        "import sys; from crs_gym.evaluation import results; before = set(sys.modules); "
        "results.machine(); sys.exit(bool({'jax', 'torch'} & (set(sys.modules) - before)))"
    )
    root = Path(results.__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(root)}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 0
