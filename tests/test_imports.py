"""What may import what, and which tests that concerns."""

from pathlib import Path

import pytest

import crs_gym
from tests.reach import OURS, ROOT, imported, needed, optional, reaches_an_extra

PACKAGE = Path(crs_gym.__file__).parent


@pytest.mark.parametrize(
    "folder", ["dialogue", "inference", "policies", "simulation", "users", "world"]
)
def test_what_is_pure_needs_no_extra(folder):
    paths = sorted((PACKAGE / folder).rglob("*.py"))
    assert paths
    for path in paths:
        assert not optional(path), f"{path.name} imports {optional(path)}"


def test_the_package_imports_nothing_that_is_built_upon_it():
    above = set(OURS) - {PACKAGE.name}
    for path in PACKAGE.rglob("*.py"):
        others = {name.split(".")[0] for name in imported(path)} & above
        assert not others, f"{path} imports {others}"


@pytest.mark.parametrize(
    ("test", "near"),
    [
        ("tests/world/test_world.py", False),  # nothing but the core
        ("tests/envs/test_icer.py", False),
        ("tests/envs/test_pettingzoo.py", True),  # imports one itself
        ("tests/language/test_model.py", True),  # through a package's __init__.py
        ("tests/generation/test_export.py", True),  # through its conftest.py
        ("tests/test_cli.py", True),  # within a function, some modules away
    ],
)
def test_what_the_core_is_tested_with_alone(test, near):
    assert reaches_an_extra(ROOT / test) == near


def test_a_module_needs_its_packages_and_a_test_its_fixtures():
    found = needed(ROOT / "tests/envs/test_icer.py")
    assert ROOT / "crs_gym/__init__.py" in found
    assert {ROOT / "tests/conftest.py", ROOT / "tests/envs/conftest.py"} <= found
