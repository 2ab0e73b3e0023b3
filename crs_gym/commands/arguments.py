"""Arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
