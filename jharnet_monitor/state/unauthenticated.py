"""Limits what connections cost whose sender has not proven who it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

LOOK_SECONDS = 1.0
GRACE_SECONDS = 10.0
"""How long a connection may last before its sender has proven who it is, from the end of the TLS
handshake; the handshake may take as long again."""
MOST_CONNECTIONS = 400
MOST_OF_AN_ADDRESS = 100
"""Enough for all districts behind one reverse proxy."""


class Connection(Protocol):
    """A connection of the server."""

    def force_close(self) -> None:
        """Close it without waiting for anything."""


class UnauthenticatedConnections:
    """The connections whose sender has not proven who it is; those that last too long are
    closed."""

    def __init__(self, connections: Callable[[], Iterable[Connection]]) -> None:
        """`connections` returns all open connections of the server."""
        self._connections = connections
        self._since: dict[Connection, float] = {}
        self._authenticated: set[Connection] = set()

    def mark_authenticated(self, connection: Connection) -> None:
        """Note that the sender of a connection has proven who it is."""
        self._authenticated.add(connection)

    async def run(self) -> None:
        """Look every `LOOK_SECONDS` until cancelled."""
        while True:
            self.close_old(asyncio.get_running_loop().time())
            await asyncio.sleep(LOOK_SECONDS)

    def close_old(self, now: float) -> None:
        """Close the connections that have been unauthenticated for too long; `now` is a monotonic
        time."""
        current = set(self._connections())
        self._authenticated &= current
        self._since = {one: self._since.get(one, now) for one in current - self._authenticated}
        for connection, since in self._since.items():
            if now - since >= GRACE_SECONDS:
                connection.force_close()
