"""Data sets of dialogues: behaviour, templates, rewriting (ICER, section 3)."""
