"""How well words are understood."""
