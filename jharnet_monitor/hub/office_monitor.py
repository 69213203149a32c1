"""Monitors every office: its latency, its agent and its live state."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.agent_server import AgentEvents
from jharnet_monitor.hub.journal import DEVICES_CHECKED, Journal
from jharnet_monitor.hub.outage_attribution import (
    ALL_OFFICES,
    OutageAttribution,
    ReviewSchedule,
)
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.records import EventRecord, Record, StateRecord
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.state_tracker import StateChange, StateTracker
from jharnet_monitor.hub.store_writer import RETRY_SECONDS, StoreWriter
from jharnet_monitor.judge.outages.history import StateHistory
from jharnet_monitor.judge.outages.observations import UplinkChange
from jharnet_monitor.live import DeviceCheck, Live
from jharnet_monitor.model import CountedIds, Measurement, OfficeState, format_utc
from jharnet_monitor.probes.base import measurement_of
from jharnet_monitor.probes.latency.icmp import PingNotAllowed
from jharnet_monitor.probes.latency.monitor import LatencyMonitor
from jharnet_monitor.probes.latency.target import Reachability
from jharnet_monitor.probes.latency.window import LatencySummary
from jharnet_monitor.store import StoreError, Window
from jharnet_monitor.supervisor import Supervisor
from jharnet_monitor.wire.intake import PROGRAM, Vitals

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
WINDOWS_AHEAD = timedelta(days=1)
"""How far ahead planned windows are read, for the time in which the database may fail."""
SPOOL_SECONDS = 900.0
"""How long after an outage an agent may still send what it recorded meanwhile."""
ROUTER_PAUSES = (1.0, 5.0, 10.0, 20.0)
"""Seconds before each request to a router that answers again: its uptime shows the outage's cause,
which must be known within a minute."""


class OfficeMonitor(AgentEvents):
    """Monitors every office while `run` runs, and keeps live state and journal up to date."""

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        live: Live,
        recorder: Recorder,
        writer: StoreWriter,
        runner: Runner,
    ) -> None:
        self._current = current
        self._clock = clock
        self._live = live
        self._recorder = recorder
        self._ids = CountedIds("hub.")
        self._writer = writer
        self._event_log = writer.store.event_log
        self._runner = runner
        self._journal = Journal(writer, clock)
        self._outage_attribution = OutageAttribution(current, clock, writer.store)
        self._reviews = ReviewSchedule(self._outage_attribution, live, clock)
        self._uplink: bool | None = None
        self._uplink_before: tuple[bool | None, datetime] | None = None
        """The last known state of the uplink, and since when."""
        self._back_since: dict[str, float] = {}
        self._histories = {office: StateHistory() for office in live.offices}
        self._tracker = StateTracker(current, clock)
        self._latency_monitor = self._new_latency_monitor()
        self._restart = asyncio.Event()
        self._start_noted = False
        self._ended = False
        self._windows: Sequence[Window] = ()
        self._pending: set[asyncio.Task[None]] = set()
        current.on_replace(self._restart_latency)

    async def restore(self) -> None:
        """Restore what was known when the hub stopped; raises `StoreError`."""
        await self.note_start()
        await self.restore_agents()

    async def note_start(self) -> None:
        """Journal the hub's start, before any later event; without a database it waits."""
        await self._journal.hub_started(list(self._live.offices))
        self._start_noted = True

    async def restore_agents(self) -> None:
        """Restore the state of agents and outages, unless newer evidence has arrived; raises
        `StoreError`.
        """
        uplink = await self._journal.uplink_since()
        self._uplink_before = None if uplink is None else (uplink.data["works"], uplink.at)
        offices = list(self._live.offices)
        seen = await self._journal.states_seen(offices)
        last_events = await self._journal.last_agent_events(offices)
        for office, live in self._live.offices.items():
            history = self._histories[office] = StateHistory()
            past = seen.get(office, ())
            for state, at in past:
                history.add(state, at)
            if live.since is not None and not (past and live.since < past[-1][1]):
                history.add(live.state, live.since)  # the database came late
            if history.outage_start is not None and any(
                state is OfficeState.PLANNED and at >= history.outage_start for state, at in past
            ):  # in which no state tells that it was over, and that it was counted
                answered = await self._journal.last_answer(office)
                if answered is not None and answered > history.outage_start:
                    history.answer(answered)
            live.outage_start = history.outage_start
            last = last_events.get(office)
            if not self._tracker.offices[office].returned:
                self._tracker.restore(office, goodbye=last == "goodbye",
                                      seen_before=last is not None)  # fmt: skip
                live.agent.signed_off = last == "goodbye"
            if live.agent.check is None:
                live.agent.check = await self._journal.last_device_check(office)
        await self._reviews.restore(offices)

    async def run(self) -> None:
        """Monitor until cancelled, then record what was measured by then. A part that fails is
        restarted and does not affect the others.
        """
        parts = Supervisor(self._clock, self._live.hub.parts)
        parts.start("latency", self._measure_forever)
        self.start_steps(parts)
        try:
            await parts.wait()
        finally:
            await parts.stop()
            await asyncio.gather(*self._pending, return_exceptions=True)

    def start_steps(self, parts: Supervisor) -> None:
        """Start the steps that run every second, each as a part of its own."""
        for name, step in (
            ("planned work", self._update_planned),
            ("office states", self._update_states),
            ("heartbeat", self._journal.heartbeat),
            ("outage reviews", self._reviews.run_due),
            ("waiting records", self._writer.write_later),
        ):
            seconds = RETRY_SECONDS if name == "waiting records" else TICK_SECONDS
            parts.start_every(name, seconds, step)

    async def end(self) -> None:
        """Stop deriving states, and note when. Sessions that a stop closes show nothing about
        their offices. A hub that could not start has monitored nothing, so it notes nothing."""
        self._ended = True
        if self._start_noted:
            await self._journal.heartbeat(last=True)

    def note_unwatched(self, seconds: float) -> None:
        """Record that the wall clock went ahead by these seconds, in which nothing was seen: the
        machine slept, or its clock was behind. They count like the time between two runs.
        """
        if not self._start_noted:  # the start itself ends what was not watched
            return
        now = self._clock.now()
        began = now - timedelta(seconds=seconds)
        evidence, records = {"until": format_utc(now)}, list[Record]()
        for office, history in self._histories.items():
            history.add(OfficeState.MONITOR_DOWN, began)
            records.append(StateRecord(office, OfficeState.MONITOR_DOWN, began, evidence))
        records.append(EventRecord(ALL_OFFICES, "hub_stopped", began, {}))
        records.append(EventRecord(ALL_OFFICES, "hub_started", now, {}))
        for office, seen in self._tracker.offices.items():
            for role, answers in (("router", seen.router), ("pc", seen.pc)):
                if answers is not None:
                    fact = {"role": role, "answers": answers}
                    records.append(EventRecord(office, "reached", now, fact))
            seen.silent = seen.last_frame_at is not None  # its next heartbeat is recorded
        self._start(self._writer.write(*records))
        self._uplink = None  # what is known still is recorded again
        self._tracker.forget_states()
        self._start(self._update_states())

    # --- latency

    async def _measure_forever(self) -> None:
        while True:
            await self._measure_until_restart()

    async def _measure_until_restart(self) -> None:
        """Run a latency monitor until a reload replaces it."""
        monitor = self._latency_monitor
        self._tracker.can_ping = True
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
        self._forget_addresses(monitor)

    def _cannot_ping(self, error: BaseException) -> None:
        """Continue without latency if the hub may not ping; raise any other error.

        Offices whose agent is not connected are then `monitor_down`.
        """
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, PingNotAllowed):
            raise error
        self._tracker.can_ping = False
        log.error("latency is not measured: %s", error)

    def _restart_latency(self) -> None:
        """Restart latency measurements with the configuration in force; its offices are the
        same."""
        self._latency_monitor = self._new_latency_monitor()
        self._restart.set()

    def _forget_addresses(self, before: LatencyMonitor) -> None:
        """Note that nothing is known of the addresses that only `before` pinged: no reply of an
        address that a reload removed or changed would ever be missed.
        """
        pinged = {(t.office, t.role, t.host) for t in self._latency_monitor.answers()}
        now = self._clock.now()
        for target in before.answers():
            if target.office is None or (target.office, target.role, target.host) in pinged:
                continue
            seen = self._tracker.offices[target.office]
            if (seen.router if target.role == "router" else seen.pc) is not None:
                self._note_reachability(Reachability(target, None, now, now))

    def _new_latency_monitor(self) -> LatencyMonitor:
        return LatencyMonitor(
            self._current.config, self._clock,
            on_summary=self._record_latency, on_reachability=self._note_reachability,
            on_echo=self._count_echo,
        )  # fmt: skip

    def _count_echo(self, office: str, answered: bool, rtt: float | None) -> None:
        self._live.offices[office].count_echo(answered, rtt)

    def _record_latency(self, summary: LatencySummary) -> None:
        measurement = measurement_of(
            summary.office, "latency", summary.result, summary.started_at, summary.duration
        )
        measurement = replace(measurement, id=self._ids(), round_trips=summary.round_trips)
        measurement = self._runner.active_tests.annotate(measurement, summary.started_monotonic)
        self._start(self._recorder.record(measurement))

    def _note_reachability(self, change: Reachability) -> None:
        office, role, answers = change.target.office, change.target.role, change.answers
        if office is not None:
            seen = self._tracker.offices[office]
            if role == "router":
                seen.router, seen.router_since = answers, self._clock.monotonic()
            else:
                seen.pc = answers
            fact = {"role": role, "answers": answers}
            self._start(self._journal.add_event(office, "reached", fact, change.since))
        self._start(self._update_states())

    # --- agents

    async def agent_connected(self, office: str, vitals: Vitals) -> None:
        """Note the agent's boot id, which may show the cause of an outage."""
        seen = self._tracker.offices[office]
        seen.seen_before, seen.returned, seen.goodbye, seen.silent = True, True, False, False
        agent = self._live.offices[office].agent
        agent.connected, agent.signed_off, agent.version = True, False, vitals.version
        agent.kind = vitals.kind
        self._update_vitals(office, vitals)
        await self._add_vitals(office, "joined", vitals)
        self._reviews.schedule_review(office)
        await self._update_states()

    async def agent_heartbeat(self, office: str, vitals: Vitals) -> None:
        """Update the agent's vitals; note its boot id if it had been silent."""
        seen = self._tracker.offices[office]
        heard_again, seen.silent = seen.silent, False
        self._update_vitals(office, vitals)
        if heard_again:  # in the background, because more frames of the session wait to be read
            self._start(self._add_vitals(office, "heard", vitals))
            self._reviews.schedule_review(office)

    async def agent_disconnected(self, office: str, goodbye: bool) -> None:
        """Note the end of the connection, with or without a goodbye, after its last heartbeat."""
        seen = self._tracker.offices[office]
        seen.last_frame_at, seen.goodbye, seen.silent = None, goodbye, False
        agent = self._live.offices[office].agent
        agent.connected, agent.signed_off = False, goodbye
        kind = "goodbye" if goodbye else "left"
        after = (agent.last_heard or self._clock.now()) + timedelta(milliseconds=1)
        await self._journal.add_event(office, kind, {"boot_id": agent.boot_id}, after)
        await self._update_states()

    def agent_refused(self, office: str, count: int) -> None:
        """Count refused measurements, which the agent keeps."""
        self._live.offices[office].agent.refused += count

    async def agent_checked(self, office: str, findings: Mapping[str, str]) -> None:
        """Store the check and show it on the office's page."""
        check = self._live.offices[office].agent.check = DeviceCheck(self._clock.now(), findings)
        data = {"findings": dict(findings)}
        await self._journal.add_event(office, DEVICES_CHECKED, data, check.at)

    async def agent_measured(self, office: str, measurements: list[Measurement]) -> None:
        """Store an agent's measurements and review recent outages, whose cause they may show."""
        await self._recorder.hand_in([*map(self._runner.active_tests.annotate, measurements)])
        back_since = self._back_since.get(office)
        if back_since is not None and self._clock.monotonic() - back_since < SPOOL_SECONDS:
            self._reviews.schedule_review(office)

    def _update_vitals(self, office: str, vitals: Vitals) -> None:
        self._tracker.offices[office].last_frame_at = self._clock.monotonic()
        agent = self._live.offices[office].agent
        agent.boot_id, agent.spooled = vitals.boot_id, vitals.spooled
        if vitals.kind == PROGRAM:  # a page keeps no count of what it lost before
            agent.dropped = vitals.dropped
        agent.update = None if vitals.update is None else asdict(vitals.update)
        agent_time, now = vitals.now, self._clock.now()
        agent.clock_offset = None if agent_time is None else agent_time - now.timestamp()
        agent.last_heard = self._live.offices[office].last_seen = self._clock.now()

    def _add_vitals(self, office: str, kind: str, vitals: Vitals) -> Coroutine[Any, Any, None]:
        """Journal the vitals, as of when they arrived: a silence that follows is not earlier."""
        last_heard = self._live.offices[office].agent.last_heard
        return self._journal.add_event(office, kind, asdict(vitals), last_heard)

    # --- states

    async def _update_planned(self) -> None:
        now = self._clock.now()
        try:
            self._windows = await asyncio.to_thread(
                self._event_log.windows, now, now + WINDOWS_AHEAD
            )
        except StoreError as error:  # those that were read last begin and end at their times
            log.debug("planned windows could not be read: %s", error)
        windows = [w for w in self._windows if w.begin <= now < w.counts_until]
        offices = frozenset(self._live.offices)
        named = {w.office for w in windows if w.office is not None}
        everywhere = any(w.office is None for w in windows)
        self._tracker.planned = offices if everywhere else frozenset(named & offices)

    async def _update_states(self) -> None:
        """Derive the live state from the evidence, and journal every change, until `end`."""
        if self._ended:
            return
        self._recorder.roll_over_day()
        uplink, changes = self._apply_evidence()
        for office in self._tracker.fell_silent():
            agent = self._live.offices[office].agent
            event = (office, "silent", {"kind": agent.kind}, agent.last_heard)
            self._start(self._journal.add_event(*event))
        await self._journal.add_changes(changes, uplink)

    def _apply_evidence(self) -> tuple[UplinkChange | None, list[StateChange]]:
        """Update the live state without yielding to the event loop, so that nothing comes between a
        change and its becoming live. Returns the changes to journal."""
        now = self._clock.now()
        self._tracker.look()
        self._tracker.uplink_answers = self._latency_monitor.uplink_is_up()
        self._live.uplink_up = self._tracker.uplink()
        uplink = None
        if self._uplink is not self._live.uplink_up:
            self._uplink = self._live.uplink_up
            uplink = UplinkChange(now, self._uplink)
            self._note_uplink(now)
        for office, seen in self._tracker.offices.items():
            live = self._live.offices[office]
            live.running = self._runner.active_tests.running(office)
            live.filled_by = self._runner.active_tests.filling(office)
            if seen.router or seen.pc or self._tracker.is_alive(seen):
                live.last_seen = now
                if live.state is OfficeState.PLANNED:  # which says nothing of the line
                    self._add_to_history(office, lambda history: history.answer(now))
        changes = list(self._tracker.changes())
        return uplink, [change for change in changes if self._apply(change)]

    def _note_uplink(self, now: datetime) -> None:
        """Note since when the uplink is in its state; an unknown state changes nothing."""
        if self._uplink is None:
            return
        if self._uplink_before is None or self._uplink_before[0] is not self._uplink:
            self._uplink_before = (self._uplink, now)
        self._live.uplink_since = self._uplink_before[1]

    def _apply(self, change: StateChange) -> bool:
        """Make a change live; returns False if it need not be journalled."""
        before = self._live.offices[change.office].state
        self._add_to_history(change.office, lambda history: history.add(change.state, change.at))
        since = self._histories[change.office].since or change.at  # perhaps before the hub's start
        self._live.set_state(change.office, change.state, since)
        if change.state is OfficeState.UNKNOWN and change.first:
            return False  # after a start nothing is known yet
        log.info("%s is %s", change.office, change.state.value)
        if before is OfficeState.UNREACHABLE is not change.state:
            self._back_since[change.office] = self._clock.monotonic()
            self._reviews.schedule_review(change.office)
            if self._current.config.office(change.office).snmp is not None:
                self._start(self._read_router_uptime(change.office))
        return True

    def _add_to_history(self, office: str, add: Callable[[StateHistory], None]) -> None:
        """Add to an office's history, and show what follows of its outages."""
        history, live = self._histories[office], self._live.offices[office]
        before = history.outages
        add(history)
        live.outage_start = history.outage_start
        live.outages += history.outages - before

    async def _read_router_uptime(self, office: str) -> None:
        """Read a router's uptime after an outage: if the router kept running, the line had
        failed."""
        for seconds in ROUTER_PAUSES:
            await self._clock.sleep(seconds)  # SNMP may start later than echo replies
            reading = await self._runner.run(office, "utilisation")
            if "router_uptime_seconds" in reading.values:
                self._reviews.schedule_review(office)
                return

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the background and log its error."""
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._pending.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("unexpected error in the office monitor", exc_info=task.exception())
