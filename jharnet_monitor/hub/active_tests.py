"""What our own tests put on which line, and until when: for marks, and to keep out of the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import HEADQUARTERS, Measurement

REMEMBERED_SECONDS = 600.0
"""Agents hand in their minutes as they end; what they spooled is of a time without tests."""


@dataclass(frozen=True, slots=True)
class Running:
    """A probe under way; a `full` one takes as much of the line as it can get, or needs."""

    office: str
    probe: str
    heavy: bool
    full: bool


@dataclass(slots=True)
class _Stretch:
    """A time in which a line was loaded."""

    begun: float
    ended: float = inf


class Load:
    """The books of one hub; moments are in monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: list[Running] = []
        self._heavy: dict[str, deque[_Stretch]] = {}
        self._last_full: dict[str, float] = {}
        self._drills = 0

    @contextmanager
    def by(self, one: Running) -> Iterator[None]:
        """While a probe runs."""
        self._running.append(one)
        stretch = self._begin(one.office) if one.heavy else None
        try:
            yield
        finally:
            self._running.remove(one)
            now = self._clock.monotonic()
            if stretch is not None:
                stretch.ended = now
            if one.full:
                self._last_full[one.office] = now

    @contextmanager
    def drill(self) -> Iterator[None]:
        """While a drill waits for the uplink and has it."""
        self._drills += 1
        stretch = self._begin(HEADQUARTERS)
        try:
            yield
        finally:
            self._drills -= 1
            stretch.ended = self._clock.monotonic()

    def _begin(self, way: str) -> _Stretch:
        """Open a stretch on a line, and forget those that nobody asks for any more."""
        held, now = self._heavy.setdefault(way, deque()), self._clock.monotonic()
        while held and held[0].ended < now - REMEMBERED_SECONDS:
            held.popleft()
        held.append(_Stretch(now))
        return held[-1]

    def running(self, office: str) -> tuple[str, ...]:
        """Names of the probes under way on an office."""
        return tuple(r.probe for r in self._running if r.office == office)

    def heavy_since(self, office: str, begin: float, end: float = inf) -> bool:
        """Whether the office's line was loaded at or after a moment, and not only after `end`.

        By a heavy probe of its own, or by what has headquarters' uplink, which all share, alone.
        """
        return any(
            stretch.begun <= end and stretch.ended >= begin
            for way in (office, HEADQUARTERS)
            for stretch in self._heavy.get(way, ())
        )

    def marked(self, measurement: Measurement) -> Measurement:
        """Of an agent, with what it cannot know: that headquarters' end of its way was loaded."""
        if measurement.probe != "latency" or measurement.path != "agent_hub":
            return measurement
        ago = (self._clock.now() - measurement.started_at).total_seconds()
        begin = self._clock.monotonic() - ago
        if not self.heavy_since(measurement.office, begin, begin + measurement.duration):
            return measurement
        return replace(measurement, conditions={**measurement.conditions, "under_load": True})

    def full_since(self, office: str, moment: float) -> bool:
        """Whether a test filled the office's line at or after a moment; on the uplink, anyone's."""
        full = [r.office for r in self._running if r.full]
        full += [where for where, ended in self._last_full.items() if ended >= moment]
        return bool(full) if office == HEADQUARTERS else office in full

    def conference_on(self, office: str | None = None) -> bool:
        """Whether a drill is under way or waits for the line, or a call with the office is."""
        return self._drills > 0 or any(
            r.probe == "conference" for r in self._running if r.office == office
        )
