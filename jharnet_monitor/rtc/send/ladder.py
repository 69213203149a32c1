"""Selects the rung that a sender may send: steps down at once when the link is overloaded. Pure.

It decides from the receiver's reports (RFC 3550, 6.4.2), which arrive every 100 to 250 ms on the
call itself. Signalling over an overloaded link would take tens of seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

from jharnet_monitor.profiles import RUNGS, Rung, rungs_below

_WINDOW = 0.8
"""Seconds over which loss and delivered rate are measured."""
_LONG_QUEUE = 0.3
"""Seconds of queueing delay that no call should cause."""
_QUEUE_GROWTH = 0.05
"""Seconds by which the queue grows within the window if the rung exceeds the link's rate."""
_STANDING_QUEUE = 0.05
"""Seconds that even the fastest packet waits if there is more traffic than the link carries."""
_STANDING_SECONDS = 1.2
"""The queue must stand for this long, longer than one keyframe causes ..."""
_STANDING_LOSS = 0.03
"""... and this share must be lost meanwhile: jitter alone also delays packets."""
_SHORT_QUEUE = 0.03
"""Seconds of queueing delay above which loss is attributed to a full queue."""
_LOSS_WITH_QUEUE = 0.06
"""Loss that, together with a queue, is an overload ..."""
_LOSS_AFTER_STEP = 0.15
"""... and after a step down, where few packets make random loss fluctuate more."""
_LOSS_WITHOUT_QUEUE = 0.25
"""Loss that is an overload without any queue, as a rate limiter causes ..."""
_LOSSY_SECONDS = 0.8
"""... if it lasts this long."""
_INTERRUPTION = 0.3
"""Seconds without any arrival: an interruption, which says nothing about the rate."""
_LARGE_PACKET = 8 * 1200.0
"""Bits on the line of the packet that ends a pause, most often a full one."""
_MIN_SECONDS = 0.2
"""The shortest time of which there is a delivered rate."""
_ROUNDS = 3
"""The idle time depends on the rate, and the rate on it."""
_MAX_SHARE = 0.92
"""A rung may take this share of the delivered rate at the first overload ..."""
_MAX_SHARE_LOWEST = 0.97
"""... or this share for the smallest picture, below which there is only audio ..."""
_MAX_SHARE_AGAIN = 0.8
"""... or this share at a later overload: other traffic that backed off takes its part back."""
_VIDEO_PACKET_SECONDS = 0.08
"""How much longer a video packet takes than an audio packet on the narrowest link."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One receiver report on the watched stream, counted from the start of the call."""

    at: float
    """When the report was written, in seconds of the receiver's clock."""
    packets: int
    """Packets sent up to the highest that has arrived."""
    lost: int
    """How many of them have not arrived."""
    line_bytes: int
    """IP bytes of the whole call that have arrived, retransmissions included."""
    transit: float
    """Seconds from sending to arrival of that highest packet. It spans two clocks, so that only
    its changes are meaningful."""
    longest_gap: float = 0.0
    """The longest time in seconds in which nothing arrived and that ended since the previous
    report."""
    newest_at: float | None = None
    """When the newest packet of either stream arrived, by the clock of `at`; None if not known."""
    longest_pause: float = 0.0
    """The longest time in seconds in which the sender stood still, of what was sent since the
    previous report."""
    other_stream: tuple[int, int] = (0, 0)
    """Packets sent and lost of the call's other stream, which shares the queue."""

    @property
    def all_packets(self) -> int:
        """Packets sent of both streams."""
        return self.packets + self.other_stream[0]

    @property
    def all_lost(self) -> int:
        """Packets lost of both streams."""
        return self.lost + self.other_stream[1]

    @property
    def silence(self) -> float:
        """Seconds for which nothing has arrived."""
        return 0.0 if self.newest_at is None else self.at - self.newest_at

    def idle(self, rate: float) -> float:
        """Seconds in which a link of `rate` bit/s had nothing to carry as the sender stood still.

        A queue bridges a pause: packets go on arriving until it has drained. The last part of a gap
        between two arrivals is the transmission of the second packet.
        """
        return max(0.0, min(self.longest_gap, self.longest_pause) - _LARGE_PACKET / rate)


