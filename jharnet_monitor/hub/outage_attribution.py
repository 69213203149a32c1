"""What an outage turned out to be: judged again whenever more becomes known of it.

The live state says `unreachable` while nothing is heard. When the office is back, its agent's boot
and what it recorded meanwhile tell line from power (`judge.outages.timeline`). The finding is a new
record that supersedes the old one; nothing is overwritten.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.judge.outages.causes import Stretch
from jharnet_monitor.judge.outages.observations import (
    AgentGone,
    AgentHeard,
    Fact,
    HubRan,
    Maintenance,
    Reached,
    RouterSaid,
    UplinkSeen,
)
from jharnet_monitor.judge.outages.state import AgentPresence
from jharnet_monitor.judge.outages.timeline import Span, reconstruct
from jharnet_monitor.live import PastOutage
from jharnet_monitor.model import Measurement, OfficeState
from jharnet_monitor.store import LoggedEvent, Store, Transition, Window

log = logging.getLogger(__name__)

HUB = "*"
"""Whose events concern all offices: the hub's own."""
LOOK_BACK = timedelta(days=3)
"""Outages that ended longer ago are not judged again."""
LEAD = timedelta(minutes=10)
_EARLIER_EVENTS = 60
_CAUSES = (OfficeState.LINK_DOWN, OfficeState.POWER_DOWN)


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch that was `unreachable` while it lasted."""

    number: int
    start: datetime
    end: datetime
    told: tuple[Transition, ...]
    """What was found of it so far."""


class OutageAttribution:
    """Reviews the outages of an office; blocks, so it is called in a thread."""

    def __init__(self, config: Config, clock: Clock, store: Store) -> None:
        self._config = config
        self._clock = clock
        self._store = store

    def review(self, office: str) -> PastOutage | None:
        """Record what is newly known of an office's outages; gives the last one that is over."""
        now = self._clock.now()
        outages = self._outages(office, now - LOOK_BACK)
        if not outages:
            return None
        start = outages[0].start - LEAD
        expected = self._config.office(office).agent is not None
        spans = reconstruct(
            self._facts(office, start, now),
            self._stretches(office, start, now),
            start,
            now,
            AgentPresence.NEVER if expected else AgentPresence.NOT_EXPECTED,
        )
        told_at = now
        for outage in outages:
            parts = _parts(spans, outage)
            if _differs(parts, outage.told):
                self._record(office, outage, parts)
            elif outage.told:
                told_at = outage.told[-1].recorded_at
        last, parts = outages[-1], _parts(spans, outages[-1])
        return PastOutage(_main_cause(parts), last.start, last.end, told_at)

    def _outages(self, office: str, since: datetime) -> list[Outage]:
        every = self._store.event_log.transitions(office, since)
        live = [t for t in every if t.supersedes is None]
        return [
            Outage(
                here.number,
                here.at,
                after.at,
                tuple(t for t in every if t.supersedes == here.number),
            )
            for here, after in pairwise(live)
            if here.state is OfficeState.UNREACHABLE
        ]

    def _record(self, office: str, outage: Outage, parts: Sequence[Span]) -> None:
        for part in parts:
            reason = None if part.reason is None else part.reason.value
            self._store.event_log.add_transition(
                office, part.state, part.start, {"reason": reason}, part.end, outage.number
            )
            log.info(
                "%s was %s from %s to %s (%s)", office, part.state.value,
                part.start.isoformat("T", "seconds"), part.end.isoformat("T", "seconds"), reason,
            )  # fmt: skip

    def _facts(self, office: str, since: datetime, until: datetime) -> list[Fact]:
        event_log = self._store.event_log
        events = [
            event
            for who in (office, HUB)
            for event in (
                *event_log.events_before(who, since, _EARLIER_EVENTS),
                *event_log.events(who, since, until),
            )
        ]
        facts = [fact for event in events for fact in _fact(event)]
        facts += _planned(event_log.windows(since, until, office))
        readings = self._store.measurements(
            office=office, probe="utilisation", since=since, until=until
        )
        return facts + [fact for reading in readings for fact in _router_said(reading)]

    def _stretches(self, office: str, since: datetime, until: datetime) -> list[Stretch]:
        return [
            stretch
            for measurement in self._store.measurements(
                office=office, probe="latency", path="agent_gateway", since=since, until=until
            )
            for stretch in _stretch(measurement)
        ]


def _planned(windows: Sequence[Window]) -> Iterator[Maintenance]:
    """When planned work was going on: each window from its announcement on, overlaps joined."""
    until: datetime | None = None
    for window in sorted(windows, key=lambda w: w.counts_from):
        if window.counts_from >= window.end:  # announced when it was over
            continue
        if until is None or window.counts_from > until:
            if until is not None:
                yield Maintenance(until, False)
            yield Maintenance(window.counts_from, True)
            until = window.end
        until = max(until, window.end)
    if until is not None:
        yield Maintenance(until, False)


def _fact(event: LoggedEvent) -> Iterator[Fact]:
    data = event.data
    match event.kind:
        case "reached":
            yield Reached(event.at, data["role"], data["answers"])
        case "uplink":
            yield UplinkSeen(event.at, data["works"])
        case "joined" if data.get("kind") != "browser":  # a browser proves nothing about power
            yield AgentHeard(event.at, data["boot_id"], data["uptime"])
        case "left" | "goodbye":
            yield AgentGone(event.at, event.kind == "goodbye")
        case "hub_started" | "hub_stopped":
            yield HubRan(event.at, event.kind == "hub_started")


def _router_said(reading: Measurement) -> Iterator[RouterSaid]:
    """What the router told of itself when its counters were read, at the reading's end."""
    uptime = reading.values.get("router_uptime_seconds")
    if uptime is not None:
        yield RouterSaid(reading.started_at + timedelta(seconds=reading.duration), uptime)


def _stretch(measurement: Measurement) -> Iterator[Stretch]:
    """The minute that an agent recorded of its own gateway."""
    boot_id = measurement.conditions.get("boot_id")
    if isinstance(boot_id, str) and "received" in measurement.values:
        end = measurement.started_at + timedelta(seconds=measurement.duration)
        answered = measurement.values["received"] > 0
        ended = bool(measurement.conditions.get("stopped"))
        yield Stretch(boot_id, measurement.started_at, end, answered, ended)


def _parts(spans: Sequence[Span], outage: Outage) -> list[Span]:
    """What the timeline says of an outage's time, at its own, sharper edges."""
    return [
        span
        for span in spans
        if span.start < outage.end
        and span.end > outage.start
        and span.state in (*_CAUSES, OfficeState.UNREACHABLE)
    ]


def _differs(parts: Sequence[Span], told: Sequence[Transition]) -> bool:
    """Whether there is something new to tell; that nothing is known is not told."""
    if not any(part.state in _CAUSES for part in parts):
        return bool(told) and any(t.state in _CAUSES for t in told)
    latest = {t.at: (t.state, t.until) for t in told}
    return any(latest.get(_ms(part.start)) != (part.state, _ms(part.end)) for part in parts)


def _ms(moment: datetime) -> datetime:
    """As the store keeps it: whole milliseconds."""
    return moment - timedelta(microseconds=moment.microsecond % 1000)


def _main_cause(parts: Sequence[Span]) -> OfficeState:
    """The state that most of the outage was."""
    times: dict[OfficeState, timedelta] = {}
    for part in parts:
        times[part.state] = times.get(part.state, timedelta(0)) + (part.end - part.start)
    return max(times, key=lambda s: times[s], default=OfficeState.UNREACHABLE)
