"""The environment as it is served."""
