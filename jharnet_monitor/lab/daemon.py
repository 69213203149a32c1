"""The process that owns a running lab: builds it, serves its control socket, removes it.

`client.DaemonProcess` starts it and writes one JSON line with the lab to its stdin; it responds
with one line on stdout. After that the end of stdin ends the lab, unless it was started detached.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import namespaces
from jharnet_monitor.lab.controller import Controller
from jharnet_monitor.lab.layout import LOCK_FILE, Layout
from jharnet_monitor.lab.spec import parse_spec

_MAX_REQUEST_BYTES = 65536


def main() -> None:
    """Read the options from stdin, run the lab, and remove it."""
    options = json.loads(sys.stdin.readline())
    try:
        spec = parse_spec(options["spec"])
        layout = Layout.of(spec, options["prefix"])
        with _exclusive(layout):
            if options["detached"]:  # before the fork: the emulator would keep stderr open too
                _redirect_to_devnull(sys.stderr)
            controller = Controller(spec, layout)
            asyncio.run(_serve(controller, layout, detached=options["detached"]))
    except (UserError, RuntimeError, OSError) as error:
        _respond({"error": str(error)})


def _respond(response: dict[str, Any]) -> None:
    """Write the one line that the starting process reads."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(response), flush=True)


@contextlib.contextmanager
def _exclusive(layout: Layout) -> Iterator[None]:
    """Hold the lab's lock and directory, and remove its namespaces before and after.

    This also removes the remains of a lab that died. Raises `UserError` if a lab with the prefix
    is running.
    """
    directory = layout.run_directory
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK_FILE).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"a lab with prefix `{layout.prefix}` is running: "
                "end it with `lab down`, or choose another prefix"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            namespaces.remove_namespaces(namespaces.list_namespaces(layout.prefix))
            yield
        finally:
            namespaces.remove_namespaces(namespaces.list_namespaces(layout.prefix))
            shutil.rmtree(directory)


async def _serve(controller: Controller, layout: Layout, *, detached: bool) -> None:
    """Serve until `down`, a signal, the end of stdin (if not detached) or of the emulator."""
    stop = controller.stopping.set
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop)
    emulator = os.pidfd_open(controller.emulator.pid)
    loop.add_reader(emulator, stop)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _serve_client(controller, reader, writer),
        layout.control_socket,
        limit=_MAX_REQUEST_BYTES,
        start_serving=False,
    )
    _restrict_to_owner(layout.control_socket)
    await server.start_serving()
    _respond({"ok": os.getpid()})
    _redirect_to_devnull(sys.stdout)
    if not detached:
        loop.add_reader(sys.stdin.fileno(), stop)
    await controller.stopping.wait()
    server.close()  # from Python 3.12.1 on, `async with` would wait until every client has gone
    controller.emulator.stop()


def _restrict_to_owner(path: Path) -> None:
    path.chmod(0o600)


def _redirect_to_devnull(*streams: TextIO) -> None:
    """Close streams towards their readers, which then see the end of file."""
    with Path(os.devnull).open("w") as devnull:
        for stream in streams:
            os.dup2(devnull.fileno(), stream.fileno())


async def _serve_client(
    controller: Controller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Execute one client's requests, a JSON line each."""
    with contextlib.suppress(ConnectionError, ValueError):  # disconnected, or a line too long
        while line := await reader.readline():
            writer.write(json.dumps(_execute(controller, line)).encode() + b"\n")
            await writer.drain()
    writer.close()


def _execute(controller: Controller, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise UserError("a request is a JSON object")
        return {"ok": controller.execute(request)}
    except (UserError, TypeError, ValueError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
