"""How long an office was in each state, and the availability of its line. Pure.

Availability A = up / (up + down). Up is every state in which the line carried packets, even if
everything behind the router was off; down is `link_down`, `power_down` and `unreachable`. Time that
is not known (`unknown`, `monitor_down`, `uplink_down`) and planned maintenance count as neither.
Coverage is the share of the unplanned time that A is based on; the bounds are A if all unknown time
had been down, and if all of it had been up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState

UP = frozenset({OfficeState.UP, OfficeState.LAN_DOWN, OfficeState.AGENT_OFF})
DOWN = frozenset({OfficeState.LINK_DOWN, OfficeState.POWER_DOWN, OfficeState.UNREACHABLE})
LEAST_KNOWN = 0.1
"""Share of the time that must be known before people are shown an availability as a figure."""
_NOTHING = timedelta(0)


def known_well_enough(ratio: float | None, coverage: float | None) -> float | None:
    """An availability (a ratio) that may be shown as a figure; None if less than `LEAST_KNOWN` of
    the time is known. A minute of a year in which the line worked would else read as 100 %.

    >>> known_well_enough(1.0, 0.5), known_well_enough(1.0, 0.0001), known_well_enough(None, None)
    (1.0, None, None)
    """
    return ratio if coverage is not None and coverage >= LEAST_KNOWN else None


@dataclass(frozen=True, slots=True)
class StateTimes:
    """How long one office was in each state; the times add up to the period, to the microsecond."""

    period: timedelta
    times: Mapping[OfficeState, timedelta]

    def of(self, *states: OfficeState) -> timedelta:
        """The time spent in any of these states."""
        return sum((self.times.get(state, _NOTHING) for state in states), _NOTHING)

    @property
    def up(self) -> timedelta:
        """The time in which the line carried packets."""
        return self.of(*UP)

    @property
    def down(self) -> timedelta:
        """The time in which it did not: line fault, power failure, or unknown which."""
        return self.of(*DOWN)

    @property
    def availability(self) -> float | None:
        """A, as a ratio; None if nothing is known."""
        return _share(self.up, self.up + self.down)

    @property
    def availability_without_power(self) -> float | None:
        """A of the line alone: time without power at the office is left out."""
        down = self.down - self.of(OfficeState.POWER_DOWN)
        return _share(self.up, self.up + down)

    @property
    def coverage(self) -> float | None:
        """The share of the unplanned time that A is based on; None if all of it was planned."""
        return _share(self.up + self.down, self._unplanned)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """A if all unknown time had been down, and if all of it had been up."""
        worst = _share(self.up, self._unplanned)
        best = _share(self._unplanned - self.down, self._unplanned)
        return None if worst is None or best is None else (worst, best)

    def keeps(self, promised: float) -> bool | None:
        """Whether the line kept the availability that a contract promises. As in the verdict, only
        line faults are charged to it, not power failures; None if outages decide of which it is not
        known, or if nothing is known.

        >>> hour = timedelta(hours=1)
        >>> times = {OfficeState.UP: 97 * hour, OfficeState.LINK_DOWN: hour}
        >>> cut = StateTimes(100 * hour, times | {OfficeState.POWER_DOWN: 2 * hour})
        >>> unexplained = StateTimes(99 * hour, times | {OfficeState.UNREACHABLE: hour})
        >>> cut.keeps(0.995), cut.keeps(0.98), unexplained.keeps(0.98)
        (False, True, None)
        """
        line = _share(self.of(OfficeState.LINK_DOWN), self.up + self.down)
        most = _share(self.of(OfficeState.LINK_DOWN, OfficeState.UNREACHABLE), self.up + self.down)
        if line is None or most is None:
            return None
        if line > 1 - promised:
            return False
        return None if most > 1 - promised else True

    @property
    def _unplanned(self) -> timedelta:
        return self.period - self.of(OfficeState.PLANNED)


def state_times(spans: Iterable[Span], start: datetime, end: datetime) -> StateTimes:
    """The time in each state over [start, end), from ordered spans that do not overlap.

    Spans may extend beyond the period; time that no span covers is unknown. Raises `ValueError` if
    two spans overlap.

    >>> from datetime import UTC
    >>> def at(hour: int) -> datetime: return datetime(2026, 11, 23, hour, tzinfo=UTC)
    >>> up, cut = Span(OfficeState.UP, at(0), at(3)), Span(OfficeState.LINK_DOWN, at(3), at(4))
    >>> week = state_times([up, cut], at(0), at(8))
    >>> week.availability, week.coverage, week.bounds
    (0.75, 0.5, (0.375, 0.875))
    >>> week.of(OfficeState.UNKNOWN)
    datetime.timedelta(seconds=14400)
    """
    times: dict[OfficeState, timedelta] = {}
    reached = start
    for span in spans:
        if span.end <= reached or span.start >= end:
            continue
        if span.start < reached and reached > start:
            raise ValueError(f"{span} begins before the span before it ends")
        begin, finish = max(span.start, start), min(span.end, end)
        times[span.state] = times.get(span.state, _NOTHING) + (finish - begin)
        if begin > reached:
            unknown = times.get(OfficeState.UNKNOWN, _NOTHING)
            times[OfficeState.UNKNOWN] = unknown + (begin - reached)
        reached = finish
    if reached < end:
        times[OfficeState.UNKNOWN] = times.get(OfficeState.UNKNOWN, _NOTHING) + (end - reached)
    return StateTimes(end - start, times)


def _share(part: timedelta, whole: timedelta) -> float | None:
    return part / whole if whole > _NOTHING else None
