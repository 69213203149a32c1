"""Shared by programs that run on: exit codes, logging to standard error, and signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from jharnet_monitor.errors import TemporaryError, UserError

END_SECONDS = 0.5
"""Time limit for threads after the main job; one may wait for a database indefinitely."""


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Print an error as one line on standard error, and end with its exit code.

    Exit code 2: wrong usage or configuration. 1: something that is needed is unavailable.
    """
    try:
        yield
    except TemporaryError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def set_up_logging(level: str) -> None:
    """Log to standard error from `level` on; raises `UserError` for an unknown level."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise UserError(f"--log-level {level}: must be debug, info, warning or error")
    logging.basicConfig(
        level=number, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for chatty in ("aioice", "aiortc", "alembic", "apscheduler", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(max(number, logging.WARNING))


async def until_signal(
    main: Callable[[], Awaitable[None]],
    stop: Callable[[], None],
    reload: Callable[[], None] | None = None,
) -> None:
    """Run `main` until it ends; SIGINT and SIGTERM call `stop`, SIGHUP calls `reload`.

    Afterwards, threads delay the end of the process by at most `END_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    if reload is not None:
        loop.add_signal_handler(signal.SIGHUP, reload)
    await main()
    end = threading.Timer(END_SECONDS, _end_process)
    end.daemon = True
    end.start()


def _end_process() -> None:
    logging.getLogger(__name__).warning("ending the process although a thread is still waiting")
    logging.shutdown()
    os._exit(0)
