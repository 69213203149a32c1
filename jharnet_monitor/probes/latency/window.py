"""A minute of always-on echo requests, folded into one measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from jharnet_monitor.probes.base import ProbeError, Reading
from jharnet_monitor.probes.latency.pinger import Echo
from jharnet_monitor.probes.latency.statistics import EchoTally


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """What one period of an office amounts to.

    `outcome` is the `Reading`, or the `Failed` or `NoData` that a probe would have raised.
    `rtts` are all round-trip times in seconds, for histograms. `duration` is in seconds, `begun`
    on the monotonic clock.
    """

    office: str
    started_at: datetime
    begun: float
    duration: float
    outcome: Reading | ProbeError
    rtts: tuple[float, ...]


class PingWindow(EchoTally):
    """The requests of one target that were sent in one period; done when each is settled.

    A request belongs to the period in which it was sent, however late its reply or time-out:
    so the sums of `sent` and `received` over all folds are those of everything ever sent.
    `checks` are requests beside the schedule, which are in no figure.
    """

    def __init__(
        self, number: int, started_at: datetime, started: float, done: Callable[[PingWindow], None]
    ) -> None:
        super().__init__()
        self.number = number
        self.started_at = started_at
        self.started = started
        self.duration: float | None = None
        self.waiting = 0
        self.checks = 0
        self._done = done

    def take(self, echo: Echo) -> None:
        """Count a request whose fate is known."""
        self.waiting -= 1
        self.settled(echo)
        self._finish_if_done()

    def close(self, now: float, planned: int = 0) -> None:
        """Nothing more is sent in this period, of which `planned` requests were to be sent."""
        self.duration = now - self.started
        self.skipped = max(0, planned - self.due - self.waiting)
        self._finish_if_done()

    def fold(self, office: str, role: str, address: str | None) -> LatencySummary:
        """What the period amounts to."""
        conditions: dict[str, object] = {"target": role}
        if address is not None:
            conditions["address"] = address
        if self.checks:
            conditions["checks"] = self.checks
        outcome: Reading | ProbeError
        try:
            outcome = self.reading(conditions)
        except ProbeError as error:
            outcome = error
        return LatencySummary(
            office=office,
            started_at=self.started_at,
            begun=self.started,
            duration=self.duration or 0.0,
            outcome=outcome,
            rtts=tuple(self.rtts),
        )

    def _finish_if_done(self) -> None:
        if self.duration is not None and not self.waiting:
            self._done(self)
