"""Listens on one port for pages, API, metrics and agents, with TLS unless it is off."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from jharnet_monitor.config import Config
from jharnet_monitor.errors import TemporaryError
from jharnet_monitor.security.connections import (
    ConnectionCount,
    CountingListener,
    allow_descriptors,
)
from jharnet_monitor.web.access_log import AccessLog, logger_class

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 1.5
"""How long running requests may take once the hub stops."""
IDLE_SECONDS = 75.0
"""A connection without a complete request for this time is closed."""
WRITE_SECONDS = 30.0
"""A connection that accepts nothing of an answer for this time is closed."""


def _is_our_error(record: logging.LogRecord) -> bool:
    """Whether a record of the server is none about a request that is no HTTP, or whose body is not
    as its headers say.

    That is its sender's error, and the access log has it. The record would have a traceback and
    what was sent, which may be a token.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError | web.RequestPayloadError)


_server_log = logging.getLogger(f"{__name__}.server")
_server_log.addFilter(_is_our_error)


def bind(config: Config, config_path: Path) -> list[socket.socket]:
    """Take the port, without answering yet.

    Raises `TemporaryError` if the address is not available: another program uses it, or the network
    is not up yet.
    """
    hub, taken, count = config.hub, list[socket.socket](), ConnectionCount()
    allow_descriptors()
    try:
        found = socket.getaddrinfo(
            hub.host, hub.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            one = CountingListener(family, kind, protocol, count)
            taken.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            _limit_writes(one)
    except OSError as error:
        for each in taken:
            each.close()
        raise TemporaryError(
            f"{config_path}: hub.listen: cannot listen on {hub.listen} "
            f"({error.strerror}); is another hub running, or is the address not this machine's?"
        ) from error
    return taken


def _limit_writes(listening: socket.socket) -> None:
    """End connections whose other end takes nothing of what is sent: it would be held in memory.

    Accepted connections inherit it (tcp(7), TCP_USER_TIMEOUT).
    """
    milliseconds = int(WRITE_SECONDS * 1000)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


async def listen(
    app: web.Application,
    config: Config,
    config_path: Path,
    sockets: Sequence[socket.socket],
    context: ssl.SSLContext | None = None,
    access_log: AccessLog | None = None,
) -> web.AppRunner:
    """Serve on sockets from `bind` until the runner's `cleanup`, with TLS by a context.

    Requests go into the access log.

    Raises `TemporaryError`.
    """
    hub = config.hub
    if context is None:
        log.warning("hub.tls is off: tokens and results cross the network unencrypted")
    runner = web.AppRunner(
        app,
        access_log=log,
        logger=_server_log,
        access_log_class=logger_class(access_log),
        shutdown_timeout=SHUTDOWN_SECONDS,
        keepalive_timeout=IDLE_SECONDS,
        auto_decompress=False,  # a compressed body is refused, and its errors are not ours
    )
    await runner.setup()
    try:
        for one in sockets:
            await web.SockSite(runner, one, ssl_context=context).start()
    except OSError as error:
        await runner.cleanup()
        raise TemporaryError(
            f"{config_path}: hub.listen: cannot listen on {hub.listen} ({error.strerror})"
        ) from error
    return runner
