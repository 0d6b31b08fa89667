"""Measurements of the models and the service, run by hand; records are in `results`."""
