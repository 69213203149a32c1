"""The process that owns a running lab: builds it, serves its control socket, takes it away.

`client.py` starts it, with a JSON line on stdin that holds the lab; it answers with one on stdout.
The end of stdin then ends the lab, unless that line said that it is to stay.
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
from jharnet_monitor.lab.layout import LOCK, Layout
from jharnet_monitor.lab.spec import parse_spec

_MAX_LINE = 65536


def main() -> None:
    """Read the order from stdin, run the lab, leave nothing behind."""
    order = json.loads(sys.stdin.readline())
    try:
        spec = parse_spec(order["spec"])
        layout = Layout.of(spec, order["prefix"])
        with _sole_owner(layout):
            if order["stays"]:  # before the emulator is forked, which would hold it open, too
                _detach(sys.stderr)
            controller = Controller(spec, layout)
            asyncio.run(_run(controller, layout, stays=order["stays"]))
    except (UserError, RuntimeError, OSError) as error:
        _announce({"error": str(error)})


def _announce(answer: dict[str, Any]) -> None:
    """Tell the process that started this one, which reads one line."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer), flush=True)


@contextlib.contextmanager
def _sole_owner(layout: Layout) -> Iterator[None]:
    """Hold the lab's lock and its directory; first clear away a lab that died with this prefix."""
    directory = layout.run_directory
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a+") as lock:
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
            namespaces.remove(namespaces.existing(layout.prefix))
            yield
        finally:
            namespaces.remove(namespaces.existing(layout.prefix))
            shutil.rmtree(directory)


async def _run(controller: Controller, layout: Layout, *, stays: bool) -> None:
    """Serve until told to go, signalled, left alone, or without an emulator."""
    stop = controller.stopping.set
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    emulator = os.pidfd_open(controller.data_path.pid)
    loop.add_reader(emulator, stop)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _serve(controller, reader, writer),
        layout.control_socket,
        limit=_MAX_LINE,
        start_serving=False,
    )
    _only_for_root(layout.control_socket)
    async with server:
        await server.start_serving()
        _announce({"ok": os.getpid()})
        _detach(sys.stdout)
        if not stays:
            loop.add_reader(sys.stdin.fileno(), stop)
        await controller.stopping.wait()
    controller.data_path.stop()


def _only_for_root(path: Path) -> None:
    path.chmod(0o600)


def _detach(*streams: TextIO) -> None:
    """Let go of them, so that whoever reads them sees their end."""
    with Path(os.devnull).open("w") as nowhere:
        for stream in streams:
            os.dup2(nowhere.fileno(), stream.fileno())


async def _serve(
    controller: Controller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one client's requests, a JSON line each."""
    with contextlib.suppress(ConnectionError, ValueError):  # gone, or a line without end
        while line := await reader.readline():
            writer.write(json.dumps(_answer(controller, line)).encode() + b"\n")
            await writer.drain()
    writer.close()


def _answer(controller: Controller, line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise UserError("a request is a JSON object")
        return {"ok": controller.obey(request)}
    except (UserError, TypeError, ValueError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
