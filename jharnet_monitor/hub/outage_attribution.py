"""Attributes outages to line or power, once the office is back and its evidence has arrived.

While nothing answers, the live state is `unreachable`. After the outage, the boot id of the agent
and what it recorded meanwhile show whether line or power failed (`judge.outages.timeline`). The
finding is a new record that supersedes the old one; nothing is overwritten.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from operator import attrgetter

from jharnet_monitor.clock import Clock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.judge.outages.causes import AgentRun
from jharnet_monitor.judge.outages.observations import (
    AgentConnected,
    AgentGone,
    HubChange,
    MaintenanceChange,
    Observation,
    ReachabilityChange,
    RouterUptime,
    UplinkChange,
)
from jharnet_monitor.judge.outages.state import AgentPresence
from jharnet_monitor.judge.outages.timeline import Span, reconstruct, silence_at, silences
from jharnet_monitor.live import Live, PastOutage
from jharnet_monitor.model import Measurement, OfficeState, Route
from jharnet_monitor.report.data.state_spans import in_order, overwrite
from jharnet_monitor.store import LoggedEvent, Store, StoreError, Transition, Window
from jharnet_monitor.store.bulk_reader import Block
from jharnet_monitor.store.event_log import EVERY_OFFICE
from jharnet_monitor.store.tables import from_ms

log = logging.getLogger(__name__)

ALL_OFFICES = EVERY_OFFICE
"""In place of an office's id: the hub's own events, which concern all offices."""
LOOK_BACK = timedelta(days=3)
"""Outages that ended longer ago are not reviewed again."""
LEAD = timedelta(minutes=10)
SOON_SECONDS = 3.0
"""Long enough for an agent that returned to hand in its first measurements."""
LATER_SECONDS = 45.0
"""The cause is to be known within a minute of the return."""
RETRY_SECONDS = 300.0
"""Wait after an unexpected error, which may last: the other offices' reviews have their turn."""
_EARLIER_EVENTS = 60
_CAUSES = (OfficeState.LINK_DOWN, OfficeState.POWER_DOWN)


@dataclass(frozen=True, slots=True)
class UnreachablePeriod:
    """A period in which the live state was `unreachable`."""

    number: int
    start: datetime
    end: datetime
    found: tuple[Transition, ...]
    """The causes recorded so far, in the order in which they were recorded."""


class OutageAttribution:
    """Reviews the outages of an office. Its methods block, so call them in a thread."""

    def __init__(self, current: CurrentConfig, clock: Clock, store: Store) -> None:
        self._current = current
        self._clock = clock
        self._store = store

    def recorded_outage(self, office: str) -> PastOutage | None:
        """The last outage of an office within `LOOK_BACK`, with the cause that is recorded of it;
        reads no measurement."""
        now = self._clock.now()
        outages = self._outages(office, now)
        return _recorded(outages[-1], now) if outages else None

    def review(self, office: str) -> PastOutage | None:
        """Record new findings on an office's outages; returns the last outage that is over."""
        now = self._clock.now()
        outages = self._outages(office, now)
        if not outages:
            return None
        start = outages[0].start - LEAD
        expected = self._current.config.office(office).agent is not None
        facts = self._facts(office, start, now)
        silence = silence_at(silences(facts), outages[0].start)
        since = start if silence is None else min(start, silence.begin - LEAD)
        spans = reconstruct(
            facts,
            self._agent_runs(office, since, now),
            start,
            now,
            AgentPresence.NEVER if expected else AgentPresence.NOT_EXPECTED,
        )
        for outage in outages:
            parts = _parts(spans, outage)
            differs = _differs(parts, outage.found)
            if differs:
                self._record(office, outage, parts)
            found_at = now if differs or not outage.found else outage.found[-1].recorded_at
        return PastOutage(_main_cause(parts), outage.start, outage.end, found_at)

    def _outages(self, office: str, now: datetime) -> list[UnreachablePeriod]:
        """The outages of an office that are over, in order, as far as `LOOK_BACK` reaches.

        A change that lies after `now` was recorded before the clock was set back.
        """
        transitions = self._store.event_log.transitions(office, now - LOOK_BACK)
        live = in_order(t for t in transitions if t.supersedes is None and t.at <= now)
        found: dict[int, list[Transition]] = defaultdict(list)
        for one in sorted(transitions, key=attrgetter("number")):
            if one.supersedes is not None:
                found[one.supersedes].append(one)
        return [
            UnreachablePeriod(here.number, here.at, after.at, tuple(found[here.number]))
            for here, after in pairwise(live)
            if here.state is OfficeState.UNREACHABLE and here.at < after.at
        ]

    def _record(self, office: str, outage: UnreachablePeriod, parts: Sequence[Span]) -> None:
        for part in parts:
            reason = None if part.reason is None else part.reason.value
            self._store.event_log.add_transition(
                office, part.state, part.start, {"reason": reason}, part.end, outage.number
            )
            log.info(
                "%s was %s from %s to %s (%s)", office, part.state.value,
                part.start.isoformat("T", "seconds"), part.end.isoformat("T", "seconds"), reason,
            )  # fmt: skip

    def _facts(self, office: str, since: datetime, until: datetime) -> list[Observation]:
        event_log = self._store.event_log
        events = [
            event
            for who in (ALL_OFFICES, office)  # at the same time, the hub's start comes first
            for event in (
                *event_log.events_before(who, since, _EARLIER_EVENTS),
                *event_log.events(who, since, until),
            )
        ]
        addresses = self._current.config.office(office)
        for role in ("router", "pc"):  # whose last change may be older than all of these
            if getattr(addresses, role) is not None:
                events += event_log.events_before(office, since, 1, f'"role":"{role}"')
        facts = [fact for event in events for fact in _fact(event)]
        earliest = min((event.at for event in events), default=since)
        facts += _planned(event_log.windows(min(earliest, since), until, office))
        readings = self._store.measurements(
            office=office, probe="utilisation", since=since, until=until
        )
        return facts + [fact for reading in readings for fact in _router_uptime(reading)]

    def _agent_runs(self, office: str, since: datetime, until: datetime) -> list[AgentRun]:
        """The minutes in which the agent pinged its own gateway, in order. They are read by the
        column, because days of them are read."""
        blocks = self._store.bulk_reader.blocks(
            office, "latency", since, until, path=Route.AGENT_GATEWAY, names=("received",),
            starts=True, durations=True,
        )  # fmt: skip
        found = [run for block in blocks for run in _agent_runs_of(block)]
        return sorted(found, key=attrgetter("start"))


