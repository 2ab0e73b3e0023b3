"""From which test files an import of an optional package can be reached.

The others do the same whether the extras are installed or not. What is only named in a string, as
the entry points of environments are, is not followed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("crs_gym", "agents", "experiments", "tests")
_NAMES = {"scikit-learn": "sklearn"}
_needs = (re.split("[<>=]", need)[0] for need in requires("crs-gym") or () if "extra" not in need)
CORE = {_NAMES.get(need, need) for need in _needs} | {"pytest", "hypothesis"}


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all that a module imports, wherever in it; of `from a import b`, both."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def optional(path: Path) -> set[str]:
    """Top-level names of the optional packages that a module imports."""
    names = {name.split(".")[0] for name in imported(path)}
    return names - CORE - set(OURS) - sys.stdlib_module_names


@cache
def needed(path: Path) -> frozenset[Path]:
    """The files of our own that a file imports: modules, the packages that they lie in, and for a
    test the conftest.py beside and above.
    """
    found = set()
    for name in imported(path):
        parts = name.split(".")
        for n in range(1, len(parts) + 1 if parts[0] in OURS else 0):
            place = ROOT.joinpath(*parts[:n])
            found |= {place.with_suffix(".py"), place / "__init__.py"}
    if path.is_relative_to(ROOT / "tests"):
        found |= {folder / "conftest.py" for folder in path.parents}
    return frozenset(file for file in found if file.is_file())


def reaches_an_extra(path: Path) -> bool:
    """Whether anything that a file imports, or that those files import in turn, is optional."""
    seen, ahead = set(), [path]
    while ahead:
        file = ahead.pop()
        if file not in seen:
            if optional(file):
                return True
            seen.add(file)
            ahead += needed(file)
    return False
