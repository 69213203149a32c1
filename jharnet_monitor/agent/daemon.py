"""The agent at a block office: dials out to the hub, answers probes, never loses a result.

It pings its own gateway and the hub continuously, even while the hub cannot be reached. Results
wait in the spool until the hub has stored them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import aiohttp

from jharnet_monitor import __version__
from jharnet_monitor.agent import machine
from jharnet_monitor.agent.launch import can_update, is_watched, versions_in
from jharnet_monitor.agent.self_monitor import SelfMonitor
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.agent.spool import Spool
from jharnet_monitor.agent.task_process import in_own_process, prepare
from jharnet_monitor.agent.updater import TASK, Updater
from jharnet_monitor.agent.versions import LASTING_SECONDS
from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import StoreError
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.agent_tasks import (
    AGENT_TASKS,
    LIGHT_TASKS,
    OWN_PROCESS_TASKS,
    load_agent_tasks,
)
from jharnet_monitor.probes.bandwidth.tcp_connection import tcp_socket
from jharnet_monitor.probes.base import AgentContext, AgentTask, ChannelClosed
from jharnet_monitor.rtc.codecs import CODECS, DEFAULT_CODEC, Codec
from jharnet_monitor.supervisor import PartStatus, Supervisor
from jharnet_monitor.wire.connect_errors import (
    certificate_fault,
    certificate_remedy,
    describe_error,
)
from jharnet_monitor.wire.protocol import (
    HEARTBEAT_SECONDS,
    MAX_BATCH,
    MAX_FRAME_BYTES,
    PROTOCOL,
    AgentTasks,
    Channels,
    ProtocolError,
    decode,
    receive,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 15.0
CONNECT_SECONDS = 30.0
"""Time for the hub to open a session. Its answer may have been lost in an outage after which it
sends nothing more, and TCP would wait for it for ever."""
LONGEST_PROOF_SECONDS = 60.0
"""The longest session that a version on trial needs before it is kept."""


class RefusedError(Exception):
    """The hub refuses this agent: wrong token, or an unknown office."""


class Agent:
    """One agent; `run` until `stop` or until cancelled."""

    def __init__(self, settings: AgentSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.spool = Spool(settings.spool)
        self._disk = ThreadPoolExecutor(1, "spool")
        """For the spool only, so that a slow disk blocks no probe."""
        self._spooled = 0
        self._stopping = asyncio.Event()
        self._connecting: asyncio.Timeout | None = None
        """The time limit for the hub's answer, while it is awaited."""
        self._new = asyncio.Event()
        self._welcomed = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self._ever_connected = False
        self._connected_at: float | None = None
        """When the session began, monotonic; None if the hub was not reached."""
        self._logged_causes: set[str] = set()
        """Causes for which the hub was not reached since the last session; each is logged once."""
        self._hub_version = ""
        self._spool_error = ""
        """The spool's last error, until it can be written again."""
        self.restart_wanted = False
        """Set when an update is installed: the active version must replace this process."""
        self._self_monitor = SelfMonitor(settings.office, settings.hub_host, clock, self.record)
        self._updater = self._make_updater(settings)
        self._count_spooled()

    def _make_updater(self, settings: AgentSettings) -> Updater | None:
        if settings.release_key is None or settings.updates is None or not can_update():
            return None
        return Updater(
            versions_in(settings.updates), settings.release_key, self._restart,
            self._self_monitor.load,
        )  # fmt: skip

    def _restart(self) -> None:
        self.restart_wanted = True
        self.stop()

    def stop(self) -> None:
        """Say goodbye to the hub and end `run`."""
        self._self_monitor.stopping()
        self._stopping.set()
        if self._connecting is not None:
            with contextlib.suppress(RuntimeError):  # its time is over already
                self._connecting.reschedule(0.0)

    def record(self, measurement: Measurement) -> None:
        """Keep a measurement of the agent's own until the hub has it; never raises."""
        submitted = self._disk.submit(self._keep, measurement)
        loop = asyncio.get_running_loop()
        submitted.add_done_callback(lambda _: loop.call_soon_threadsafe(self._new.set))

    def _keep(self, measurement: Measurement) -> None:
        """Add it to the spool; runs in the spool's thread."""
        try:
            self.spool.put(measurement)
        except StoreError as error:
            self._log_spool_error(error)
        else:
            self._spool_error = ""
        self._count_spooled()

    def _count_spooled(self) -> None:
        with contextlib.suppress(StoreError):
            self._spooled = len(self.spool)

    async def _in_spool(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run in the spool's thread, after what was recorded before; raises `StoreError`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._disk, partial(work, *arguments))

    def _log_spool_error(self, error: StoreError) -> None:
        if str(error) != self._spool_error:
            log.error("the spool cannot be used; measuring continues: %s", error)
        self._spool_error = str(error)

    async def run(self) -> None:
        """Stay connected until stopped.

        Raises `RefusedError` only before the first session. A later refusal (somebody is changing
        the tokens) is retried like any other failure.
        """
        load_agent_tasks()
        parts = Supervisor(self._clock, PartStatus(), FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS)
        parts.start("the self-monitor", self._self_monitor.run)
        self._prepare(DEFAULT_CODEC)
        if self._updater is not None:
            self._in_background(self._forget_starts(self._updater), "forget starts")
        try:
            await self._stay_connected()
        finally:
            for task in self._background:
                task.cancel()
            await asyncio.gather(parts.stop(), *self._background, return_exceptions=True)
            await self._in_spool(self.spool.close)
            self._disk.shutdown(wait=False)

    def _prepare(self, codec: Codec) -> None:
        """Make the clips of a codec in the background, so that the first call need not wait."""
        self._in_background(prepare(codec), f"prepare {codec}")

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _forget_starts(self, updater: Updater) -> None:
        await self._clock.sleep(LASTING_SECONDS)
        try:
            await updater.forget_starts()
        except OSError as error:
            log.warning("it cannot be noted that this version lasts: %s", error)

    async def _stay_connected(self) -> None:
        retry = FIRST_RETRY_SECONDS
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        headers = {"Authorization": f"Bearer {self._settings.token}"}
        connector = aiohttp.TCPConnector(
            ssl=self._settings.tls(), limit=8, socket_factory=tcp_socket
        )
        async with aiohttp.ClientSession(
            timeout=timeout, headers=headers, connector=connector
        ) as http:
            while not self._stopping.is_set():
                self._connected_at = None
                try:
                    await self._session(http)
                except RefusedError as error:
                    if not self._ever_connected:
                        raise
                    log.warning("%s", error)
                except (aiohttp.ClientError, OSError, ChannelClosed, TimeoutError) as error:
                    if not self._stopping.is_set():  # a stop ends the wait for an answer
                        self._log_unreachable(error)
                except StoreError as error:
                    self._log_spool_error(error)
                except ProtocolError as error:
                    log.warning("the hub violated the protocol: %s", error)
                except Exception:  # measuring and handing in must go on
                    log.exception("unexpected error in the session")
                if self._has_lasted():  # most sessions end with an error: the line was cut
                    retry = FIRST_RETRY_SECONDS
                await self._pause(retry * random.uniform(0.5, 1.0))
                retry = min(retry * 2, LAST_RETRY_SECONDS)

    def _has_lasted(self) -> bool:
        """Whether the last session, if there was one, lasted: the hub need not be spared."""
        began = self._connected_at
        return began is not None and self._clock.monotonic() - began > LAST_RETRY_SECONDS

    def _log_unreachable(self, error: Exception) -> None:
        """Log why the hub was not reached, each cause once; as a WARNING if a person has to act."""
        level, cause = logging.INFO, describe_error(error)
        fault = certificate_fault(error)
        if fault is not None:
            remedy = certificate_remedy(fault, self._settings.ca)
            level = logging.WARNING
            cause = f"its certificate is not trusted ({fault.verify_message}): {remedy}"
        if cause not in self._logged_causes:
            self._logged_causes.add(cause)
            log.log(level, "cannot reach the hub, retrying: %s", cause)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _session(self, http: aiohttp.ClientSession) -> None:
        try:
            socket = await self._connect(http)
        except aiohttp.WSServerHandshakeError as error:
            if error.status in (401, 403, 404):
                raise RefusedError(
                    f"the hub refused this agent for office {self._settings.office} "
                    f"(HTTP {error.status}): check --office and the token; "
                    "`jharnet-monitor token OFFICE` on the hub makes a new one"
                ) from error
            raise
        self._ever_connected, self._connected_at = True, self._clock.monotonic()
        async with socket:
            await self._converse(socket, http)

    async def _connect(self, http: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
        """Ask the hub for a session; raises `TimeoutError` after `CONNECT_SECONDS` or a stop."""
        async with asyncio.timeout(CONNECT_SECONDS) as limit:
            self._connecting = limit
            try:
                return await http.ws_connect(
                    self._settings.hub,
                    params={"office": self._settings.office},
                    max_msg_size=MAX_FRAME_BYTES,
                    autoclose=True,
                )
            finally:
                self._connecting = None

    async def _converse(
        self, socket: aiohttp.ClientWebSocketResponse, http: aiohttp.ClientSession
    ) -> None:
        channels = Channels(socket)
        context = AgentContext(self._settings.office, self._clock, self._settings.base, http)
        tasks = AgentTasks(self._known_tasks(), channels, context)
        acknowledged: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._welcomed.clear()
        await channels.send(self._hello())
        self._self_monitor.hub_reached(True)
        self._logged_causes.clear()
        log.info("connected to the hub as %s", self._settings.office)
        workers = [
            asyncio.create_task(self._send_heartbeats(channels)),
            asyncio.create_task(self._hand_in(channels, acknowledged)),
            asyncio.create_task(self._leave_when_stopped(socket, channels)),
        ]
        receiving = asyncio.create_task(self._receive(socket, channels, tasks, acknowledged))
        workers.append(receiving)
        confirming = asyncio.create_task(self._confirm_trial(channels, tasks))
        try:
            # A worker that ends, with or without an error, ends the session.
            ended, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            if workers[2] in ended:  # it said goodbye
                await asyncio.wait([receiving])
            for worker in ended:
                worker.result()
        finally:
            for worker in (*workers, confirming):
                worker.cancel()
            channels.end("session lost")
            self._self_monitor.hub_reached(False)
            await tasks.stop()
            await asyncio.gather(*workers, confirming, return_exceptions=True)

    def _known_tasks(self) -> dict[str, AgentTask]:
        known = {name: self._agent_task(name) for name in AGENT_TASKS}
        if self._updater is not None:
            known[TASK] = self._self_monitor.marks_load(self._updater.task)
        return known

    async def _confirm_trial(self, channels: Channels, tasks: AgentTasks) -> None:
        """Keep a version on trial once a session has lasted for a part of the trial's time.

        Then start it again when no task runs, because its monitor stays in memory until its end.
        """
        if self._updater is None:
            return
        seconds = self._updater.trial_seconds()
        await self._welcomed.wait()
        if seconds is not None:
            await self._clock.sleep(min(seconds / 4, LONGEST_PROOF_SECONDS))
            try:
                await self._updater.confirm()
            except OSError as error:
                log.error("this version could not be confirmed: %s", error)
            with contextlib.suppress(ChannelClosed):
                await channels.send({"type": "heartbeat", **self._vitals()})
        if is_watched() and self._updater.trial_seconds() is None:
            await tasks.idle()
            self._restart()

    def _agent_task(self, name: str) -> AgentTask:
        """The agent's half of a probe, in its own process if needed; unless light, it marks
        disturbed measurements."""
        task = in_own_process(name) if name in OWN_PROCESS_TASKS else AGENT_TASKS[name]
        return task if name in LIGHT_TASKS else self._self_monitor.marks_load(task)

    async def _receive(
        self,
        socket: aiohttp.ClientWebSocketResponse,
        channels: Channels,
        tasks: AgentTasks,
        acknowledged: asyncio.Queue[Mapping[str, Any]],
    ) -> None:
        """Handle every frame from the hub until the session ends."""
        while True:
            message = await receive(socket, channels.silence_seconds)
            if message.type is not aiohttp.WSMsgType.TEXT:
                if not self._stopping.is_set():
                    reason = message.extra or socket.close_code
                    log.warning("session ended by the hub (%s)", reason)
                return
            frame = decode(message.data)
            if channels.take(frame, len(message.data)):
                continue
            if frame["type"] == "open":
                await tasks.start(frame)
            elif frame["type"] == "ack":
                acknowledged.put_nowait(frame)
            elif frame["type"] == "welcome":
                self._hub_version = str(frame.get("version", ""))
                self._welcomed.set()
                codec = frame.get("codec")
                if codec in CODECS and codec != DEFAULT_CODEC:
                    self._prepare(codec)
                await self._retry_refused()

    async def _retry_refused(self) -> None:
        """Hand in again what a hub of another version refused, if the disk allows it now."""
        try:
            await self._in_spool(self.spool.retry, self._hub_version)
        except StoreError as error:
            self._log_spool_error(error)
        self._new.set()

    def _hello(self) -> dict[str, Any]:
        return {
            "type": "hello",
            "protocol": PROTOCOL,
            "version": __version__,
            "features": sorted(self._known_tasks()),
            **self._vitals(),
        }

    def _vitals(self) -> dict[str, Any]:
        update = None if self._updater is None else self._updater.report
        return {
            **({} if update is None else {"update": update}),
            "boot_id": machine.boot_id(),
            "uptime_seconds": round(machine.uptime(), 1),
            "spooled": self._spooled,
            "dropped": self.spool.dropped,
            "now": round(self._clock.now().timestamp(), 3),
        }

    async def _send_heartbeats(self, channels: Channels) -> None:
        while True:
            await channels.send({"type": "heartbeat", **self._vitals()})
            await self._clock.sleep(HEARTBEAT_SECONDS)

    async def _hand_in(
        self, channels: Channels, acknowledged: asyncio.Queue[Mapping[str, Any]]
    ) -> None:
        """Send spooled measurements in batches, and delete those that the hub has stored. Refused
        ones are kept for a hub of another version, which may accept them.
        """
        while True:
            try:
                self._new.clear()  # before the reading: what is recorded meanwhile is read next
                batch = await self._in_spool(self.spool.peek, MAX_BATCH)
                if not batch:
                    await self._new.wait()
                    continue
                await channels.send({"type": "measurements", "items": [m.to_json() for m in batch]})
                answer = await acknowledged.get()
                names = [str(name) for name in answer.get("ids", [])]
                await self._in_spool(self.spool.drop, names)
                await self._keep_refused(answer.get("refused", []))
                await self._in_spool(self._count_spooled)
            except StoreError as error:
                self._log_spool_error(error)
                await self._clock.sleep(LAST_RETRY_SECONDS)

    async def _keep_refused(self, refused: list[Mapping[str, Any]]) -> None:
        for refusal in refused:
            log.error("the hub refused a measurement: %s", refusal)
        if refused:
            names = [str(refusal.get("id")) for refusal in refused]
            await self._in_spool(self.spool.set_aside, names, self._hub_version)

    async def _leave_when_stopped(
        self, socket: aiohttp.ClientWebSocketResponse, channels: Channels
    ) -> None:
        await self._stopping.wait()
        with contextlib.suppress(ChannelClosed):
            await channels.send({"type": "goodbye", "boot_id": machine.boot_id()})
        await socket.close()
