"""Connection settings of both clients."""

from __future__ import annotations

import os
from typing import Any

import httpx2

from cdvae_schema import __version__

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 30.0  # s, for requests that do not wait for a job


def http_options(url: str | None, key: str | None, timeout: float) -> dict[str, Any]:
    """Return the arguments of the HTTP client.

    A missing `url` or `key` comes from `CDVAE_SERVER` or `CDVAE_API_KEY`.
    """
    key = key or os.environ.get("CDVAE_API_KEY")
    agent = {"User-Agent": f"cdvae-client/{__version__}"}
    return {
        "base_url": url or os.environ.get("CDVAE_SERVER") or DEFAULT_URL,
        "headers": agent | ({"Authorization": f"Bearer {key}"} if key else {}),
        "timeout": httpx2.Timeout(timeout),
    }


def patient(timeout: httpx2.Timeout, seconds: float) -> httpx2.Timeout:
    """Return the same limits with a read timeout of `seconds`."""
    return httpx2.Timeout(**{**timeout.as_dict(), "read": seconds})
