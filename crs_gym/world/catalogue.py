"""Worlds by name: the bundled ones, and files."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

from crs_gym.world.world import World

DEFAULT_WORLD = "films"
_SUFFIX = ".world"


def bundled_worlds() -> tuple[str, ...]:
    """Names of the worlds that come with the package."""
    folder = resources.files("crs_gym.world") / "data"
    return tuple(sorted(f.name.removesuffix(_SUFFIX) for f in folder.iterdir() if _is_world(f)))


def load_world(world: str | Path | World = DEFAULT_WORLD) -> World:
    """The world of a bundled name or of a file; a `World` is handed back as it is.

    Files are read once per content: path, size and time of change.

    Raises:
        ValueError: neither a bundled name nor an existing file; the message lists the names.
        DataError: the file is not a whole world.
    """
    if isinstance(world, World):
        return world
    if str(world) in bundled_worlds():
        entry = resources.files("crs_gym.world") / "data" / f"{world}{_SUFFIX}"
        with resources.as_file(entry) as path:
            return _read(path, path.stat().st_size, path.stat().st_mtime_ns)
    path = Path(world).expanduser()
    if not path.is_file():
        raise ValueError(
            f"unknown world {str(world)!r}: neither a file nor one of the bundled worlds "
            f"({', '.join(bundled_worlds())}); build one with `crs-gym world build`"
        )
    return _read(path.resolve(), path.stat().st_size, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: Path, size: int, changed: int) -> World:
    del size, changed
    return World.load(path)


def _is_world(entry: object) -> bool:
    return getattr(entry, "name", "").endswith(_SUFFIX)
