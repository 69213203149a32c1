"""Listens on one port for pages, API, metrics and agents, with TLS unless it is off."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from aiohttp import web

from jharnet_monitor.config import Config
from jharnet_monitor.errors import TemporaryError
from jharnet_monitor.security import tls

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 5.0
"""How long running requests may take once the hub stops."""
IDLE_SECONDS = 75.0
"""A connection without a complete request for this time is closed."""


async def listen(app: web.Application, config: Config, config_path: Path) -> web.AppRunner:
    """Serve until the runner's `cleanup`.

    Raises `TemporaryError` if the address is not available: another program uses it, or the network
    is not up yet.
    """
    hub = config.hub
    context: ssl.SSLContext | None = None
    if hub.tls:
        context = tls.server_context(hub.tls)
    else:
        log.warning("hub.tls is off: tokens and results cross the network unencrypted")
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, keepalive_timeout=IDLE_SECONDS
    )
    await runner.setup()
    site = web.TCPSite(runner, hub.host, hub.port, ssl_context=context)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise TemporaryError(
            f"{config_path}: hub.listen: cannot listen on {hub.listen} "
            f"({error.strerror}); is another hub running, or is the address not this machine's?"
        ) from error
    return runner
