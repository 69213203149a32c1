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
from jharnet_monitor.judge.line.contract import lasting_in, limit_in, met_policer
from jharnet_monitor.judge.line.reading import Limit
from jharnet_monitor.judge.outages.availability import state_times
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import RETEST, Direction, Outcome, Route
from jharnet_monitor.report.data.aggregate import conference, speed
from jharnet_monitor.report.data.collect import DOWN
from jharnet_monitor.report.data.in_force import SealedContracts
from jharnet_monitor.report.data.summary import TrendPoint
from jharnet_monitor.store import Store
from jharnet_monitor.store.bulk_reader import Block
from jharnet_monitor.store.tables import to_ms

TREND = 12
"""Number of periods in the trend, including the current one."""
DAY_MS = 86_400_000
LASTING = f"{Direction.DOWN.transfer}_sustained_bits_per_second"


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
    contracts: SealedContracts,
) -> Iterator[TrendPoint]:
    """An office in the earlier periods, the oldest first; `states` are those of each, as judged.
    Each is held against the contract of its end.
    """
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
    for period, period_states in zip(earlier, states, strict=True):
        first, after = bisect_left(starts, period.start), bisect_left(starts, period.end)
        days, quiet = rates.of(period, contracts.changed(office, period.end))
        link = contracts.link(office, period.end)
        contracted = link.rate(Direction.DOWN) if link else None
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
    since 1970).
    """

    at: NDArray[np.int64]
    rate: NDArray[np.float64]
    inside: NDArray[np.bool_]
    """Which were measured in office hours."""
    lasting: NDArray[np.bool_]
    """Which are sustained rates."""
    policed: NDArray[np.bool_]
    """Which met a policer."""

    @classmethod
    def read(
        cls, store: Store, office: Office, config: Config, bounds: tuple[datetime, datetime]
    ) -> _DownloadRates:
        found: list[tuple[int, float, bool, bool]] = []
        for block in store.bulk_reader.blocks(
            office.id, "bandwidth", *bounds, path=Route.JHARNET, names=(DOWN, LASTING), starts=True
        ):
            if (
                block.outcome is Outcome.OK
                and block.conditions.get(RETEST) != "due"
                and limit_in(block.conditions, Direction.DOWN) != Limit.HOST
            ):
                found += _rates(block)
        found.sort()
        at = np.array([one[0] for one in found], dtype=np.int64)
        days = (bounds[1].date() - bounds[0].date()).days
        stretch = [bounds[0].date() + timedelta(days=n) for n in range(days)]
        return cls(
            at,
            np.array([one[1] for one in found], dtype=np.float64),
            window_indices(at, office_windows(config.district, stretch)) >= 0,
            np.array([one[2] for one in found], dtype=bool),
            np.array([one[3] for one in found], dtype=bool),
        )

    def of(self, period: Period, since: datetime | None) -> tuple[list[list[float]], bool]:
        """The rates of each day: those outside office hours and True, else all and False. If the
        line was policed, only the sustained ones; those from before `since` do not count.
        """
        start, end = to_ms(period.start), to_ms(period.end)
        counted = (self.at >= start) & (self.at < end)
        if since is not None:
            counted &= self.at >= to_ms(since)
        if (counted & self.policed).any():
            counted &= self.lasting
        at, rate, quiet = self.at[counted], self.rate[counted], ~self.inside[counted]
        if quiet.any():
            at, rate = at[quiet], rate[quiet]
        days: dict[int, list[float]] = {}
        for day, one in zip(((at - start) // DAY_MS).tolist(), rate.tolist(), strict=True):
            days.setdefault(day, []).append(one)
        return list(days.values()), bool(quiet.any())


def _rates(block: Block) -> Iterator[tuple[int, float, bool, bool]]:
    """Start and rate of each test, whether that is sustained, and whether it met a policer."""
    for number, at in enumerate(block.starts):
        values = {name: column[number] for name, column in block.values.items()}
        rate = lasting_in(values, Direction.DOWN)
        if rate is not None:
            policed = met_policer(values, block.conditions, Direction.DOWN)
            yield at, rate, LASTING in values, policed
