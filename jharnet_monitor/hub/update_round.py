"""The hub's half of one round of an update: sends parts of a release to an agent, rate-limited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.handover.releases import Published
from jharnet_monitor.probes.base import AgentLink, Channel, ChannelClosed

TASK = "update"
"""The name of the agent task; agents that can update themselves announce it."""
PIECE_BYTES = 90_000
"""A line of 2 Mbit/s carries this in 0.4 s. The least `updates.budget` allows one in a day."""
ANSWER_SECONDS = 150.0
"""How long an agent may take for a piece."""
INSTALL_SECONDS = 1000.0
_STATES = {"fetching": "fetching", "installing": "installing", "restarting": "trial",
           "refused": "refused"}  # fmt: skip


def on_the_line(amount: int) -> int:
    """Bytes on the line for so many bytes of a wheel, with the headers of HTTP, TLS and TCP."""
    return int(amount * 1.08) + 1500


def _state(message: Mapping[str, Any]) -> str | None:
    """The office's state after an agent's message; None for a message that is not known."""
    if message.get("state") == "refused" and message.get("fits") is False:
        return "unable"
    return _STATES.get(str(message.get("state")))


class UpdateRound:
    """One round. Calls `may_go_on` before each piece, and `charge` with its bytes on the line."""

    def __init__(
        self,
        link: AgentLink,
        published: Published,
        rate: float,
        clock: Clock,
        may_go_on: Callable[[], bool],
        charge: Callable[[int], Awaitable[None]],
    ) -> None:
        self._link = link
        self._published = published
        self._rate = rate
        self._clock = clock
        self._may_go_on = may_go_on
        self._charge = charge
        self._busy_until = clock.monotonic()
        self.bytes_sent = 0
        self.why = ""
        """Why the agent refused, once it did."""

    async def run(self, params: Mapping[str, Any]) -> AsyncIterator[str]:
        """Serve the agent until it has everything or must stop; yields each new state. The last
        one is `trial`, `refused`, or `unable` if the release is not for the agent's machine.

        Raises `ChannelClosed` if the agent disconnects, and `TimeoutError` if it does not answer.
        """
        channel = await self._link.open(TASK, params)
        limit = ANSWER_SECONDS
        try:
            while True:
                async with asyncio.timeout(limit):
                    message = await channel.receive()
                if "piece" in message:
                    if not self._may_go_on():
                        return
                    await self._send(channel, message)
                elif (state := _state(message)) is not None:
                    why = str(message.get("why", ""))[:200]
                    self.why = why if why.isprintable() else ""
                    yield state
                    if state in ("trial", "refused", "unable"):
                        return
                    limit = INSTALL_SECONDS if state == "installing" else ANSWER_SECONDS
                else:
                    raise ChannelClosed("the agent sent a message that this hub does not know")
        finally:
            await channel.close()

    async def _send(self, channel: Channel, message: Mapping[str, Any]) -> None:
        """Offer the requested piece, once the rate allows it after the previous pieces."""
        name, offset = message.get("piece"), message.get("offset")
        wheel = self._published.release.wheels.get(str(name))
        if wheel is None or not isinstance(offset, int) or not 0 <= offset < wheel.size:
            raise ChannelClosed("the agent requested data that is not in the release")
        now = self._clock.monotonic()
        await self._clock.sleep(max(0.0, self._busy_until - now))
        data = await asyncio.to_thread(self._published.piece, str(name), offset, PIECE_BYTES)
        amount = on_the_line(len(data))
        self._busy_until = self._clock.monotonic() + amount * 8 / self._rate
        await self._charge(amount)
        self.bytes_sent += amount

        async def serve(request: web.Request) -> web.StreamResponse:
            return web.Response(body=data, content_type="application/octet-stream")

        await channel.send({"path": self._link.serve_transfer(serve), "bytes": len(data)})