class Ladder:
    """The rung selection of one direction; `rung` is the rung to send."""

    def __init__(self, top: Rung) -> None:
        self.rung = top
        self.capacity: float | None = None
        """bit/s that arrived at the latest overload; None if there was none."""
        self.loss_stays = False
        """A lower rate did not lower the loss: the link loses packets at any rate."""
        self._lossy_since: float | None = None
        self._queue_since: Progress | None = None
        self._recent: deque[Progress] = deque()
        self._min_transit = float("inf")
        self._previous_loss: float | None = None
        self._first_packet_of_rung = 0

    def report(self, progress: Progress) -> Rung | None:
        """Process a report; returns the rung to change to, or None to stay."""
        self._min_transit = min(self._min_transit, progress.transit)
        if progress.packets < self._first_packet_of_rung:
            return None
        if max(progress.longest_gap, progress.silence) > _INTERRUPTION:
            self._recent.clear()
            self._lossy_since = self._queue_since = None
        self._recent.append(progress)
        while progress.at - self._recent[0].at > _WINDOW and len(self._recent) > 3:
            self._recent.popleft()
        first = self._recent[0]
        packets = progress.packets - first.packets
        seconds = progress.at - first.at
        if seconds < _WINDOW / 2 or packets < 8:
            return None
        loss = max(0, progress.lost - first.lost) / packets
        if not self._is_overloaded(loss, progress.at):
            return None
        return self._step_down(loss, self._delivered_rate())

    def _delivered_rate(self) -> float:
        """bit/s that arrived in the window, without the time in which the sender stood still.

        The window is that from the newest packet of its first report to that of its last.
        """
        first, newest = self._recent[0], self._recent[-1]
        bits = 8 * (newest.line_bytes - first.line_bytes)
        seconds = newest.at - newest.silence - first.at + first.silence
        rate = bits / max(seconds, _MIN_SECONDS)
        for _ in range(_ROUNDS):
            idle = sum(progress.idle(rate) for progress in islice(self._recent, 1, None))
            rate = bits / max(seconds - idle, _MIN_SECONDS)
        return rate

    def note_audio_transit(self, transit: float) -> None:
        """Note the transit in seconds of an audio packet before any video: the queue is empty."""
        self._min_transit = min(self._min_transit, transit + _VIDEO_PACKET_SECONDS)

    def rung_started(self, packets: int) -> None:
        """Judge only packets from number `packets` on, the first of the new rung."""
        self._first_packet_of_rung = packets + 1
        self._lossy_since = self._queue_since = None
        self._recent.clear()

    def _is_overloaded(self, loss: float, now: float) -> bool:
        queues = [p.transit - self._min_transit for p in self._recent]
        queue = min(queues[-3:])
        if queue > _LONG_QUEUE and queues[-1] > queues[0] + _QUEUE_GROWTH:
            return True
        max_loss = _LOSS_WITH_QUEUE if self.capacity is None else _LOSS_AFTER_STEP
        if loss > max_loss and queue > _SHORT_QUEUE and not self.loss_stays:
            return True
        if self._has_standing_queue(min(queues) > _STANDING_QUEUE):
            return True
        if loss <= _LOSS_WITHOUT_QUEUE:
            self._lossy_since = None
        elif self._lossy_since is None:
            self._lossy_since = now
        lossy = self._lossy_since is not None and now - self._lossy_since >= _LOSSY_SECONDS
        return lossy and not self.loss_stays

    def _has_standing_queue(self, queued: bool) -> bool:
        """Whether a queue has stood for long and overflowed, as it does with other traffic."""
        newest = self._recent[-1]
        if not queued or self.loss_stays:
            self._queue_since = None
        elif self._queue_since is None:
            self._queue_since = newest
        since = self._queue_since
        if since is None or newest.at - since.at < _STANDING_SECONDS:
            return False
        lost, packets = newest.all_lost - since.all_lost, newest.all_packets - since.all_packets
        return lost > _STANDING_LOSS * packets

    def _step_down(self, loss: float, delivered: float) -> Rung | None:
        """Choose a lower rung for a delivered rate in bit/s; None if stepping down is useless."""
        queue = min(p.transit for p in self._recent) - self._min_transit
        if self._previous_loss is not None and loss > 0.7 * self._previous_loss and loss > 0.05:
            self.loss_stays = queue < _SHORT_QUEUE
            if self.loss_stays:
                return None
        self._previous_loss = loss
        lower = rungs_below(self.rung)[:-1]
        if not lower:
            return None
        smallest_picture = RUNGS[1]
        if self.rung is smallest_picture and self.rung.line_rate * _MAX_SHARE_LOWEST <= delivered:
            return None  # the difference is within the error of the delivered rate
        share = _MAX_SHARE if self.capacity is None else _MAX_SHARE_AGAIN
        self.capacity = delivered
        fitting = [
            rung
            for rung in lower
            if rung.line_rate
            <= (_MAX_SHARE_LOWEST if rung is smallest_picture else share) * delivered
        ]
        self.rung = fitting[-1] if fitting else lower[0]
        return self.rung
