"""One real service with a tiny model for the tests of the client and of the commands."""

from tests.e2e.conftest import service

__all__ = ["service"]
