"""Agents trained with JAX, environment and update in one compiled program."""
