"""The wire contract between the HTTP front end and the workers: plain data, no behavior."""

__version__ = "0.1.0"
