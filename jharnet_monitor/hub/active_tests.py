"""Tracks which tests load which line, to mark measurements and to keep tests apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import HEADQUARTERS, Measurement
from jharnet_monitor.probes import PROBES, DisturbedBy

REMEMBERED_SECONDS = 600.0
"""How long loaded times are kept. Agents send each minute as it ends; spooled minutes are from a
time without tests."""


@dataclass(frozen=True, slots=True)
class ActiveTest:
    """A running probe. `full`: it fills the line; `exclusive`: no other test may start
    meanwhile."""

    office: str
    probe: str
    heavy: bool
    full: bool
    exclusive: bool = False


@dataclass(slots=True)
class _LoadedTime:
    """A period in which a line was loaded, in monotonic seconds."""

    began: float
    ended: float = inf


class ActiveTests:
    """The running tests of the hub; times are in monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: list[ActiveTest] = []
        self._loaded: dict[str, deque[_LoadedTime]] = {}
        self._last_full: dict[str, float] = {}
        self._drills = 0

    @contextmanager
    def track(self, test: ActiveTest) -> Iterator[None]:
        """Register a test while it runs."""
        self._running.append(test)
        loaded = self._begin(test.office) if test.heavy else None
        try:
            yield
        finally:
            self._running.remove(test)
            now = self._clock.monotonic()
            if loaded is not None:
                loaded.ended = now
            if test.full:
                self._last_full[test.office] = now

    @contextmanager
    def drill(self) -> Iterator[None]:
        """Register a drill while it waits for the uplink and holds it."""
        self._drills += 1
        loaded = self._begin(HEADQUARTERS)
        try:
            yield
        finally:
            self._drills -= 1
            loaded.ended = self._clock.monotonic()

    def _begin(self, line: str) -> _LoadedTime:
        """Note that a line is loaded from now on, and drop old entries."""
        periods, now = self._loaded.setdefault(line, deque()), self._clock.monotonic()
        while periods and periods[0].ended < now - REMEMBERED_SECONDS:
            periods.popleft()
        periods.append(_LoadedTime(now))
        return periods[-1]

    def running(self, office: str) -> tuple[str, ...]:
        """Names of the probes that run on an office."""
        return tuple(test.probe for test in self._running if test.office == office)

    def filling(self, office: str) -> tuple[str, ...]:
        """Names of the probes that fill an office's line."""
        return tuple(test.probe for test in self._running if test.office == office and test.full)

    def was_loaded_since(self, office: str, begin: float, end: float = inf) -> bool:
        """Whether the office's line was loaded at any time between `begin` and `end`.

        A heavy probe of the office loads it, and so does a test that fills the headquarters
        uplink, which all offices share.
        """
        return any(
            time.began < end and time.ended > begin
            for line in (office, HEADQUARTERS)
            for time in self._loaded.get(line, ())
        )

    def was_full_since(self, office: str, begin: float) -> bool:
        """Whether a test filled the office's line since `begin`; for headquarters, any line."""
        full = [test.office for test in self._running if test.full]
        full += [where for where, ended in self._last_full.items() if ended >= begin]
        return bool(full) if office == HEADQUARTERS else office in full

    def annotate(self, measurement: Measurement, began: float | None = None) -> Measurement:
        """Add `under_load` to a measurement disturbed by the monitor's own tests.

        `began` is its start in monotonic seconds; if not given, it is derived from the wall clock.
        """
        if began is None:
            age = (self._clock.now() - measurement.started_at).total_seconds()
            began = self._clock.monotonic() - age
        if not self._disturbed(measurement, began):
            return measurement
        return replace(measurement, conditions={**measurement.conditions, "under_load": True})

    def _disturbed(self, measurement: Measurement, began: float) -> bool:
        series = PROBES[measurement.probe].series_of(measurement.route)
        lookback = series.lookback(measurement)
        if lookback is None:
            return False
        office, since = measurement.office, began - lookback
        match series.disturbed_by:
            case DisturbedBy.HEAVY:
                return self.was_loaded_since(office, since, began + measurement.duration)
            case DisturbedBy.FULL:
                return self.was_full_since(office, since)
            case DisturbedBy.NOTHING:
                return False

    @property
    def is_drill_on(self) -> bool:
        """Whether a drill runs or waits for the uplink."""
        return self._drills > 0

    def is_conference_on(self, office: str) -> bool:
        """Whether a drill runs or waits for the uplink, or a call with the office is running."""
        return self.is_drill_on or any(
            test.exclusive and test.office == office for test in self._running
        )
