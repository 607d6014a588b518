"""Connections to addresses that were judged before, and to no others."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeAlias

import httpcore2

from stream2llm_rag.sources._thread import run_in_thread
from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason

__all__ = ["PinnedBackend", "Resolver", "resolve"]

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes a host and a port and returns the host's IP addresses, best first."""

_MAX_ADDRESSES = 4


async def resolve(host: str, port: int) -> Sequence[str]:
    """Asks the system for the addresses of ``host``.

    Raises:
        OSError: It has none.
    """
    found = await run_in_thread(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PinnedBackend(httpcore2.AsyncNetworkBackend):
    """Looks a host up once, judges every address, and connects to what was judged.

    A name can therefore not show a public address to the check and a private one to the connection.
    Host header, TLS server name and certificate check keep using the name.

    Args:
        may_connect: Judges an address.
        resolve: Looks hosts up.
    """

    def __init__(self, may_connect: Callable[[str], bool], resolve: Resolver) -> None:
        self._may_connect = may_connect
        self._resolve = resolve
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connects to a host.

        Raises:
            PageSkippedError: The host has an address that may not be connected to, or none.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._judged(host, port)
        except TimeoutError as error:
            msg = f"looking up {host} took too long"
            raise httpcore2.ConnectTimeout(msg) from error
        share = None if timeout is None else timeout / len(addresses)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await self._backend.connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        msg = f"no connection to {host}"
        raise httpcore2.ConnectError(msg) from failure

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)

    async def _judged(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                msg = f"looking up {host} failed for now"
                raise httpcore2.ConnectError(msg) from error
            addresses = []
        except (OSError, UnicodeError) as error:
            msg = f"looking up {host} failed: {error}"
            raise httpcore2.ConnectError(msg) from error
        if not addresses:
            raise PageSkippedError(SkipReason.UNREACHABLE, f"{host} has no address")
        for address in addresses:
            if not self._may_connect(address):
                detail = (
                    f"{host} is at {address}, which is not public;"
                    " see WebConfig.allowed_networks if it may be asked"
                )
                raise PageSkippedError(SkipReason.REFUSED, detail)
        return addresses[:_MAX_ADDRESSES]
