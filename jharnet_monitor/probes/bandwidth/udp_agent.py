"""The agent's end of the datagrams beside a bandwidth test: knocks, echoes, sends, listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from jharnet_monitor.probes.bandwidth.udp_socket import Datagram, DatagramKind, DatagramSocket, dial

KNOCKS, KNOCK_SPACING_SECONDS = 20, 0.1
MOST_PACKETS = 100
MOST_DATAGRAMS = 5000
"""Answered in one test, so that nobody can use the agent to fill its own line."""


class AgentUdpChannel:
    """Answers what proves the key; opened and closed with the far side of the probe."""

    def __init__(self, hub: str) -> None:
        self._host = urlsplit(hub).hostname or ""
        self._stack = contextlib.ExitStack()
        self._socket: DatagramSocket | None = None
        self._knocking: asyncio.Task[None] | None = None
        self._met = False
        self._answered = 0
        self._arrivals: list[tuple[int, float]] = []

    def open(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Begin to knock at the port that the hub names; answers at once."""
        self.close()
        port, key = message.get("port"), message.get("key")
        if not isinstance(port, int) or not 0 < port < 65536 or not isinstance(key, str):
            return {"error": "a side path needs its port and its key"}
        try:
            self._socket = dial(self._host, port, bytes.fromhex(key))
        except (OSError, ValueError) as error:
            return {"error": f"no side path: {error}"[:200]}
        self._stack.callback(self._socket.close)
        self._stack.enter_context(self._socket.listening(self._take))
        self._knocking = asyncio.create_task(self._knock(self._socket))
        self._stack.callback(self._knocking.cancel)
        return {"udp": True}

    async def _knock(self, sock: DatagramSocket) -> None:
        for number in range(KNOCKS):
            if self._met:
                return
            sock.send(DatagramKind.KNOCK, number)
            await asyncio.sleep(KNOCK_SPACING_SECONDS)

    def _take(self, datagram: Datagram) -> None:
        self._met = True
        self._answered += 1
        if self._socket is None or self._answered > MOST_DATAGRAMS:
            return
        if datagram.kind is DatagramKind.PING:
            self._socket.answer(datagram)
        elif datagram.kind is DatagramKind.TRAIN and len(self._arrivals) < MOST_PACKETS:
            self._arrivals.append((datagram.number, datagram.moment))

    def listen(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Forget the last train, be ready for the next."""
        self._arrivals.clear()
        return {"ready": True}

    def arrivals(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What of the train has come: numbers, and microseconds since the first."""
        first = min((moment for _, moment in self._arrivals), default=0.0)
        return {"arrivals": [[n, round((m - first) * 1e6)] for n, m in self._arrivals]}

    def train(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a train to the hub."""
        packets = message.get("packets")
        if self._socket is None or not isinstance(packets, int) or not 0 < packets <= MOST_PACKETS:
            return {"error": "no train without a side path, and none that long"}
        seconds = self._socket.send_train(packets)
        return {"sent": packets, "microseconds": round(seconds * 1e6)}

    def close(self) -> None:
        """Give everything back."""
        self._stack.close()
        self._socket = None
        self._met = False
