"""Packet loss of a line by condition: in office hours, outside them, while the line was idle. Pure.

Echo requests are counted in blocks of five minutes (ITU-T Y.1540 judges availability in blocks of
that length). A block that an outage or planned work touches counts for that, not for loss, and one
in which an office was switched off or on by habit counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.config.district import District
from jharnet_monitor.judge.calendar.hours import in_office_hours, office_windows
from jharnet_monitor.judge.calendar.windows import window_indices
from jharnet_monitor.judge.line.traffic import MAX_READING_SECONDS, TrafficReadings
from jharnet_monitor.judge.outages.availability import DOWN
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import Direction, Measurement, OfficeState

BLOCK_MS = 300_000
IDLE, BUSY = 0.5, 0.8
"""Below the first utilisation a line is idle, above the second busy; in between it is neither."""

AUDIO_RATE = 50
"""Audio packets of a call per second."""

Times = NDArray[np.int64]
Numbers = NDArray[np.float64]
_NO_LINE = DOWN | {OfficeState.UPLINK_DOWN, OfficeState.PLANNED}


@dataclass(slots=True)
class PacketCounts:
    """Echo requests of minutes or blocks: start (ms since 1970), sent, and received.

    Minutes without any reply, and those during our own tests, are left out.
    """

    at: list[Times] = field(default_factory=list)
    sent: list[Numbers] = field(default_factory=list)
    received: list[Numbers] = field(default_factory=list)

    def add(
        self,
        at: Sequence[int] | Times,
        sent: Sequence[float] | Numbers,
        received: Sequence[float] | Numbers,
    ) -> None:
        """Add counts, in any order."""
        self.at.append(np.asarray(at, dtype=np.int64))
        self.sent.append(np.asarray(sent, dtype=np.float64))
        self.received.append(np.asarray(received, dtype=np.float64))

    def add_minutes(
        self, at: Sequence[int], sent: Sequence[float], received: Sequence[float]
    ) -> None:
        """Add minutes of a day or so as sums of blocks, without those that had no reply.

        >>> counts = PacketCounts()
        >>> counts.add_minutes([0, 60_000, 300_000, 360_000], [60, 60, 60, 60], [60, 57, 60, 0])
        >>> [column[0].tolist() for column in (counts.at, counts.sent, counts.received)]
        [[0, 300000], [120.0, 60.0], [117.0, 60.0]]
        """
        arrived = np.asarray(received, dtype=np.float64)
        answered = arrived > 0
        if not answered.any():
            return
        block = np.asarray(at, dtype=np.int64)[answered] // BLOCK_MS
        place = block - (first := block.min())
        gone = np.bincount(place, np.asarray(sent, dtype=np.float64)[answered])
        back = np.bincount(place, arrived[answered])
        [known] = np.nonzero(np.bincount(place))
        self.add((first + known) * BLOCK_MS, gone[known].tolist(), back[known].tolist())


@dataclass(frozen=True, slots=True)
class LossRates:
    """Shares of packets lost while the line was up; None where nothing was measured.

    `n` of these intervals counts five-minute blocks, of calls their audio packets.
    """

    office: Interval | None = None
    night: Interval | None = None
    """Outside office hours, without the blocks in which the router counted a nearly full line, as
    during the office's own backups."""
    idle: Interval | None = None
    """In office hours while the router counted little traffic."""
    busy: Interval | None = None
    """In office hours while the router counted a nearly full line."""
    calls: Interval | None = None
    """Of the conference tests in office hours, both directions combined like a round trip."""
    trains: Interval | None = None
    """Of the packet trains in office hours, both directions combined."""
    trains_night: Interval | None = None
    worst_day: float = 0.0
    """Of all packets lost, the share of the worst day."""


def loss_rates(
    packets: PacketCounts,
    spans: Iterable[Span],
    district: District,
    days: Sequence[date],
    used: tuple[Times, Numbers] | None = None,
    calls: Iterable[Measurement] = (),
    tests: Iterable[Measurement] = (),
) -> LossRates:
    """The loss on these days. `used` is the result of `utilisation`; `tests` are speed tests, some
    of which are packet trains.
    """
    others = LossRates(
        calls=_of_runs(_call_packets(calls), district, inside=True),
        trains=_of_runs(trains := list(_train_packets(tests)), district, inside=True),
        trains_night=_of_runs(trains, district, inside=False),
    )
    if not packets.at or not days:
        return others
    sent, received = (np.concatenate(column) for column in (packets.sent, packets.received))
    block = np.concatenate(packets.at) // BLOCK_MS * BLOCK_MS
    usable = ~_in_outage(block, list(spans)) & (sent > 0)
    block, sent, received = block[usable], sent[usable], received[usable]
    day = np.searchsorted(_midnights(district, days), block, side="right") - 1
    windows = office_windows(district, days)
    inside = (window_indices(block, windows) >= 0) & (
        window_indices(block + BLOCK_MS - 1, windows) >= 0
    )
    counts = _Counts(day, block, sent, sent - received)
    share = None if used is None else _utilisation_at(block, *used)
    return replace(
        others,
        office=counts.loss(inside),
        night=counts.loss(~inside if share is None else ~inside & ~(share >= BUSY)),
        idle=None if share is None else counts.loss(inside & (share < IDLE)),
        busy=None if share is None else counts.loss(inside & (share >= BUSY)),
        worst_day=counts.worst_day(),
    )


