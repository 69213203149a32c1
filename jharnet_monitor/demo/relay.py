"""Relays the hub's pages from the demo's district to a loopback address of this machine.

The hub uses TLS inside the district, with a certificate authority that no browser on this machine
trusts. The relay uses TLS towards the hub and plain HTTP on loopback, so that a browser opens the
address without a warning.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path

from jharnet_monitor.demo.places import Place
from jharnet_monitor.lab.layout import HEADQUARTERS

PREFERRED_PORT = 9797
_CHUNK = 1 << 16


class Relay:
    """Runs in a thread of its own until `close`; `url` is the address on loopback."""

    def __init__(self, place: Place, target: tuple[str, int], ca: Path) -> None:
        self._place = place
        self._target = target
        self._tls = ssl.create_default_context(cafile=str(ca))
        self._listener = _listen()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._serve, name="relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the relay and close all its connections."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        start = asyncio.start_server(self._accept, sock=self._listener)
        server = self._loop.run_until_complete(start)
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._connections.add(task)  # the event loop holds only weak references to tasks
        task.add_done_callback(self._connections.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # cancelled only when the relay stops, and then nobody awaits the result
        with (
            contextlib.suppress(OSError, asyncio.CancelledError),
            contextlib.closing(writer),
        ):
            with self._place.entered(HEADQUARTERS):
                inside = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            inside.setblocking(False)
            await self._loop.sock_connect(inside, self._target)
            hub_reader, hub_writer = await asyncio.open_connection(
                sock=inside, ssl=self._tls, server_hostname=self._target[0]
            )
            with contextlib.closing(hub_writer):
                await asyncio.gather(_pump(reader, hub_writer), _pump(hub_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()


def _listen() -> socket.socket:
    """A socket on the preferred port if that is free, else on any."""
    for port in (PREFERRED_PORT, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
        else:
            return listener
    raise OSError("no loopback port is free")
