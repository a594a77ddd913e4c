"""Flags and records of the commands. Nothing here imports JAX, so that `--help` is instant."""