def utilisation(
    traffic: TrafficReadings, rates: tuple[float | None, float | None]
) -> tuple[Times, Numbers] | None:
    """Start (ms) of each reading and its utilisation, the higher of both directions; None without
    readings or without the delivered `rates`.
    """
    down, up = rates
    if not traffic.at or not down or not up:
        return None
    end, seconds = np.concatenate(traffic.at), np.concatenate(traffic.seconds)
    share = np.maximum(np.concatenate(traffic.down) / down, np.concatenate(traffic.up) / up)
    begin = end - (seconds * 1000).astype(np.int64)
    usable = seconds <= MAX_READING_SECONDS
    begin, share = begin[usable], share[usable]
    order = np.lexsort((share, begin))
    return begin[order], share[order]


@dataclass(frozen=True, slots=True)
class _Counts:
    day: NDArray[np.int64]
    block: Times
    sent: Numbers
    lost: Numbers

    def loss(self, chosen: NDArray[np.bool_]) -> Interval | None:
        """The share lost in the chosen blocks."""
        if not chosen.any():
            return None
        day = self.day[chosen]
        sent = np.bincount(day, self.sent[chosen]).astype(np.float64)
        lost = np.bincount(day, self.lost[chosen]).astype(np.float64)
        blocks = len(np.unique(self.block[chosen]))
        return intervals.proportion(lost[sent > 0], sent[sent > 0], n=blocks)

    def worst_day(self) -> float:
        lost = np.bincount(self.day, self.lost)
        total = float(lost.sum())
        return float(lost.max()) / total if total else 0.0


def _in_outage(block: Times, spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Which blocks an outage touches, or an edge of unknown time: while an office is switched off
    by habit, its router may answer all the same.
    """
    down = [span for span in spans if span.state in _NO_LINE]
    edges = [_ms(edge) // BLOCK_MS * BLOCK_MS for span in spans
             if span.state is OfficeState.UNKNOWN for edge in (span.start, span.end)]  # fmt: skip
    first = np.array([_ms(span.start) // BLOCK_MS * BLOCK_MS for span in down], dtype=np.int64)
    last = np.array([_ms(span.end) for span in down], dtype=np.int64)
    place = np.searchsorted(first, block, side="right") - 1
    reached = np.maximum.accumulate(last) if len(last) else last
    touched = np.zeros(len(block), dtype=bool)
    after = place >= 0
    touched[after] = block[after] < reached[place[after]]
    return touched | np.isin(block, np.array(edges, dtype=np.int64))


def _utilisation_at(block: Times, begins: Times, share: Numbers) -> Numbers:
    """The utilisation of the reading in which each block's middle lies; NaN without one."""
    middle = block + BLOCK_MS // 2
    place = np.searchsorted(begins, middle, side="right") - 1
    found = np.full(len(block), np.nan)
    known = place >= 0
    known[known] = middle[known] - begins[place[known]] < 2 * BLOCK_MS
    found[known] = share[place[known]]
    return found


_Run = tuple[Measurement, float, float]
"""A test, and how many packets it sent and lost, both directions combined like a round trip."""


def _call_packets(calls: Iterable[Measurement]) -> Iterator[_Run]:
    for call in calls:
        ways = [call.values.get(f"{way}_audio_loss_ratio") for way in Direction]
        if None not in ways:
            down, up = (float(way or 0.0) for way in ways)
            packets = AUDIO_RATE * call.duration
            yield call, packets, packets * (1 - (1 - down) * (1 - up))


def _train_packets(tests: Iterable[Measurement]) -> Iterator[_Run]:
    for test in tests:
        ways = [_train(test, way) for way in Direction]
        if None not in ways:
            (sent, down), (sent_up, up) = (way or (0.0, 0.0) for way in ways)
            packets = min(sent, sent_up)
            yield test, packets, packets * (1 - (1 - down) * (1 - up))


def _train(test: Measurement, way: Direction) -> tuple[float, float] | None:
    """How many datagrams a train sent, and the share that was lost; None if not reported."""
    sent, lost = (test.conditions.get(f"{way.transfer}_train_{kind}") for kind in ("sent", "lost"))
    if not isinstance(sent, int) or not isinstance(lost, int) or not 0 <= lost <= sent > 0:
        return None
    return float(sent), lost / sent


def _of_runs(runs: Iterable[_Run], district: District, *, inside: bool) -> Interval | None:
    """The mean loss of tests in office hours, or outside them."""
    zone = ZoneInfo(district.timezone)
    sent: dict[date, float] = {}
    lost: dict[date, float] = {}
    for run, packets, gone in sorted(runs, key=lambda one: one[0].started_at):
        if in_office_hours(district, run.started_at) is inside:
            day = run.started_at.astimezone(zone).date()
            sent[day] = sent.get(day, 0.0) + packets
            lost[day] = lost.get(day, 0.0) + gone
    number = round(sum(sent.values()))
    return intervals.proportion(list(lost.values()), list(sent.values()), n=number)


def _midnights(district: District, days: Sequence[date]) -> Times:
    zone = ZoneInfo(district.timezone)
    every = [*days, days[-1] + timedelta(days=1)]
    return np.array([_ms(datetime.combine(day, time(), zone)) for day in every], dtype=np.int64)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
