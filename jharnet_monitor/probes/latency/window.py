"""Summarises the continuous echo requests of one window of time, a minute by default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from jharnet_monitor.probes.base import DURATION_DECIMALS, ProbeError, Reading
from jharnet_monitor.probes.latency.pinger import Echo
from jharnet_monitor.probes.latency.statistics import EchoTally


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """The result of one window of an office.

    `result` is the `Reading`, or the `Failed` or `NoData` that a probe would have raised. `rtts`
    are all round-trip times in seconds, for histograms; `round_trips` are those of every packet as
    they are stored. `duration` is in seconds; `started_monotonic` is the start in monotonic
    seconds.
    """

    office: str
    started_at: datetime
    started_monotonic: float
    duration: float
    result: Reading | ProbeError
    rtts: tuple[float, ...]
    round_trips: tuple[int | None, ...] = ()


class PingWindow(EchoTally):
    """The requests to one target that were sent in one window; complete when each is settled.

    A request belongs to the window in which it was sent, however late its reply or time-out, so the
    sums of `sent` and `received` over all windows are those of all requests ever sent. `checks`
    counts additional requests, which are part of no figure.
    """

    def __init__(
        self,
        number: int,
        started_at: datetime,
        started_monotonic: float,
        on_complete: Callable[[PingWindow], None],
    ) -> None:
        super().__init__()
        self.number = number
        self.started_at = started_at
        self.started_monotonic = started_monotonic
        self.duration: float | None = None
        self.waiting = 0
        self.checks = 0
        self._on_complete = on_complete

    def settled(self, echo: Echo) -> None:
        """Count a request that was answered or timed out."""
        self.waiting -= 1
        super().settled(echo)
        self._check_complete()

    def close(self, now: float, planned: int = 0) -> None:
        """End the window, in which `planned` requests should have been sent."""
        self.duration = now - self.started_monotonic
        self.skipped = max(0, planned - self.expected - self.waiting)
        self._check_complete()

    def summary(self, office: str, role: str, address: str | None) -> LatencySummary:
        """The result of a complete window."""
        conditions: dict[str, object] = {"target": role}
        if address is not None:
            conditions["address"] = address
        if self.checks:
            conditions["checks"] = self.checks
        result: Reading | ProbeError
        try:
            result = self.reading(conditions)
        except ProbeError as error:
            result = error
        return LatencySummary(
            office=office,
            started_at=self.started_at,
            started_monotonic=self.started_monotonic,
            duration=round(self.duration or 0.0, DURATION_DECIMALS),
            result=result,
            rtts=tuple(self.rtts),
            round_trips=self.round_trips,
        )

    def _check_complete(self) -> None:
        if self.duration is not None and not self.waiting:
            self._on_complete(self)
