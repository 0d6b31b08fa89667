"""The site of the fault tests serves here too."""

from tests.faults.conftest import site

__all__ = ["site"]
