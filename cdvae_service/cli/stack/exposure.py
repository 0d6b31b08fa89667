"""Listening beyond this machine needs API keys, or the word of the operator that it does not."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from app.api_settings import Settings
from app.auth.key_file import KeyFileError, key_file


class ExposedError(RuntimeError):
    """The service would be open to the network; the message says what to do."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address to listen on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, home: Path) -> bool:
    """Whether calls need a key from the first one on; raises ExposedError."""
    if is_loopback(host) or Settings().allow_anonymous:
        return False
    try:
        valid = [key for key in key_file(home).keys().values() if key.revoked_at is None]
    except KeyFileError as error:
        raise ExposedError(str(error)) from error
    if not valid:
        raise ExposedError(
            f"listening on {host} needs an API key: make one with `cdvae keys create NAME`, "
            "or set CDVAE_ALLOW_ANONYMOUS=1 where others keep strangers out"
        )
    return True
