"""Weights & Biases: offline where there is no key."""

from __future__ import annotations

import os
import secrets
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlparse


class Tracker:
    """A run at Weights & Biases."""

    def __init__(self, run: Any) -> None:
        self.run = run

    def log(self, values: dict[str, Any], step: int) -> None:
        self.run.log(values, step=step)

    def text(self, text: str) -> Any:
        """A text as a value to log, shown as it is."""
        import html

        import wandb

        return wandb.Html(f"<pre>{html.escape(text)}</pre>")

    def summarise(self, values: dict[str, Any]) -> None:
        self.run.summary.update({f"evaluation/{k}": v for k, v in values.items()})

    def close(self) -> None:
        self.run.finish()


def track(project: str, folder: Path, config: dict[str, Any]) -> Tracker:
    """A run of `project` whose files and id are kept in `folder`, so that it can be resumed."""
    try:
        import wandb
    except ImportError as error:
        raise ImportError("--track needs wandb: pip install wandb") from error
    return Tracker(
        wandb.init(
            project=project,
            id=_run_id(folder),
            resume="allow",
            dir=folder,
            config=config,
            mode="offline" if _offline() else None,
        )
    )


def announce(project: str, folder: Path) -> None:
    """Says the same to trainers that begin a run themselves, by the environment's variables."""
    os.environ["WANDB_PROJECT"] = project
    os.environ["WANDB_DIR"] = str(folder)
    os.environ["WANDB_RUN_ID"] = _run_id(folder)
    os.environ["WANDB_RESUME"] = "allow"
    if _offline():
        os.environ["WANDB_MODE"] = "offline"


def _offline() -> bool:
    return "WANDB_MODE" not in os.environ and not _has_key()


def _run_id(folder: Path) -> str:
    name = folder / "wandb-id"
    if not name.is_file():
        name.write_text(secrets.token_hex(4))
    return name.read_text().strip()


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return host is not None and netrc(path).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
