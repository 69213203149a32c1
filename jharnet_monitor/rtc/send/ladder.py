"""Which rung a sender may send: down at once when the link chokes, by the receiver's reports.

Pure: it is told what the reports say and what time it is. A receiver report (RFC 3550, 6.4.2)
comes every 250 ms on the call itself, so that a sender knows in time; signalling over a full
link would take tens of seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from jharnet_monitor.profiles import RUNGS, Rung, rungs_below

_WINDOW = 0.8
"""Seconds over which loss and delivered rate are taken."""
_GROWN_QUEUE = 0.3
"""Seconds of added delay which no call should cause."""
_STANDING_QUEUE = 0.05
"""Seconds that even the quickest packet waits, if there is more traffic than the link takes."""
_STANDING = 1.2
"""Seconds for which it must, so that no keyframe is held for it ..."""
_LOSS_STANDING = 0.03
"""... and meanwhile this must be lost: jitter alone holds packets up, too."""
_SHORT_QUEUE = 0.03
_LOSS_WITH_QUEUE = 0.06
_LOSS_AGAIN = 0.15
"""On a rung that was chosen by what the link bore, where few packets make chance losses large."""
_LOSS_ALONE = 0.25
_LOSSY = 0.8
"""Seconds for which so much must be lost, without any queue, to be held for a limit of the rate."""
_BLACKOUT = 0.3
"""Seconds in which nothing arrived: an interruption, which says nothing of the rate."""
_FITS = 0.92
"""A rung is tried if it takes at most this share of what was seen to be delivered."""
_FITS_LEAST = 0.97
"""... or at most this, if it is the smallest picture: beneath it there is none."""
_FITS_AGAIN = 0.8
"""... if it is not the first overload: other traffic gave way to us, and takes its part back."""
_LONGER = 0.08
"""Seconds that a video packet takes longer than an audio packet, on the narrowest of links."""
_GROWTH = 0.05
"""Seconds by which a queue grows over the window if the rung is too much for the link."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one report says of the stream that is watched, counted since the call began."""

    at: float
    """Seconds, by the receiver's clock, when it was written."""
    packets: int
    """Packets sent up to the highest that has arrived."""
    lost: int
    """How many of them had not arrived."""
    line_bytes: int
    """What has arrived of the whole call, as IP packets, repeats included."""
    transit: float
    """From sending to arrival of that highest packet, on two clocks: only changes tell."""
    gap: float = 0.0
    """The longest time in which nothing arrived at all, since the report before."""
    beside: tuple[int, int] = (0, 0)
    """Packets sent and lost of the other stream of the call, which shares the queue."""

    @property
    def all_packets(self) -> int:
        """Of both streams."""
        return self.packets + self.beside[0]

    @property
    def all_lost(self) -> int:
        """Of both streams."""
        return self.lost + self.beside[1]


class Ladder:
    """Watches one direction. `rung` is what is being sent."""

    def __init__(self, top: Rung) -> None:
        self.rung = top
        self.capacity: float | None = None
        """bit/s seen to come through at the last overload; None if there was none."""
        self.loss_stays = False
        """A lower rate did not lower the loss: the link loses packets at any rate."""
        self._lossy_since: float | None = None
        self._queued_from: Progress | None = None
        self._recent: deque[Progress] = deque()
        self._shortest = float("inf")
        self._loss_before: float | None = None
        self._not_before = 0

    def report(self, progress: Progress) -> Rung | None:
        """Take a report in; gives the rung to change to, if it calls for a change."""
        self._shortest = min(self._shortest, progress.transit)
        if progress.packets < self._not_before:
            return None
        if progress.gap > _BLACKOUT:
            self._recent.clear()
            self._lossy_since = self._queued_from = None
        self._recent.append(progress)
        while progress.at - self._recent[0].at > _WINDOW and len(self._recent) > 3:
            self._recent.popleft()
        first = self._recent[0]
        packets = progress.packets - first.packets
        seconds = progress.at - first.at
        if seconds < _WINDOW / 2 or packets < 8:
            return None
        loss = max(0, progress.lost - first.lost) / packets
        if not self._overloaded(loss, progress.at):
            return None
        return self._down(loss, (progress.line_bytes - first.line_bytes) * 8 / seconds)

    def idle(self, transit: float) -> None:
        """The time that a small packet took before there was any video: the queue is empty."""
        self._shortest = min(self._shortest, transit + _LONGER)

    def switched(self, packets: int) -> None:
        """The new rung begins with the packet of this number."""
        self._not_before = packets + 1
        self._lossy_since = self._queued_from = None
        self._recent.clear()

    def _overloaded(self, loss: float, now: float) -> bool:
        queued = [p.transit - self._shortest for p in self._recent]
        queue = min(queued[-3:])
        if queue > _GROWN_QUEUE and queued[-1] > queued[0] + _GROWTH:
            return True
        telling = _LOSS_WITH_QUEUE if self.capacity is None else _LOSS_AGAIN
        if loss > telling and queue > _SHORT_QUEUE and not self.loss_stays:
            return True
        if self._stands(min(queued) > _STANDING_QUEUE):
            return True
        if loss <= _LOSS_ALONE:
            self._lossy_since = None
        elif self._lossy_since is None:
            self._lossy_since = now
        lossy = self._lossy_since is not None and now - self._lossy_since >= _LOSSY
        return lossy and not self.loss_stays

    def _stands(self, queued: bool) -> bool:
        """Whether a queue has stood for long and overflown: others send, too."""
        newest = self._recent[-1]
        if not queued or self.loss_stays:
            self._queued_from = None
        elif self._queued_from is None:
            self._queued_from = newest
        begun = self._queued_from
        if begun is None or newest.at - begun.at < _STANDING:
            return False
        lost, packets = newest.all_lost - begun.all_lost, newest.all_packets - begun.all_packets
        return lost > _LOSS_STANDING * packets

    def _down(self, loss: float, delivered: float) -> Rung | None:
        queue = min(p.transit for p in self._recent) - self._shortest
        if self._loss_before is not None and loss > 0.7 * self._loss_before and loss > 0.05:
            self.loss_stays = queue < _SHORT_QUEUE
            if self.loss_stays:
                return None
        self._loss_before = loss
        lower = rungs_below(self.rung)[:-1]
        if not lower:
            return None
        if self.rung is RUNGS[1] and self.rung.line_rate * _FITS_LEAST <= delivered:
            return None  # what it lacks of the smallest picture is less than can be told
        share = _FITS if self.capacity is None else _FITS_AGAIN
        self.capacity = delivered
        fitting = [
            step
            for step in lower
            if step.line_rate <= (_FITS_LEAST if step is RUNGS[1] else share) * delivered
        ]
        self.rung = fitting[-1] if fitting else lower[0]
        return self.rung
