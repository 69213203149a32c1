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
    """Forwards to another channel; `bytes` counts the IP bytes of both directions."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.bytes = 0

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises `ChannelClosed`."""
        self.bytes += _ip_bytes(message)
        await self._channel.send(message)

    async def receive(self) -> dict[str, Any]:
        """The next message; raises `ChannelClosed`."""
        message = await self._channel.receive()
        self.bytes += _ip_bytes(message)
        return message

    async def close(self) -> None:
        """End the agent's half; idempotent."""
        await self._channel.close()


def _ip_bytes(message: Mapping[str, Any]) -> int:
    return len(json.dumps(message, separators=(",", ":"))) + OVERHEAD_BYTES
