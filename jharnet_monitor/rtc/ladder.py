"""Which rung a sender may send: down at once when the link chokes, by the receiver's reports.

Pure: it is told what the reports say and what time it is. A receiver report (RFC 3550, 6.4.2)
comes every 250 ms on the call itself, so that a sender knows in time; signalling over a full
link would take tens of seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from jharnet_monitor.rtc.profiles import Rung, rungs_below

_WINDOW = 0.8
"""Seconds over which loss and delivered rate are taken."""
_STANDING_QUEUE = 0.3
"""Seconds of added delay which no call should cause."""
_SHORT_QUEUE = 0.03
_LOSS_WITH_QUEUE = 0.06
_LOSS_ALONE = 0.25
_FITS = 0.97
"""A rung is tried if it takes at most this share of what was seen to be delivered."""
_DRAIN_LIMIT = 1.5
"""Seconds; the longest pause that lets a queue drain before the next rung."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one report says of the stream that is watched, counted since the call began."""

    at: float
    """Monotonic seconds when the report came in."""
    packets: int
    """Packets sent up to the highest that has arrived."""
    line_bytes: int
    """The bytes of those packets as IP packets."""
    lost: int
    """How many of them had not arrived."""
    age: float
    """Seconds since that highest packet was sent: round trip plus queue."""


@dataclass(frozen=True, slots=True)
class Step:
    """A change of rung: wait `pause` seconds, so that the queue drains, then send `rung`."""

    rung: Rung
    pause: float
    capacity: float
    """bit/s that came through while the link was full."""


class Ladder:
    """Watches one direction. `rung` is what is being sent."""

    def __init__(self, top: Rung, base_rate: float) -> None:
        self.rung = top
        self.capacity: float | None = None
        """bit/s seen to come through at the last overload; None if there was none."""
        self.loss_stays = False
        """A lower rate did not lower the loss: the link loses packets at any rate."""
        self._base_rate = base_rate
        self._recent: deque[Progress] = deque()
        self._smallest_age = float("inf")
        self._loss_before: float | None = None
        self._not_before = 0

    def report(self, progress: Progress) -> Step | None:
        """Take a report in; gives the step down that it calls for."""
        self._smallest_age = min(self._smallest_age, progress.age)
        if progress.packets < self._not_before:
            return None
        self._recent.append(progress)
        while progress.at - self._recent[0].at > _WINDOW and len(self._recent) > 3:
            self._recent.popleft()
        first = self._recent[0]
        packets = progress.packets - first.packets
        seconds = progress.at - first.at
        if seconds < _WINDOW / 2 or packets < 8:
            return None
        loss = max(0, progress.lost - first.lost) / packets
        delivered = (progress.line_bytes - first.line_bytes) * 8 * (1 - loss) / seconds
        if not self._overloaded(loss):
            return None
        return self._down(loss, delivered + self._base_rate)

    def switched(self, packets: int) -> None:
        """The new rung begins with the packet of this number."""
        self._not_before = packets + 1
        self._recent.clear()

    def _overloaded(self, loss: float) -> bool:
        ages = [p.age - self._smallest_age for p in self._recent]
        queue = min(ages[-3:])
        growing = ages[-1] > ages[0] + 0.02
        if queue > _STANDING_QUEUE and growing:
            return True
        if loss > _LOSS_WITH_QUEUE and queue > _SHORT_QUEUE and not self.loss_stays:
            return True
        return loss > _LOSS_ALONE and not self.loss_stays

    def _down(self, loss: float, delivered: float) -> Step | None:
        queue = min(p.age for p in self._recent) - self._smallest_age
        if self._loss_before is not None and loss > 0.7 * self._loss_before and loss > 0.05:
            self.loss_stays = queue < _STANDING_QUEUE
            if self.loss_stays:
                return None
        self._loss_before = loss
        lower = rungs_below(self.rung)[:-1]
        if not lower:
            return None
        self.capacity = delivered
        fitting = [step for step in lower if step.line_rate <= _FITS * delivered]
        self.rung = fitting[-1] if fitting else lower[0]
        age = self._recent[-1].age - self._smallest_age
        return Step(self.rung, min(max(age, 0.0), _DRAIN_LIMIT), delivered)
