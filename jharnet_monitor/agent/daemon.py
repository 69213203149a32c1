"""The agent at a block office: dials out to the hub, answers probes, never loses a result.

It measures its own view of the link (echo requests to its gateway and to the hub) whether or not
the hub can be reached, keeps everything in its spool, and hands it in when it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from jharnet_monitor import __version__
from jharnet_monitor.agent import machine as host
from jharnet_monitor.agent.self_monitor import SelfMonitor
from jharnet_monitor.agent.spool import Spool
from jharnet_monitor.clock import Clock
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes import AGENT_TASKS
from jharnet_monitor.probes.bandwidth.tcp import line_socket
from jharnet_monitor.probes.base import AgentContext, ChannelClosed
from jharnet_monitor.rtc.call import warm_up
from jharnet_monitor.rtc.codecs import CODECS
from jharnet_monitor.wire.connect_errors import certificate_fault, certificate_remedy, why
from jharnet_monitor.wire.protocol import (
    HEARTBEAT_SECONDS,
    MAX_BATCH,
    MAX_FRAME_BYTES,
    PROTOCOL,
    SILENCE_SECONDS,
    AgentTasks,
    Channels,
    ProtocolError,
    decode,
)

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 15.0


class RefusedError(Exception):
    """The hub does not accept this agent: wrong token, or an office it does not know."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How an agent is started. `hub` is the WebSocket address, `wss://host:9797/agent`."""

    hub: str
    office: str
    token: str
    spool: Path
    ca: Path | None = None

    @property
    def base(self) -> str:
        """The hub's HTTP address, for transfers."""
        parts = urlsplit(self.hub)
        return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"

    @property
    def hub_host(self) -> str:
        """Name or address of the hub."""
        return urlsplit(self.hub).hostname or ""

    def tls(self) -> ssl.SSLContext | bool:
        """What to trust: the named CA, or the system's."""
        if not self.hub.startswith("wss:"):
            return False
        return ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))


