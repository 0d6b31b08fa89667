"""Blocking calls and their asyncio versions; `make client` replaces one name by the other."""

import asyncio
import time
from pathlib import Path


async def async_sleep(seconds: float) -> None:
    """Wait."""
    await asyncio.sleep(seconds)


async def async_write_file(path: Path, content: bytes) -> None:
    """Write a file in a thread."""
    await asyncio.to_thread(path.write_bytes, content)


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def write_file(path: Path, content: bytes) -> None:
    """Write a file."""
    path.write_bytes(content)
