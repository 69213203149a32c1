"""The always-on half of the hub: latency without a break, agents coming and going, states."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.agent_connection import Vitals
from jharnet_monitor.hub.journal import Journal
from jharnet_monitor.hub.outage_attribution import HUB, OutageAttribution
from jharnet_monitor.hub.outage_reviews import Reviews
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.state_tracker import StateTracker
from jharnet_monitor.live import Live
from jharnet_monitor.model import OfficeState
from jharnet_monitor.probes.base import measurement_of
from jharnet_monitor.probes.latency.icmp import PingNotAllowed
from jharnet_monitor.probes.latency.monitor import LatencyMonitor
from jharnet_monitor.probes.latency.target import Reachability
from jharnet_monitor.probes.latency.window import LatencySummary
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
SPOOL_SECONDS = 900.0
"""How long after an outage an agent may still be handing in what it recorded."""
ROUTER_PAUSES = (1.0, 5.0, 10.0, 20.0)
"""Before each time that a router which came back is asked; the cause is to be told in a minute."""


class OfficeMonitor:
    """Watches every office while `run` runs, and keeps the live state and the diary true."""

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        live: Live,
        recorder: Recorder,
        store: Store,
        runner: Runner,
    ) -> None:
        self._current = current
        self._clock = clock
        self._live = live
        self._recorder = recorder
        self._event_log = store.event_log
        self._runner = runner
        self._notes = Journal(store, clock, live.hub)
        self._outage_attribution = OutageAttribution(current, clock, store)
        self._reviews = Reviews(self._outage_attribution, live, clock)
        self._uplink: bool | None = None
        self._returned: dict[str, float] = {}
        self._states = StateTracker(current, clock)
        self._monitor = self._new_monitor()
        self._restart = asyncio.Event()
        self._pending: set[asyncio.Task[None]] = set()
        current.on_replace(self.reload)

    async def restore(self) -> None:
        """Go on from what was known before the hub's last stop."""
        await self._notes.started(list(self._live.offices))
        for office, live in self._live.offices.items():
            last = await self._notes.last_of_agent(office)
            self._states.restore(office, goodbye=last == "goodbye", ever=last is not None)
            live.agent.said_goodbye = last == "goodbye"
            live.last_outage = await asyncio.to_thread(self._outage_attribution.review, office)

    async def run(self) -> None:
        """Watch until cancelled; what was measured by then is still recorded."""
        ticking = asyncio.create_task(self._tick_for_ever(), name="tick")
        try:
            while True:
                await self._measure_until_restart()
        finally:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            await asyncio.gather(*self._pending, return_exceptions=True)

    async def _measure_until_restart(self) -> None:
        """Run one latency monitor; a reload replaces it by another."""
        monitor = self._monitor
        self._states.can_ping = True
        measuring = asyncio.create_task(monitor.run(), name="latency")
        restart = asyncio.create_task(self._restart.wait())
        try:
            await asyncio.wait({measuring, restart}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            restart.cancel()
            measuring.cancel()
            [error] = await asyncio.gather(measuring, return_exceptions=True)
            await monitor.flush()
        if isinstance(error, BaseException) and not isinstance(error, asyncio.CancelledError):
            self._cannot_ping(error)
            await self._restart.wait()
        self._restart.clear()

    def _cannot_ping(self, error: BaseException) -> None:
        """Without the right to ping the hub does the rest of its work, and says so.

        Offices whose agent is not connected are then `monitor_down`.
        """
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, PingNotAllowed):
            raise error
        self._states.can_ping = False
        log.error("no latency is measured: %s", error)

    def reload(self) -> None:
        """Go on measuring by the configuration now in force; its offices are the same."""
        self._monitor = self._new_monitor()
        self._restart.set()

    def _new_monitor(self) -> LatencyMonitor:
        return LatencyMonitor(
            self._current.config, self._clock, on_fold=self._folded, on_reachability=self._reached
        )

    # --- what the latency monitor tells

    def _folded(self, fold: LatencySummary) -> None:
        measurement = measurement_of(
            fold.office, "latency", fold.outcome, fold.started_at, fold.duration
        )
        measurement = self._runner.active_tests.annotate(measurement, fold.begun)
        histogram = self._live.offices[fold.office].rtt_buckets
        for rtt in fold.rtts:
            histogram.observe(rtt)
        self._soon(self._recorder.record(measurement))

    def _reached(self, change: Reachability) -> None:
        office, role, answers = change.target.office, change.target.role, change.answers
        if office is not None:
            seen = self._states.offices[office]
            if role == "router":
                seen.router, seen.router_since = answers, self._clock.monotonic()
            else:
                seen.pc = answers
            fact = {"role": role, "answers": answers}
            self._soon(self._notes.event(office, "reached", fact, change.since))
        self._soon(self._judge())

    # --- what agents tell

    async def agent_joined(self, office: str, vitals: Vitals) -> None:
        """An agent said hello."""
        seen = self._states.offices[office]
        seen.ever, seen.back, seen.goodbye = True, True, False
        agent = self._live.offices[office].agent
        agent.connected, agent.said_goodbye, agent.version = True, False, vitals.version
        self._take_vitals(office, vitals)
        await self._notes.event(office, "joined", asdict(vitals))
        self._reviews.ask(office)
        await self._judge()

    async def agent_heard(self, office: str, vitals: Vitals) -> None:
        """An agent's heartbeat."""
        self._take_vitals(office, vitals)

    async def agent_left(self, office: str, goodbye: bool) -> None:
        """An agent's session ended, with or without a goodbye."""
        seen = self._states.offices[office]
        seen.heard_at, seen.goodbye = None, goodbye
        agent = self._live.offices[office].agent
        agent.connected, agent.said_goodbye = False, goodbye
        kind = "goodbye" if goodbye else "left"
        await self._notes.event(office, kind, {"boot_id": agent.boot_id}, agent.last_heard)
        await self._judge()

    def agent_handed_in(self, office: str) -> None:
        """An agent's own record came in: after an outage it may tell what that was."""
        returned = self._returned.get(office)
        if returned is not None and self._clock.monotonic() - returned < SPOOL_SECONDS:
            self._reviews.ask(office)

    def _take_vitals(self, office: str, vitals: Vitals) -> None:
        self._states.offices[office].heard_at = self._clock.monotonic()
        agent = self._live.offices[office].agent
        agent.boot_id, agent.spooled = vitals.boot_id, vitals.spooled
        agent.last_heard = self._live.offices[office].last_seen = self._clock.now()

    # --- states

    async def _tick_for_ever(self) -> None:
        while True:
            await self._clock.sleep(TICK_SECONDS)
            self._recorder.turn_the_day()
            await self._look_for_windows()
            await self._judge()
            await self._notes.beat()
            await self._reviews.tick()

    async def _look_for_windows(self) -> None:
        now = self._clock.now()
        windows = await asyncio.to_thread(
            self._event_log.windows, now, now + timedelta(milliseconds=1)
        )
        offices = frozenset(self._live.offices)
        named = {w.office for w in windows if w.office is not None}
        everywhere = any(w.office is None for w in windows)
        self._states.planned = offices if everywhere else frozenset(named & offices)

    async def _judge(self) -> None:
        """Let what follows from the evidence become the live state, and keep every change."""
        now = self._clock.now()
        self._states.uplink_seen = self._monitor.uplink()
        self._live.uplink_up = self._states.uplink()
        if self._uplink is not self._live.uplink_up:
            self._uplink = self._live.uplink_up
            await self._notes.event(HUB, "uplink", {"works": self._uplink})
        for office, seen in self._states.offices.items():
            live = self._live.offices[office]
            live.running = self._runner.active_tests.running(office)
            if seen.router or seen.pc or self._states.hears(seen):
                live.last_seen = now
        for change in list(self._states.changes()):
            before = self._live.offices[change.office].state
            self._live.set_state(change.office, change.state, change.at)
            if change.state is OfficeState.UNKNOWN and change.first:
                continue  # at the start nothing is known yet, which is no news
            log.info("%s is %s", change.office, change.state.value)
            await self._notes.change(change)
            if before is OfficeState.UNREACHABLE:
                self._returned[change.office] = self._clock.monotonic()
                self._reviews.ask(change.office)
                if self._current.config.office(change.office).snmp is not None:
                    self._soon(self._ask_router(change.office))

    async def _ask_router(self, office: str) -> None:
        """After an outage: how long the router has been running tells line from power."""
        for seconds in ROUTER_PAUSES:
            await self._clock.sleep(seconds)  # it may answer echo requests before it answers SNMP
            told = await self._runner.run(office, "utilisation")
            if "router_uptime_seconds" in told.values:
                self._reviews.ask(office)
                return

    def _soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do it on the loop, without losing it or its error."""
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the watch failed in itself", exc_info=task.exception())
