"""What may import what."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path

import pytest

import crs_gym

PACKAGE = Path(crs_gym.__file__).parent
CORE = {re.split("[<>=]", need)[0] for need in requires("crs-gym") or () if "extra" not in need}


def imported(path: Path) -> Iterator[str]:
    """Top-level names of all that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            yield str(node.module).split(".")[0]


@pytest.mark.parametrize(
    "folder", ["dialogue", "inference", "policies", "simulation", "users", "world"]
)
def test_what_is_pure_needs_no_extra(folder):
    paths = sorted((PACKAGE / folder).rglob("*.py"))
    assert paths
    for path in paths:
        others = set(imported(path)) - CORE - sys.stdlib_module_names - {PACKAGE.name}
        assert not others, f"{path.name} imports {others}"
