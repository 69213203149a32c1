"""The periods before that of a report, for its trend and its changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.config import Config, Office
from jharnet_monitor.judge.calendar.hours import office_windows
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.calendar.windows import window_indices
from jharnet_monitor.judge.line.contract import limit_in
from jharnet_monitor.judge.line.reading import Limit
from jharnet_monitor.judge.outages.availability import state_times
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import RETEST, Direction, Outcome, Route
from jharnet_monitor.report.data.aggregate import conference, speed
from jharnet_monitor.report.data.collect import DOWN
from jharnet_monitor.report.data.summary import TrendPoint
from jharnet_monitor.store import Store
from jharnet_monitor.store.tables import to_ms

TREND = 12
"""Number of periods in the trend, including the current one."""
DAY_MS = 86_400_000


def earlier_periods(store: Store, period: Period) -> list[Period]:
    """The periods before, back to the first measurement, as many as the trend shows."""
    oldest = store.first_start()
    periods: list[Period] = []
    one = period
    while len(periods) < TREND - 1 and oldest is not None and one.start > oldest:
        one = one.before()
        periods.append(one)
    return periods[::-1]


def history(
    store: Store,
    config: Config,
    office: Office,
    earlier: list[Period],
    states: Sequence[Sequence[Span]],
) -> Iterator[TrendPoint]:
    """An office in the earlier periods, the oldest first; `states` are those of each, as judged."""
    if not earlier:
        return
    calls = store.measurements(
        office=office.id,
        probe="conference",
        path=Route.JHARNET,
        since=earlier[0].start,
        until=earlier[-1].end,
    )
    starts = [call.started_at for call in calls]
    rates = _DownloadRates.read(store, office, config, (earlier[0].start, earlier[-1].end))
    contracted = office.link.rate(Direction.DOWN) if office.link else None
    for period, period_states in zip(earlier, states, strict=True):
        first, after = bisect_left(starts, period.start), bisect_left(starts, period.end)
        days, quiet = rates.of(period)
        yield TrendPoint(
            name=period.name,
            start=period.start,
            conference=conference(calls[first:after], config.district),
            state_times=state_times(period_states, period.start, period.end),
            down=speed(days, contracted, config.thresholds.delivered, quiet=quiet),
        )


@dataclass(frozen=True, slots=True)
class _DownloadRates:
    """The rates in bit/s measured towards an office over JharNet, ordered by start (milliseconds
    since 1970), and which of them were measured in office hours.
    """

    at: NDArray[np.int64]
    rate: NDArray[np.float64]
    inside: NDArray[np.bool_]

    @classmethod
    def read(
        cls, store: Store, office: Office, config: Config, bounds: tuple[datetime, datetime]
    ) -> _DownloadRates:
        found: list[tuple[int, float]] = []
        for block in store.bulk_reader.blocks(
            office.id, "bandwidth", *bounds, path=Route.JHARNET, names=(DOWN,), starts=True
        ):
            if (
                block.outcome is Outcome.OK
                and block.conditions.get(RETEST) != "due"
                and limit_in(block.conditions, Direction.DOWN) != Limit.HOST
                and DOWN in block.values
            ):
                found += zip(block.starts, block.values[DOWN], strict=True)
        found.sort()
        at = np.array([moment for moment, _ in found], dtype=np.int64)
        days = (bounds[1].date() - bounds[0].date()).days
        stretch = [bounds[0].date() + timedelta(days=n) for n in range(days)]
        inside = window_indices(at, office_windows(config.district, stretch)) >= 0
        return cls(at, np.array([rate for _, rate in found], dtype=np.float64), inside)

    def of(self, period: Period) -> tuple[list[list[float]], bool]:
        """The rates of each day: those outside office hours and True, else all and False."""
        start, end = to_ms(period.start), to_ms(period.end)
        within = slice(*np.searchsorted(self.at, [start, end]))
        at, rate, quiet = self.at[within], self.rate[within], ~self.inside[within]
        if quiet.any():
            at, rate = at[quiet], rate[quiet]
        days: dict[int, list[float]] = {}
        for day, one in zip(((at - start) // DAY_MS).tolist(), rate.tolist(), strict=True):
            days.setdefault(day, []).append(one)
        return list(days.values()), bool(quiet.any())
