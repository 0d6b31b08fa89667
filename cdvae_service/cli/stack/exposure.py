"""A service that other machines can reach requires API keys, unless the operator waives them."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from app.api_settings import Settings
from app.auth.key_file import KeyFileError, key_file


class ExposedError(RuntimeError):
    """Everyone on the network could use the service; the message has the remedies."""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to a listening address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(host: str, home: Path) -> bool:
    """Return whether every call needs a key; raises ExposedError."""
    if is_loopback(host) or Settings().allow_anonymous:
        return False
    try:
        valid = [key for key in key_file(home).keys().values() if key.revoked_at is None]
    except KeyFileError as error:
        raise ExposedError(str(error)) from error
    if not valid:
        raise ExposedError(
            f"listening on {host} requires an API key: create one with `cdvae keys create NAME`, "
            "or set CDVAE_ALLOW_ANONYMOUS=1 if the network is protected"
        )
    return True
