"""Limits the connections that the hub holds: in total, and from one address.

Each costs memory and a descriptor, whoever opens it: ten thousand idle ones must not keep an
office's agent out. Connections beyond a limit are closed as soon as they are accepted.
"""

from __future__ import annotations

import logging
import resource
import socket
import time
from collections import Counter
from typing import Any

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 4000
MOST_OF_AN_ADDRESS = 500
"""Enough for a district behind one address translation, or for a reverse proxy."""
DESCRIPTORS = 8192
"""Open files of the hub: its connections, two more for a running test, database and sockets."""
_LOG_SECONDS = 60.0


class ConnectionCount:
    """The open connections by address."""

    def __init__(
        self, most: int = MOST_CONNECTIONS, most_of_an_address: int = MOST_OF_AN_ADDRESS
    ) -> None:
        self.of: Counter[str] = Counter()
        self.total = 0
        self.refused = 0
        self._most, self._most_of_an_address = most, most_of_an_address
        self._logged_at = -_LOG_SECONDS

    def open(self, address: str) -> bool:
        """Count a new connection; False if it is one too many."""
        if self.total >= self._most or self.of[address] >= self._most_of_an_address:
            self.refused += 1
            self._log_limit(address)
            return False
        self.of[address] += 1
        self.total += 1
        return True

    def close(self, address: str) -> None:
        """Count the end of a connection."""
        self.total -= 1
        self.of[address] -= 1
        if self.of[address] <= 0:
            del self.of[address]

    def _log_limit(self, address: str) -> None:
        now = time.monotonic()
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            log.warning("%s has %d of %d connections; more are closed, %d so far", address,
                        self.of[address], self.total, self.refused)  # fmt: skip


class CountedConnection(socket.socket):
    """An accepted connection, which is counted until it is closed."""

    count: ConnectionCount | None = None
    address = ""

    def close(self) -> None:
        """Close the connection; idempotent."""
        count, self.count = self.count, None
        if count is not None:
            count.close(self.address)
        super().close()


class CountingListener(socket.socket):
    """A listening socket that accepts no more connections than its `count` allows."""

    def __init__(self, family: int, kind: int, protocol: int, count: ConnectionCount) -> None:
        super().__init__(family, kind, protocol)
        self.count = count

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; raises `ConnectionAbortedError` for one too many, and `OSError`."""
        descriptor, peer = self._accept()  # type: ignore[attr-defined]
        one = CountedConnection(self.family, self.type, self.proto, fileno=descriptor)
        one.setblocking(False)
        address = str(peer[0])
        if not self.count.open(address):
            one.close()
            raise ConnectionAbortedError("too many connections")
        one.count, one.address = self.count, address
        return one, peer


def allow_descriptors(wanted: int = DESCRIPTORS) -> int:
    """Raise this process's limit of open files as far as the system allows; returns the limit.

    The usual limit of 1024 is reached by a thousand idle connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
