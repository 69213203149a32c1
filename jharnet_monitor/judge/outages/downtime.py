"""How long an office was down, by cause, in office hours and over all hours. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from jharnet_monitor.judge.outages.availability import StateTimes, state_times
from jharnet_monitor.judge.outages.shared import JudgedSpans, Windows
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState

_NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True)
class Downtime:
    """Shares of the time that can be charged to the line: without planned work, shared faults and
    nights on which the office is switched off.

    They are lower bounds: unknown time counts as up.
    """

    known: float = 0.0
    """Share of the time that is known."""
    link: float = 0.0
    power: float = 0.0
    lan: float = 0.0
    unexplained: float = 0.0
    """Unreachable, and it is unknown whether line or power failed."""

    def of_known(self, share: float) -> float:
        """The share of the known time."""
        return share / self.known if self.known else 0.0


@dataclass(frozen=True, slots=True)
class Outages:
    """The downtime of a line by condition, and what is not charged to it."""

    total: Downtime = Downtime()
    """Over all hours, as a contract counts."""
    office: Downtime = Downtime()
    """In office hours."""
    incident: float = 0.0
    """The longest outage of the line as a share of all its downtime."""
    nights: int = 0
    """Nights on which the office was switched off, if that is its habit."""
    off_seconds: float = 0.0
    """How long it was switched off on them."""
    shared: int = 0
    """Faults that all offices had at once."""
    shared_seconds: float = 0.0


def outages_of(judged: JudgedSpans, windows: Windows, start: datetime, end: datetime) -> Outages:
    """The downtime within [start, end); `windows` are the office hours in it, in order."""
    inside = [
        (max(begin, start), min(close, end)) for begin, close in windows if begin < end > start
    ]
    inside = [(begin, close) for begin, close in inside if begin < close]
    total = state_times(judged.spans, start, end)
    within = state_times(list(_within(judged.spans, inside)), start, end)
    length = sum((close - begin for begin, close in inside), _NOTHING)
    link = [s.end - s.start for s in judged.spans if s.state is OfficeState.LINK_DOWN]
    faults = [fault for fault in judged.shared if start <= fault.start < end]
    return Outages(
        total=_downtime(total, end - start - judged.off),
        office=_downtime(within, length),
        incident=max(link) / sum(link, _NOTHING) if link else 0.0,
        nights=judged.nights,
        off_seconds=judged.off.total_seconds(),
        shared=len(faults),
        shared_seconds=sum((fault.end - fault.start).total_seconds() for fault in faults),
    )


def _downtime(times: StateTimes, length: timedelta) -> Downtime:
    charged = length - times.of(OfficeState.PLANNED, OfficeState.UPLINK_DOWN)
    if charged <= _NOTHING:
        return Downtime()
    return Downtime(
        known=(times.up + times.down) / charged,
        link=times.of(OfficeState.LINK_DOWN) / charged,
        power=times.of(OfficeState.POWER_DOWN) / charged,
        lan=times.of(OfficeState.LAN_DOWN) / charged,
        unexplained=times.of(OfficeState.UNREACHABLE) / charged,
    )


def _within(spans: Iterable[Span], windows: Sequence[tuple[datetime, datetime]]) -> Iterator[Span]:
    """The parts of the spans that lie in the windows, both in order."""
    first = 0
    for span in spans:
        while first < len(windows) and windows[first][1] <= span.start:
            first += 1
        for begin, close in windows[first:]:
            if begin >= span.end:
                break
            yield replace(span, start=max(span.start, begin), end=min(span.end, close))
