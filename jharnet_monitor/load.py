"""What our own tests put on which line, and until when: for marks, and to keep out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import HEADQUARTERS


@dataclass(frozen=True, slots=True)
class Running:
    """A probe under way; a `full` one takes as much of the line as it can get, or needs."""

    office: str
    probe: str
    heavy: bool
    full: bool


class Load:
    """The books of one hub; moments are in monotonic seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: list[Running] = []
        self._last_heavy: dict[str, float] = {}
        self._last_full: dict[str, float] = {}
        self._drills = 0

    @contextmanager
    def by(self, one: Running) -> Iterator[None]:
        """While a probe runs."""
        self._running.append(one)
        try:
            yield
        finally:
            self._running.remove(one)
            now = self._clock.monotonic()
            if one.heavy:
                self._last_heavy[one.office] = now
            if one.full:
                self._last_full[one.office] = now

    @contextmanager
    def drill(self) -> Iterator[None]:
        """While a drill waits for the uplink and has it."""
        self._drills += 1
        try:
            yield
        finally:
            self._drills -= 1
            self._last_heavy[HEADQUARTERS] = self._clock.monotonic()

    def running(self, office: str) -> tuple[str, ...]:
        """Names of the probes under way on an office."""
        return tuple(r.probe for r in self._running if r.office == office)

    def heavy_since(self, office: str, moment: float) -> bool:
        """Whether the office's line was loaded at or after a moment.

        By a heavy probe of its own, or by what has headquarters' uplink, which all share, alone.
        """
        ways = (office, HEADQUARTERS)
        if self._drills or any(r.heavy for r in self._running if r.office in ways):
            return True
        return any(self._last_heavy.get(way, -inf) >= moment for way in ways)

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
