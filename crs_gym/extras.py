"""What is not part of the core."""

from __future__ import annotations

from importlib.util import find_spec


def needs(module: str, extra: str) -> None:
    """Raises an ImportError that names the extra to install, where `module` is missing."""
    if find_spec(module) is None:
        raise ImportError(f"this needs {module}: pip install 'crs-gym[{extra}]'", name=module)
