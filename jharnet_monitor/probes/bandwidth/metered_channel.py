"""A channel that counts the bytes of its messages on the line, for the byte budget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jharnet_monitor.probes.base import Channel

OVERHEAD_BYTES = 250
"""Per message: the session's frame, WebSocket, TLS, IP and TCP headers, the acknowledgement in the
other direction, and a share for retransmissions when a queue is full; measured in the lab."""


class MeteredChannel:
    """Forwards to another channel; `bytes` counts the IP bytes of both directions.

    Each request has a number, `re`, which the agent repeats in its answer, so that an answer to an
    abandoned request is not taken for the next one.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._number = self._given_up = 0
        self.bytes = 0

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises `ChannelClosed`."""
        self._number += 1
        message = {**message, "re": self._number}
        self.bytes += _ip_bytes(message)
        await self._channel.send(message)

    async def receive(self) -> dict[str, Any]:
        """The next answer to a request that was not abandoned; raises `ChannelClosed`."""
        while True:
            message = await self._channel.receive()
            self.bytes += _ip_bytes(message)
            number = message.get("re")  # agents before version 2 repeat none
            if type(number) is not int or number > self._given_up:
                return message

    def give_up(self) -> None:
        """Ignore answers to all requests sent so far."""
        self._given_up = self._number

    async def close(self) -> None:
        """End the agent's half; idempotent."""
        await self._channel.close()


def _ip_bytes(message: Mapping[str, Any]) -> int:
    return len(json.dumps(message, separators=(",", ":"))) + OVERHEAD_BYTES
