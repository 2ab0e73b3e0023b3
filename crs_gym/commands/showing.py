"""`crs-gym show`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class ShowDialogue:
    """Prints one dialogue of a data set, with acts, belief and regret beside the words."""

    dataset: tyro.conf.Positional[Path]
    """Folder of a data set, or Parquet files of dialogues."""
    dialogue: int = 0
    """Which one, from 0."""
    world: str | None = None
    """Bundled name or world file, where none lies beside the dialogues."""
    acts: bool = True
    """Show what is beside the words."""
    templates: bool = False
    """Show the templates in place of rewritten words."""

    def run(self) -> None:
        from rich.console import Console

        from crs_gym.generation.opening import open_one
        from crs_gym.generation.show import show_dialogue

        dialogue, world = open_one(self.dataset, self.dialogue, self.world)
        Console(highlight=False).print(
            show_dialogue(dialogue, world, acts=self.acts, templates=self.templates)
        )
