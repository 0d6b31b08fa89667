"""Requests that leave the service: one POST, to public addresses only, redirects not followed.

The name is resolved here and the connection goes to the address that was judged, so that a name
server cannot answer twice differently. Proxies of the environment are not used.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence

import httpcore2
from httpcore2 import AsyncNetworkBackend, AsyncNetworkStream

from app.webhooks.callback_addresses import is_public

SECONDS = 10.0  # for each of connecting, sending and the answer
TOTAL_SECONDS = 30.0
MAX_CONNECTIONS = 32


class BlockedError(Exception):
    """The host resolves to an address that callbacks must not reach."""


class GuardedBackend(AsyncNetworkBackend):
    """Opens connections to public addresses, and to `allowed` hosts wherever they are."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = frozenset(allowed)
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """A connection to `host`; raises BlockedError unless all of its addresses are public."""
        address = host if host.lower() in self._allowed else await self._judged(host, port)
        return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)

    async def _judged(self, host: str, port: int) -> str:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} does not resolve") from error
        addresses = [str(place[0]) for *_, place in found]
        blocked = [address for address in addresses if not is_public(address)]
        if blocked or not addresses:
            raise BlockedError(f"{host} is not a public host")
        return addresses[0]


class Sender:
    """Sends POSTs; `allowed` hosts may be private."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            network_backend=GuardedBackend(allowed),
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=0,
        )

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """The status of the answer, whose body is not read; raises BlockedError, OSError,
        TimeoutError or an error of httpcore.
        """
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), SECONDS)
        async with (
            asyncio.timeout(TOTAL_SECONDS),
            self._pool.stream(
                "POST",
                url,
                headers=list(headers.items()),
                content=body,
                extensions={"timeout": timeout},
            ) as answer,
        ):
            return int(answer.status)

    async def close(self) -> None:
        """Closes what is open."""
        await self._pool.aclose()
