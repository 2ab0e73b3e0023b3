"""What SB3 logs, sent on to a tracker."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter

from agents.tracking import Tracker


class LogFormat(KVWriter):
    """A tracker as one of SB3's log formats."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        del key_excluded
        self.tracker.log({k: v for k, v in key_values.items() if np.isscalar(v)}, step)

    def close(self) -> None:
        """Nothing: who opened the tracker closes it."""