class ReviewSchedule:
    """Which offices' outages are to be reviewed, and when."""

    def __init__(self, outage_attribution: OutageAttribution, live: Live, clock: Clock) -> None:
        self._outage_attribution = outage_attribution
        self._live = live
        self._clock = clock
        self._soon: dict[str, float] = {}
        self._later: dict[str, float] = {}
        self._retries: dict[str, float] = {}
        """When an office is reviewed again after an unexpected error."""
        self._after_start: deque[str] = deque()
        """Offices that are to be reviewed once after the start, whenever nothing else is due."""

    async def restore(self, offices: Sequence[str]) -> None:
        """Restore what is recorded of past outages, and schedule a review of these offices for
        after the start, which reviews of hundreds of offices would delay too long.
        """
        for office in offices:
            await self._update(office, self._outage_attribution.recorded_outage)
            if self._live.offices[office].last_outage is not None:
                self._after_start.append(office)

    def schedule_review(self, office: str) -> None:
        """Schedule a review soon, for new evidence, and another when all evidence should have
        arrived. More evidence postpones the first, but not the second: it may arrive for minutes.
        """
        now = self._clock.monotonic()
        self._soon[office] = now + SOON_SECONDS
        self._later.setdefault(office, now + LATER_SECONDS)

    async def run_due(self) -> None:
        """Run the reviews that are due, or else one of those that follow a start."""
        now, scheduled = self._clock.monotonic(), (self._soon, self._later, self._retries)
        due = {office for moments in scheduled for office, at in moments.items() if at <= now}
        if not due and self._after_start:
            await self.review(self._after_start.popleft())
        for office in sorted(due):
            if office in self._after_start:
                self._after_start.remove(office)
            self._retries.pop(office, None)
            for moments in (self._soon, self._later):
                if moments.get(office, now) <= now:
                    moments.pop(office, None)
            await self.review(office)

    async def review(self, office: str) -> None:
        """Review an office's outages. After an error they are reviewed again later; it is logged
        and does not affect other offices."""
        await self._update(office, self._outage_attribution.review)

    async def _update(self, office: str, find: Callable[[str], PastOutage | None]) -> None:
        """Update an office's last outage by what `find`, which may block, returns."""
        try:
            past = await asyncio.to_thread(find, office)
        except StoreError as error:
            # While the database fails, its trouble is logged once, not for every office again.
            level = logging.DEBUG if self._live.hub.database_failing else logging.ERROR
            log.log(level, "the outages of %s could not be reviewed: %s", office, error)
            self.schedule_review(office)
        except Exception:
            log.exception("the outages of %s could not be reviewed", office)
            self._live.hub.parts.restarts["outage reviews"] += 1
            self._retries[office] = self._clock.monotonic() + RETRY_SECONDS
        else:
            if past is not None:
                self._live.offices[office].last_outage = past


