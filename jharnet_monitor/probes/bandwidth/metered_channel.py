"""A channel that knows what its messages put on the line, for the byte budget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jharnet_monitor.probes.base import Channel

WRAPPING_BYTES = 250
"""With every message: its frame in the session, WebSocket and TLS, the headers of IP and TCP, the
acknowledgement that it brings on the way back, and its share of what a full queue makes TCP repeat;
as the lab counts it."""


class MeteredChannel:
    """Passes everything on to another channel; `bytes` is what went both ways, as IP counts it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.bytes = 0

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message; raises `ChannelClosed`."""
        self.bytes += _on_the_line(message)
        await self._channel.send(message)

    async def receive(self) -> dict[str, Any]:
        """The next message; raises `ChannelClosed`."""
        message = await self._channel.receive()
        self.bytes += _on_the_line(message)
        return message

    async def close(self) -> None:
        """End the far half; idempotent."""
        await self._channel.close()


def _on_the_line(message: Mapping[str, Any]) -> int:
    return len(json.dumps(message, separators=(",", ":"))) + WRAPPING_BYTES
