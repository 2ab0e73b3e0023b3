"""What `crs-gym` does: a class for each command, its fields the arguments, `run` the deed."""
