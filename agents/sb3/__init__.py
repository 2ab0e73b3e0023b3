"""Agents trained with Stable-Baselines3."""
