"""How long an office was in which state, and what that says of its line. Pure.

A = up / (up + down). Up is every state in which the line carried packets, whatever was switched
off behind the router; down is `link_down`, `power_down` and `unreachable`. What is not known
(`unknown`, `monitor_down`, `uplink_down`) and what was planned is in neither: it never flatters
and never blames. How much of the time A speaks for is the coverage, and the bounds are A if all
that is not known were down, and if all of it were up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState

UP = frozenset({OfficeState.UP, OfficeState.LAN_DOWN, OfficeState.AGENT_OFF})
DOWN = frozenset({OfficeState.LINK_DOWN, OfficeState.POWER_DOWN, OfficeState.UNREACHABLE})
_NOTHING = timedelta(0)


@dataclass(frozen=True, slots=True)
class Account:
    """One office over one period: the times of all states sum to the period, to the microsecond."""

    period: timedelta
    times: Mapping[OfficeState, timedelta]

    def of(self, *states: OfficeState) -> timedelta:
        """The time in any of these states."""
        return sum((self.times.get(state, _NOTHING) for state in states), _NOTHING)

    @property
    def up(self) -> timedelta:
        """The line carried packets."""
        return self.of(*UP)

    @property
    def down(self) -> timedelta:
        """It did not, by its own fault or for want of power, or nobody can tell which."""
        return self.of(*DOWN)

    @property
    def availability(self) -> float | None:
        """A; None where nothing is known."""
        return _share(self.up, self.up + self.down)

    @property
    def availability_without_power(self) -> float | None:
        """A of the line alone: the time without power at the office is left out."""
        down = self.down - self.of(OfficeState.POWER_DOWN)
        return _share(self.up, self.up + down)

    @property
    def coverage(self) -> float | None:
        """The share of the unplanned time for which A speaks; None where all was planned."""
        return _share(self.up + self.down, self._unplanned)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """A if all that is not known were down, and if all of it were up."""
        worst = _share(self.up, self._unplanned)
        best = _share(self._unplanned - self.down, self._unplanned)
        return None if worst is None or best is None else (worst, best)

    @property
    def _unplanned(self) -> timedelta:
        return self.period - self.of(OfficeState.PLANNED)


def account(spans: Iterable[Span], start: datetime, end: datetime) -> Account:
    """The account of [start, end) from spans in order that do not overlap.

    Spans may reach beyond the period; what none of them covers is unknown. Raises `ValueError`
    where two overlap, since then the sum would be wrong.

    >>> from datetime import UTC
    >>> def at(hour: int) -> datetime: return datetime(2026, 11, 23, hour, tzinfo=UTC)
    >>> up, cut = Span(OfficeState.UP, at(0), at(3)), Span(OfficeState.LINK_DOWN, at(3), at(4))
    >>> week = account([up, cut], at(0), at(8))
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
    return Account(end - start, MappingProxyType(times))


def _share(part: timedelta, whole: timedelta) -> float | None:
    return part / whole if whole > _NOTHING else None