class Agent:
    """One agent; `run` until cancelled or `stop`."""

    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.spool = Spool(settings.spool)
        self._stopping = asyncio.Event()
        self._handed_in = asyncio.Event()
        self._new = asyncio.Event()
        self._told: set[str] = set()
        """Why the hub was not reached, of what the log has since the last session."""
        self._watch = SelfMonitor(settings.office, settings.hub_host, clock, self.record)

    def stop(self) -> None:
        """Say goodbye and end."""
        self._watch.stopped()
        self._stopping.set()

    def record(self, measurement: Measurement) -> None:
        """Keep a measurement of the agent's own until the hub has it."""
        self.spool.put(measurement)
        self._new.set()

    async def run(self) -> None:
        """Stay connected; raises `RefusedError` only at the very first refusal.

        A refusal later on (the engineer is changing tokens) is retried as an outage is.
        """
        watching = asyncio.create_task(self._watch.run(), name="watch")
        warm_up(*CODECS)
        try:
            await self._stay_connected()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self.spool.close()

    async def _stay_connected(self) -> None:
        retry, ever = FIRST_RETRY_SECONDS, False
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        headers = {"Authorization": f"Bearer {self._settings.token}"}
        connector = aiohttp.TCPConnector(
            ssl=self._settings.tls(), limit=8, socket_factory=line_socket
        )
        async with aiohttp.ClientSession(
            timeout=timeout, headers=headers, connector=connector
        ) as http:
            while not self._stopping.is_set():
                try:
                    started = self._clock.monotonic()
                    await self._session(http)
                    ever = True
                    if self._clock.monotonic() - started > LAST_RETRY_SECONDS:
                        retry = FIRST_RETRY_SECONDS
                except RefusedError as error:
                    if not ever:
                        raise
                    log.warning("%s", error)
                except (aiohttp.ClientError, OSError, ChannelClosed, TimeoutError) as error:
                    self._tell_why(error)
                except ProtocolError as error:
                    log.warning("the hub broke the protocol: %s", error)
                await self._pause(retry * random.uniform(0.5, 1.0))
                retry = min(retry * 2, LAST_RETRY_SECONDS)

    def _tell_why(self, error: Exception) -> None:
        """Log why the hub was not reached, each cause once; what a person must mend as WARNING."""
        level, cause = logging.INFO, why(error)
        fault = certificate_fault(error)
        if fault is not None:
            remedy = certificate_remedy(fault, self._settings.ca)
            level = logging.WARNING
            cause = f"its certificate is not trusted ({fault.verify_message}): {remedy}"
        if cause not in self._told:
            self._told.add(cause)
            log.log(level, "hub not reached, trying on: %s", cause)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _session(self, http: aiohttp.ClientSession) -> None:
        try:
            socket = await http.ws_connect(
                self._settings.hub,
                params={"office": self._settings.office},
                max_msg_size=MAX_FRAME_BYTES,
                autoclose=True,
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status in (401, 403, 404):
                raise RefusedError(
                    f"the hub refused this agent for office {self._settings.office} "
                    f"(HTTP {error.status}): check --office and the token; "
                    "`jharnet-monitor token OFFICE` on the hub makes a new one"
                ) from error
            raise
        async with socket:
            await self._converse(socket, http)

    async def _converse(
        self, socket: aiohttp.ClientWebSocketResponse, http: aiohttp.ClientSession
    ) -> None:
        channels = Channels(socket)
        context = AgentContext(self._settings.office, self._clock, self._settings.base, http)
        heavy = {name: self._watch.beside(side) for name, side in AGENT_TASKS.items()}
        sides = AgentTasks(heavy, channels, context)
        await channels.send(self._hello())
        self._watch.hub_reached(True)
        self._told.clear()
        log.info("connected to the hub as %s", self._settings.office)
        workers = [
            asyncio.create_task(self._heartbeats(channels)),
            asyncio.create_task(self._hand_in(channels)),
            asyncio.create_task(self._leave_when_stopped(socket, channels)),
        ]
        try:
            await self._listen(socket, channels, sides)
        finally:
            for worker in workers:
                worker.cancel()
            channels.end("session lost")
            self._watch.hub_reached(False)
            await sides.stop()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _listen(
        self, socket: aiohttp.ClientWebSocketResponse, channels: Channels, sides: AgentTasks
    ) -> None:
        while True:
            message = await socket.receive(timeout=SILENCE_SECONDS)
            if message.type is not aiohttp.WSMsgType.TEXT:
                if not self._stopping.is_set():
                    log.info("session ended by the hub (%s)", socket.close_code)
                return
            frame = decode(message.data)
            if channels.take(frame):
                continue
            if frame["type"] == "open":
                await sides.open(frame)
            elif frame["type"] == "ack":
                self._acknowledged(frame)

    def _acknowledged(self, frame: Mapping[str, Any]) -> None:
        for refusal in frame.get("refused", []):
            log.error("the hub refused a measurement: %s", refusal)
        ids = [str(i) for i in frame.get("ids", [])]
        ids += [str(r.get("id")) for r in frame.get("refused", [])]
        self.spool.drop(ids)
        self._handed_in.set()

    def _hello(self) -> dict[str, Any]:
        return {
            "type": "hello",
            "protocol": PROTOCOL,
            "version": __version__,
            "features": sorted(AGENT_TASKS),
            **self._vitals(),
        }

    def _vitals(self) -> dict[str, Any]:
        return {
            "boot_id": host.boot_id(),
            "uptime_seconds": round(host.uptime(), 1),
            "spooled": len(self.spool),
        }

    async def _heartbeats(self, channels: Channels) -> None:
        while True:
            await channels.send({"type": "heartbeat", **self._vitals()})
            await self._clock.sleep(HEARTBEAT_SECONDS)

    async def _hand_in(self, channels: Channels) -> None:
        while True:
            batch = self.spool.peek(MAX_BATCH)
            if not batch:
                self._new.clear()
                await self._new.wait()
                continue
            self._handed_in.clear()
            await channels.send({"type": "measurements", "items": [m.to_json() for m in batch]})
            await self._handed_in.wait()

    async def _leave_when_stopped(
        self, socket: aiohttp.ClientWebSocketResponse, channels: Channels
    ) -> None:
        await self._stopping.wait()
        with contextlib.suppress(ChannelClosed):
            await channels.send({"type": "goodbye", "boot_id": host.boot_id()})
        await socket.close()
