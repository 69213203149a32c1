"""Resolves host names in a thread, so that a slow name server delays no packet."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Executor
from typing import Any

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData

SocketAddress = tuple[Any, ...]
"""The address argument of `socket.sendto`: (address, 0), for IPv6 also flow and scope."""
RESOLVE_SECONDS = 5.0
"""Time limit of one look-up."""


async def resolve(host: str, executor: Executor | None = None) -> SocketAddress:
    """The socket address of a host: the first that the system's resolver returns.

    A literal IP address needs no name server. Raises `NoData` (`name_not_resolved`).
    """
    loop = asyncio.get_running_loop()
    lookup = loop.run_in_executor(executor, _lookup, host)
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            return await lookup
    except TimeoutError as error:
        raise NoData(Cause.NAME_NOT_RESOLVED, f"{host}: no answer from the name server") from error
    except OSError as error:  # socket.gaierror is one
        raise NoData(Cause.NAME_NOT_RESOLVED, f"{host}: {error.strerror or error}") from error
    except UnicodeError as error:
        raise NoData(Cause.NAME_NOT_RESOLVED, f"{host}: {error}") from error


def _lookup(host: str) -> SocketAddress:
    """The address without its scope, which the source address of a reply also lacks."""
    found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)[0][4]
    return (str(found[0]).partition("%")[0], *found[1:])
