"""How both clients reach the service."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

import httpx2

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 30.0  # s for an answer that is not waited for


def http_options(url: str | None, key: str | None, timeout: float) -> dict[str, Any]:
    """The arguments of the HTTP client; `CDVAE_SERVER` and `CDVAE_API_KEY` where none are given."""
    key = key or os.environ.get("CDVAE_API_KEY")
    agent = {"User-Agent": f"cdvae-client/{version('cdvae-service')}"}
    return {
        "base_url": url or os.environ.get("CDVAE_SERVER") or DEFAULT_URL,
        "headers": agent | ({"Authorization": f"Bearer {key}"} if key else {}),
        "timeout": httpx2.Timeout(timeout),
    }


def patient(timeout: httpx2.Timeout, seconds: float) -> httpx2.Timeout:
    """The same limits, but for silence: an answer may be that long in coming."""
    return httpx2.Timeout(**{**timeout.as_dict(), "read": seconds})
