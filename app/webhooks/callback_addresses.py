"""Where callbacks may go: to public addresses over https, or to hosts that the operator names.

A name is judged by what it resolves to, at the moment of the connection
(`app/webhooks/webhook_sender.py`): a check before that says nothing, since the answer may change.
"""

import ipaddress
from urllib.parse import urlsplit

from app.api_settings import Settings
from app.auth.caller import Caller
from app.http.problems import FieldError, invalid

_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(text: str) -> bool:
    """Whether an address is one of the open internet, in whatever form of IPv6 it is wrapped."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that is reached through this one; None for a real IPv6 address."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    low = int(address) & 0xFFFFFFFF
    compatible = int(address) >> 32 == 0 and low > 1
    if compatible or any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(low)
    return None


def check_callback(url: str | None, caller: Caller, settings: Settings) -> None:
    """Refuse, with 422, a callback that could never be made."""
    if url is None:
        return
    reason = _reason(url, caller, settings)
    if reason:
        raise invalid([FieldError(detail=f"/callback_url: {reason}", pointer="/callback_url")])


def _reason(url: str, caller: Caller, settings: Settings) -> str | None:
    if caller.key is None:
        return "callbacks are signed with the secret of an API key; the service has no keys"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is no URL"
    if not host or not url.isascii() or any(letter.isspace() for letter in url):
        return "it is no URL"
    if parts.username is not None or parts.password is not None:
        return "it must not hold a user or password"
    if host in settings.callback_hosts:
        return None if parts.scheme in ("http", "https") else "it must begin with https://"
    if parts.scheme != "https":
        return "it must begin with https://"
    private = _is_address(host) and not is_public(host)
    return "it must not be a private address" if private else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
