"""Gymnasium environments over the simulation; importing `crs_gym` registers them."""
