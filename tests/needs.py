"""Programs that come with the system rather than with pip."""

import os
import shutil

import pytest


def program(name: str, source: str) -> str:
    """Path of a program. Without it the test is skipped, with what to install; CI fails."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is missing: install {source}")
    return str(found)


def missing(reason: str) -> None:
    """Ends the test: skipped with the reason, or failed where CI must have run it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must run this test; {reason}")
    pytest.skip(reason)
