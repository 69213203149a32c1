"""The agent's end of the UDP datagrams of a bandwidth test: pongs, packet trains and streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jharnet_monitor.probes.bandwidth.udp_socket import (
    Datagram,
    DatagramKind,
    DatagramSocket,
    connect_socket,
)
from jharnet_monitor.probes.bandwidth.udp_stream import (
    MAX_ROWS,
    StreamCount,
    StreamPlan,
    send_stream,
)

PUNCHES, PUNCH_SPACING_SECONDS = 20, 0.1
MAX_TRAIN_PACKETS = 100
MAX_DATAGRAMS = 5000
"""Datagrams answered in one test, so that nobody can use the agent to fill its own line."""


class AgentUdpChannel:
    """Answers authenticated datagrams of the hub, from `open` to `close`."""

    def __init__(self, hub: str) -> None:
        self._host = urlsplit(hub).hostname or ""
        self._stack = contextlib.ExitStack()
        self._socket: DatagramSocket | None = None
        self._connected = False
        self._answered = 0
        self._arrivals: list[tuple[int, float]] = []
        self._stream = StreamCount()

    def open(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Start to send punches to the hub's `port`, made with `key`; answers at once."""
        self.close()
        port, key = message.get("port"), message.get("key")
        if not isinstance(port, int) or not 0 < port < 65536 or not isinstance(key, str):
            return {"error": "the UDP channel needs a port and a key"}
        try:
            self._socket = connect_socket(self._host, port, bytes.fromhex(key))
        except (OSError, ValueError) as error:
            return {"error": f"no UDP channel: {error}"[:200]}
        self._stack.callback(self._socket.close)
        self._stack.enter_context(self._socket.listening(self._take))
        punching = asyncio.create_task(self._punch(self._socket))
        self._stack.callback(punching.cancel)
        return {"udp": True}

    async def _punch(self, sock: DatagramSocket) -> None:
        """Open the way for the hub's datagrams through NAT and firewalls."""
        for number in range(PUNCHES):
            if self._connected:
                return
            sock.send(DatagramKind.PUNCH, number)
            await asyncio.sleep(PUNCH_SPACING_SECONDS)

    def _take(self, datagram: Datagram) -> None:
        self._connected = True
        if datagram.kind is DatagramKind.STREAM:  # not answered
            self._stream.add(datagram)
            return
        self._answered += 1
        if self._socket is None or self._answered > MAX_DATAGRAMS:
            return
        if datagram.kind is DatagramKind.PING:
            self._socket.send_pong(datagram)
        elif datagram.kind is DatagramKind.TRAIN and len(self._arrivals) < MAX_TRAIN_PACKETS:
            self._arrivals.append((datagram.number, datagram.received))

    def listen(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Forget the last train and prepare for the next one."""
        self._arrivals.clear()
        return {"ready": True}

    def arrivals(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The received packets of the train: [number, microseconds since the first]."""
        first = min((received for _, received in self._arrivals), default=0.0)
        return {"arrivals": [[n, round((at - first) * 1e6)] for n, at in self._arrivals]}

    def train(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a train of `packets` packets to the hub."""
        packets = message.get("packets")
        if (
            self._socket is None
            or not isinstance(packets, int)
            or not 0 < packets <= MAX_TRAIN_PACKETS
        ):
            return {"error": f"no UDP channel, or not 1 to {MAX_TRAIN_PACKETS} packets"}
        seconds = self._socket.send_train(packets)
        return {"sent": packets, "microseconds": round(seconds * 1e6)}

    def expect_stream(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Forget the last stream and count the next, with a row every `spacing` seconds."""
        spacing = message.get("spacing")
        if not isinstance(spacing, int | float) or not 0 < spacing < 60:
            return {"error": "a stream needs the spacing of its rows"}
        self._stream = StreamCount(float(spacing))
        return {"ready": True}

    def stream_received(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The received part of the stream, in about as many rows as requested."""
        wanted = message.get("rows")
        rows = self._stream.to_json()
        step = max(1, len(rows) // wanted) if type(wanted) is int and 0 < wanted <= MAX_ROWS else 1
        return {"rows": [*rows[:-1:step], *rows[-1:]]}

    async def stream(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a stream to the hub."""
        try:
            plan = StreamPlan.from_json(message)
        except ValueError as error:
            return {"error": str(error)}
        if self._socket is None:
            return {"error": "no UDP channel"}
        sent = await send_stream(self._socket, plan)
        return {"sent": sent.datagrams, "late": round(sent.late, 3)}

    def close(self) -> None:
        """Close the socket. Idempotent."""
        self._stack.close()
        self._socket = None
        self._connected = False
