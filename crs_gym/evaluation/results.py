"""The one schema of an evaluation, and its files: `<root>/<env id>/<policy>/<run>.json`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from crs_gym.world import DataError

SCHEMA = 1
RULE = "rule"
_COLUMNS = {
    "episode_seeds": ("integers", "iu"),
    "user_ids": ("integers", "iu"),
    "scores": ("finite numbers", "fiu"),
    "turns": ("integers", "iu"),
    "accepted": ("true or false", "b"),
    "left": ("true or false", "b"),
    "utilities": ("finite numbers", "fiu"),
}
_MAPPINGS = ("env_kwargs", "user_model", "policy_kwargs", "machine", "extra")
_TEXTS = "env_id world_name world_hash user_kind policy command package_version created".split()
_COUNTS = ("evaluation_seed", "training_seed", "training_steps")
_OPTIONAL = ("training_seed", "training_steps")
_EVALUATE_AGAIN = "evaluate the policy again, or restore the file from version control"


class Summary(NamedTuple):
    """Means over the episodes of a `Result`.

    episodes: how many.
    success: share that ended with an accepted item.
    left: share that the user left.
    turns: mean number of turns.
    utility: mean utility of the accepted items, None where nothing was accepted.
    score: mean return.
    """

    episodes: int
    success: float
    left: float
    turns: float
    utility: float | None
    score: float


def package_version() -> str:
    """Version of the installed crs-gym, "unknown" where it is not installed."""
    try:
        return metadata.version("crs-gym")
    except metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str | None:
    """Git hash of the checkout that this package lies in, with "-dirty" if its code was changed.

    None for an installed package, without git, or before the first commit.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        if head.returncode:
            return None
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "crs_gym", "agents"])
    except OSError:
        return None
    return head.stdout.strip() + ("-dirty" if changed.returncode else "")


def machine() -> dict[str, Any]:
    """Where this runs: platform, number of processors, accelerator (None for a CPU).

    Looks only at a JAX or torch that is imported already.
    """
    return {
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "accelerator": _accelerator(),
    }


@dataclass(frozen=True)
class Result:
    """One policy, from one training run, on one evaluation list of E episodes.

    Arrays and NumPy numbers are taken and kept as tuples and Python numbers.

    Attributes:
        env_id: with version, `crs/Icer-v0`.
        env_kwargs: what the environment was made with, apart from the world, as JSON values.
        world_name, world_hash: the world's `name` and `hash`.
        user_model: parameters of the user model.
        user_kind: "rule", or "lm:<id>" where a language model plays the user.
        policy, policy_kwargs: the recommender and its settings.
        evaluation_seed: at least 0; which fixed list of evaluation users.
        episode_seeds: (E,) the environment seeds of that list.
        user_ids: (E,) rows of the world's population.
        scores: (E,) return of each episode.
        turns: (E,) turns played.
        accepted, left: (E,) whether an item was accepted, whether the user left; never both.
        utilities: (E,) quality of the accepted item, 0 where there is none.
        wall_seconds: of the evaluation, at least 0.
        command: what was run; a list of words is joined.
        training_seed, training_steps: at least 0; None for a policy that was not trained.
        extra: anything else, JSON values.
        package_version, commit, machine, created: found out unless given.

    Raises:
        DataError: fields of other types, NaN, lists of other lengths, an empty list.
    """

    env_id: str
    env_kwargs: Mapping[str, Any]
    world_name: str
    world_hash: str
    user_model: Mapping[str, Any]
    user_kind: str
    policy: str
    policy_kwargs: Mapping[str, Any]
    evaluation_seed: int
    episode_seeds: Sequence[int]
    user_ids: Sequence[int]
    scores: Sequence[float]
    turns: Sequence[int]
    accepted: Sequence[bool]
    left: Sequence[bool]
    utilities: Sequence[float]
    wall_seconds: float
    command: str | Sequence[str]
    training_seed: int | None = None
    training_steps: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    package_version: str = field(default_factory=package_version)
    commit: str | None = field(default_factory=commit)
    machine: Mapping[str, Any] = field(default_factory=machine)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in _MAPPINGS:
            put(self, name, _json_mapping(name, getattr(self, name)))
        for name in _COLUMNS:
            put(self, name, _column(name, getattr(self, name)))
        for name in _COUNTS:
            put(self, name, _count(name, getattr(self, name)))
        if isinstance(self.command, Sequence) and not isinstance(self.command, str):
            put(self, "command", shlex.join(map(str, self.command)))
        for name in _TEXTS:
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise DataError(f"{name} must be a text that is not empty: {getattr(self, name)!r}")
        if not (self.commit is None or isinstance(self.commit, str)):
            raise DataError(f"commit must be a git hash or null, not {self.commit!r}")
        seconds = self.wall_seconds
        if not (isinstance(seconds, Real) and 0 <= seconds < float("inf")):
            raise DataError(f"wall_seconds must be finite and at least 0, not {seconds!r}")
        put(self, "wall_seconds", float(seconds))
        if not re.fullmatch(r"[0-9a-f]{8,}", self.world_hash):
            raise DataError(f"world_hash must be 8 or more hex digits, not {self.world_hash!r}")
        if self.user_kind != RULE and not re.fullmatch(r"lm:.+", self.user_kind):
            raise DataError(f"user_kind must be 'rule' or 'lm:<id>', not {self.user_kind!r}")
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the per-episode lists have different lengths: {lengths}")
        both = [n for n, (a, b) in enumerate(zip(self.accepted, self.left, strict=True)) if a and b]
        if both:
            raise DataError(f"episode {both[0]} counts as both accepted and left")

    @property
    def kwargs_hash(self) -> str:
        """First 8 hex digits of the SHA-256 of `env_kwargs` as canonical JSON."""
        return digest(dict(self.env_kwargs))

    @property
    def variant(self) -> tuple[str, str]:
        """What runs of one policy have in common: its name and a hash of its settings and steps."""
        return self.policy, digest([dict(self.policy_kwargs), self.training_steps])

    @property
    def path(self) -> Path:
        """Where the file lies under the root; unique for what is measured, the same in a re-run."""
        parts = [
            safe_name(self.world_name),
            self.world_hash[:8],
            self.kwargs_hash,
            f"e{self.evaluation_seed}x{len(self.scores)}",
        ]
        if self.user_kind != RULE:
            parts.append(safe_name(self.user_kind))
        if self.policy_kwargs or self.training_steps is not None:
            parts.append(f"p{self.variant[1]}")
        if self.training_seed is not None:
            parts.append(f"s{self.training_seed}")
        folders = [safe_name(part) for part in self.env_id.split("/")]
        return Path(*folders, safe_name(self.policy), "-".join(parts) + ".json")

    def summary(self) -> Summary:
        """Means over the episodes."""
        accepted = [u for u, a in zip(self.utilities, self.accepted, strict=True) if a]
        n = len(self.scores)
        return Summary(
            episodes=n,
            success=len(accepted) / n,
            left=sum(self.left) / n,
            turns=sum(self.turns) / n,
            utility=float(np.mean(accepted)) if accepted else None,
            score=float(np.mean(self.scores)),
        )


