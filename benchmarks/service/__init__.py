"""Load, capacity and fault tolerance of a running service."""
