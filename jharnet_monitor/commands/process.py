"""Shared by programs that run on: exit codes, logging to standard error, and signals."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from jharnet_monitor.errors import DISK_TROUBLE, TemporaryError, UserError, as_one_line

END_SECONDS = 0.5
"""Time limit for threads after the main job; one may wait for a database indefinitely."""


_NO_ROOM = DISK_TROUBLE | {errno.EFBIG}
_UNWRITTEN = "the output cannot be written"


def print_error(error: object) -> None:
    """Print an error as one line on standard error."""
    print(f"error: {as_one_line(str(error))}", file=sys.stderr)


def escape_what_cannot_be_printed() -> None:
    """Where the output's encoding lacks a character, let its escape be printed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


@contextmanager
def errors_as_exit_codes() -> Iterator[None]:
    """Print an error as one line on standard error, and end with its exit code.

    Exit code 2: wrong usage or configuration. 1: something that is needed is unavailable, or the
    output cannot be written.
    """
    code = 0
    try:
        yield
    except TemporaryError as error:
        print_error(error)
        code = 1
    except UserError as error:
        print_error(error)
        code = 2
    except OSError as error:
        if _is_output_written():
            if error.filename is None and error.errno not in _NO_ROOM:
                raise
            if error.filename is None:
                print_error(f"{_UNWRITTEN}: {error.strerror}")
            else:
                print_error(f"{os.fsdecode(error.filename)}: cannot be used: {error.strerror}")
        raise SystemExit(1) from None
    if not _is_output_written():
        code = code or 1
    if code:
        raise SystemExit(code)


def _is_output_written() -> bool:
    """Write what is left of the output; an error is printed once, unless its reader has ended."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:
            print_error(f"{_UNWRITTEN}: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        return False
    return True


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


def hangup() -> list[signal.Signals]:
    """SIGHUP, which a terminal sends when it is closed; nothing on Windows or under `nohup`."""
    number = getattr(signal, "SIGHUP", None)
    return [] if number is None or signal.getsignal(number) is signal.SIG_IGN else [number]


async def until_signal(
    main: Callable[[], Awaitable[None]],
    stop: Callable[[], None],
    reload: Callable[[], None] | None = None,
) -> None:
    """Run `main` until it ends; SIGINT and SIGTERM call `stop`, SIGHUP `reload`, or else `stop`.

    On Windows, Ctrl-C and Ctrl-Break call `stop`: a service manager sends one of them.
    Afterwards, threads delay the end of the process by at most `END_SECONDS`.
    """
    loop = asyncio.get_running_loop()
    stopping = [signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)]
    for number in stopping if reload else stopping + hangup():
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