_FIELDS = tuple(f.name for f in dataclasses.fields(Result))


def write(result: Result, root: str | Path) -> Path:
    """Writes `result` to its `path` under `root`, making folders; an older file is replaced.

    A write that fails leaves the older file as it was.

    Raises:
        OSError: the file cannot be written.
    """
    path = Path(root) / result.path
    values = {"schema": SCHEMA, "kwargs_hash": result.kwargs_hash}
    values |= {name: getattr(result, name) for name in _FIELDS}
    # a line for each field: short enough to read, and to compare two files by
    lines = ",\n".join(f"  {json.dumps(k)}: {canonical_json(v)}" for k, v in sorted(values.items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write("{\n" + lines + "\n}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read(path: str | Path) -> Result:
    """Reads a file written by `write`.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: not JSON, not a result, of another schema, altered, or with values that a
            `Result` refuses; the message says what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no result file at {path}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        raise DataError(f"{path} is not whole JSON ({error}); {_EVALUATE_AGAIN}") from error
    if not isinstance(values, dict) or "schema" not in values:
        raise DataError(f"{path} is not a crs-gym result (no 'schema'); move it elsewhere")
    schema = values.pop("schema")
    if schema != SCHEMA:
        raise DataError(
            f"{path} has result schema {schema!r}, this version reads {SCHEMA}; evaluate again, or "
            "install the crs-gym that wrote it"
        )
    stored = values.pop("kwargs_hash", None)
    missing, unknown = sorted(set(_FIELDS) - set(values)), sorted(set(values) - set(_FIELDS))
    if missing or unknown:
        raise DataError(f"{path} lacks {missing} and has unknown {unknown}; {_EVALUATE_AGAIN}")
    try:
        result = Result(**values)
    except DataError as error:
        raise DataError(f"{path}: {error}; {_EVALUATE_AGAIN}") from error
    if stored != result.kwargs_hash:
        raise DataError(
            f"{path} was altered: its env_kwargs have hash {result.kwargs_hash}, it says "
            f"{stored}; {_EVALUATE_AGAIN}"
        )
    return result


def read_all(root: str | Path) -> list[Result]:
    """All results under `root`, in the order of their paths.

    Raises:
        FileNotFoundError: there is no such folder.
        DataError: as `read`, or a file that lies elsewhere than `write` would put it (a copy would
            count as another run).
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder of results at {root}; evaluate a policy first")
    results = []
    for path in sorted(root.rglob("*.json")):
        result = read(path)
        if path.relative_to(root) != result.path:
            raise DataError(f"{path} belongs at {root / result.path}; move it there or delete it")
        results.append(result)
    return results


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks; NumPy and JAX values become lists and numbers.

    Raises:
        DataError: something that JSON does not have, NaN included.
    """
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"not JSON: {error}; use numbers, texts, lists and dicts") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r}")


def digest(value: Any) -> str:
    """First 8 hex digits of the SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:8]


def safe_name(name: str) -> str:
    """`name` as a file name; another name never gives the same one."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+=-]{0,63}", name):
        return name
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', name)[:40]}~{digest(name)}"


def _json_mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{name} must be a dict of JSON values, not {value!r}")
    try:
        return MappingProxyType(json.loads(canonical_json(dict(value))))
    except DataError as error:
        raise DataError(f"{name} is {error}") from error


def _column(name: str, values: Any) -> tuple[Any, ...]:
    what, kinds = _COLUMNS[name]
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        array = np.zeros(0)
    if array.ndim != 1 or not array.size or array.dtype.kind not in kinds:
        raise DataError(f"{name} must be a list of {what}, not empty")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise DataError(f"{name} holds NaN or infinite values, first in episode {bad[0]}")
    return tuple(array.astype(float).tolist() if "f" in kinds else array.tolist())


def _count(name: str, value: Any) -> int | None:
    if value is None and name in _OPTIONAL:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise DataError(f"{name} must be a whole number of at least 0, not {value!r}")
    return int(value)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _accelerator() -> str | None:
    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")
    if jax is not None:
        try:
            device = jax.devices()[0]
        except RuntimeError:
            return None
        if device.platform != "cpu":
            return str(device.device_kind)
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return None