def _planned(windows: Sequence[Window]) -> Iterator[MaintenanceChange]:
    """The times of planned work: each window from its announcement on, overlaps merged."""
    until: datetime | None = None
    for window in sorted(windows, key=lambda w: w.counts_from):
        if window.counts_from >= window.counts_until:  # announced after its end
            continue
        if until is None or window.counts_from > until:
            if until is not None:
                yield MaintenanceChange(until, False)
            yield MaintenanceChange(window.counts_from, True)
            until = window.counts_until
        until = max(until, window.counts_until)
    if until is not None:
        yield MaintenanceChange(until, False)


def _fact(event: LoggedEvent) -> Iterator[Observation]:
    data = event.data
    if data.get("kind") == "browser":  # a page proves nothing about power
        return
    match event.kind:
        case "reached":
            yield ReachabilityChange(event.at, data["role"], data["answers"])
        case "uplink":
            yield UplinkChange(event.at, data["works"])
        case "joined" | "heard":
            yield AgentConnected(event.at, data["boot_id"], data["uptime"])
        case "left" | "goodbye" | "silent":
            yield AgentGone(event.at, event.kind == "goodbye")
        case "hub_started" | "hub_stopped":
            yield HubChange(event.at, event.kind == "hub_started")


def _router_uptime(reading: Measurement) -> Iterator[RouterUptime]:
    """The router's uptime, as of the end of the reading of its counters."""
    uptime = reading.values.get("router_uptime_seconds")
    if uptime is not None:
        yield RouterUptime(reading.ended_at, uptime)


def _agent_runs_of(block: Block) -> Iterator[AgentRun]:
    """The periods in which an agent pinged its own gateway."""
    boot_id, received = block.conditions.get("boot_id"), block.values.get("received")
    if not isinstance(boot_id, str) or received is None:
        return
    ended = bool(block.conditions.get("stopped"))
    for at, seconds, replies in zip(block.starts, block.durations, received, strict=True):
        start = from_ms(at)
        yield AgentRun(boot_id, start, start + timedelta(seconds=seconds), replies > 0, ended)


def _parts(spans: Sequence[Span], outage: UnreachablePeriod) -> list[Span]:
    """The parts of the timeline within an outage; their edges are more precise."""
    return [
        span
        for span in spans
        if span.start < outage.end
        and span.end > outage.start
        and span.state in (*_CAUSES, OfficeState.UNREACHABLE)
    ]


def _differs(parts: Sequence[Span], found: Sequence[Transition]) -> bool:
    """Whether there is something new to record: other parts than those that were recorded last.

    An unknown cause is recorded only in place of a known one.
    """
    known = any(part.state in _CAUSES for part in parts) or any(t.state in _CAUSES for t in found)
    if not parts or not known:
        return False
    latest = [(t.state, t.at, t.until) for t in found[-len(parts) :]]
    return latest != [(part.state, _ms(part.start), _ms(part.end)) for part in parts]


def _ms(moment: datetime) -> datetime:
    """A moment as the store keeps it, in whole milliseconds."""
    return moment - timedelta(microseconds=moment.microsecond % 1000)


def _recorded(outage: UnreachablePeriod, now: datetime) -> PastOutage:
    """An outage with the cause that was recorded last for each moment of it."""
    parts: list[Span] = []
    if outage.found:
        start, end = min(t.at for t in outage.found), max(t.until or t.at for t in outage.found)
        parts = [Span(OfficeState.UNREACHABLE, start, end)]
        for one in outage.found:
            overwrite(parts, Span(one.state, one.at, one.until or one.at))
    reported_at = outage.found[-1].recorded_at if outage.found else now
    return PastOutage(_main_cause(parts), outage.start, outage.end, reported_at)


def _main_cause(parts: Sequence[Span]) -> OfficeState:
    """The state of the largest part of an outage."""
    times: dict[OfficeState, timedelta] = {}
    for part in parts:
        times[part.state] = times.get(part.state, timedelta(0)) + (part.end - part.start)
    return max(times, key=lambda s: times[s], default=OfficeState.UNREACHABLE)
