"""Checks of the repository that `make lint` runs."""
