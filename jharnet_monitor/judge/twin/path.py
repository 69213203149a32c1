"""Packets on a line: queue or policer, other traffic, loss, delay. Simulates many lines at once.
Pure.

Every array holds one value a lane: a lane is one direction of one simulated call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

_SEGMENT = 1500 * 8.0
"""Bits of a TCP segment."""
_OTHERS_PACKET = 1000 * 8.0
"""Bits of a packet of other traffic."""
_CUBIC_FACTOR, _CUBIC_SCALE = 0.7, 0.4
"""Multiplicative decrease and growth constant of CUBIC (RFC 9438, 4.1 and 4.6)."""
_SLOW_START_EXIT = 0.03
"""Seconds of queue at which slow start ends (HyStart++, RFC 9406)."""
_BURST = 4 * _SEGMENT
"""Bits that a transfer sends at once, at most, when acknowledgements come for every second segment.
Fitted."""
_LEAST_EXIT = 16 * _SEGMENT
"""Bits of a window below which HyStart does not end slow start (Linux and RFC 9406)."""


@dataclass(slots=True)
class Sent:
    """The outcome of the packets that each lane sent at once."""

    lost: Counts
    """Dropped or lost."""
    arrived: Counts
    last_arrival: Floats
    """When the last packet arrived; meaningless if none did."""


class Path:
    """The bottlenecks of all lanes."""

    def __init__(self, columns: dict[str, Floats], rng: np.random.Generator) -> None:
        """`columns` holds the fields of `DirectionModel` for each lane, with `gone` and `every`."""
        self.columns = columns
        self._rng = rng
        lanes = len(columns["rate"])
        self.rate, self.queue, self.bucket = columns["rate"], columns["queue"], columns["bucket"]
        self._policed = self.bucket > 0
        self._any_policed = bool(self._policed.any())
        self.delay, self.jitter, self.loss = columns["delay"], columns["jitter"], columns["loss"]
        self._bursty = bool(((columns["burst"] > 1) & (self.loss > 0)).any())
        self._leave = 1 / np.maximum(1.0, columns["burst"])
        self._enter = self._leave * self.loss / np.maximum(1e-9, 1 - self.loss)
        self._random_loss = np.where(columns["burst"] > 1, 0.0, self.loss)
        self._bad = np.zeros(lanes, bool)
        self.backlog = np.zeros(lanes)
        """Seconds until the bottleneck has sent the packets in its queue."""
        self._tokens = self.bucket.copy()
        self._last = np.zeros(lanes)
        self._last_due = np.zeros(lanes)
        self._filled = np.zeros(lanes, bool)
        self._gone, self._every = columns["gone"], columns["every"]
        pairs = np.repeat(rng.random(lanes // 2), 2)
        self._phase = pairs * self._every
        self._any_gone = bool((self._gone > 0).any())
        self.others_share = columns["others"] / self.rate
        with_others = (columns["cross"] > 0) | (columns["transfer_on"] > 0)
        self._grains = _OTHERS_PACKET / self.rate * with_others if with_others.any() else None
        self._transfer = _Transfers(columns, rng) if (columns["transfer_on"] > 0).any() else None

    def cut(self, now: Floats) -> Flags:
        """Whether the line of each lane is interrupted."""
        if not self._any_gone:
            return np.zeros(len(now), bool)
        cycle = np.where(self._every > 0, self._every, 1.0)
        return (self._gone > 0) & (np.mod(now + self._phase, cycle) < self._gone)

    def _advance(self, now: Floats) -> None:
        """Serve the queue and add other traffic until `now`."""
        passed = np.maximum(0.0, now - self._last)
        self._last = np.maximum(self._last, now)
        load = self.others_share
        if self._transfer is not None:
            load = load + self._transfer.load(now, passed, self.backlog, self.rate)
        self._filled = load >= 1  # others alone send more than the rate
        served = self.backlog - passed
        changed = served + load * passed
        most = np.maximum(self.queue, served)
        overflow = changed > most
        if self._any_policed:
            tokens = self._tokens + (1 - load) * passed
            overflow = np.where(self._policed, tokens < 0, overflow)
            self._tokens = np.clip(tokens, 0.0, self.bucket)
            changed = np.where(self._policed, 0.0, changed)
        self.backlog = np.maximum(0.0, np.minimum(changed, most))
        if self._transfer is not None:
            self._transfer.meet(overflow, now, self.loss, self.rate, self.backlog)

    def _tokens_met(self) -> Floats:
        """The policer's tokens as a packet finds them, in seconds.

        A transfer of more than the rate does not leave it empty: there are tokens, but too few for
        one of its segments, so that smaller packets pass more often.
        """
        if self._transfer is None:
            return self._tokens
        left = self._rng.random(len(self._tokens)) * _SEGMENT / self.rate
        return np.where(self._filled, np.maximum(self._tokens, left), self._tokens)

    def send(self, now: Floats, count: Counts, size: Floats, span: Floats | float = 0.0) -> Sent:
        """Send `count` packets of `size` bytes in each lane, evenly within `span` seconds."""
        self._advance(now)
        each = size * 8 / self.rate
        served = np.maximum(0.0, now + span - self._last)
        gap = served / np.maximum(count, 1)
        growth = np.maximum(each - gap, 1e-9)
        room = np.floor((self.queue - self.backlog) / growth) + 1
        if self._any_policed:
            allowed = np.floor(self._tokens_met() / np.maximum(each - gap, 1e-9) + 1e-9)
            room = np.where(self._policed, allowed, room)
        if self._grains is not None:
            # Other traffic consists of packets: one may be in the queue or not.
            grain = self._grains * self._rng.random(len(now))
            seen = np.floor((self.queue - self.backlog - grain) / growth) + 1
            room = np.where(self._policed, room, seen)
        accepted = np.clip(room, 0, count).astype(np.int64)
        if self._any_gone:
            accepted = np.where(self.cut(now), 0, accepted)
        wait = np.where(self._policed, 0.0, self.backlog)
        if self._transfer is not None:
            ahead = self._transfer.burst(self.rate) * self._rng.random(len(now))
            wait = wait + np.where(self._policed, 0.0, ahead)
        duration = np.maximum(accepted * each, span * (accepted > 0))
        self.backlog = np.where(
            self._policed, 0.0, np.maximum(0.0, self.backlog + accepted * (each - gap))
        )
        if self._any_policed:
            self._tokens = np.maximum(0.0, self._tokens - accepted * np.maximum(0.0, each - gap))
        lost_on_line = self._lost(accepted)
        arrived = accepted - lost_on_line
        leaves = now + wait + np.where(self._policed, span, duration)
        due = leaves + self.delay
        if self.jitter.any():
            draw = self._rng.random(len(now)) ** (1 / np.maximum(arrived, 1))
            due = due + self.jitter * (2 * draw - 1)
        due = np.maximum(due, self._last_due)
        # The bottleneck has already been served until the last of them has left.
        self._last = np.where(accepted > 0, np.maximum(self._last, now + span), self._last)
        self._last_due = np.where(arrived > 0, due, self._last_due)
        return Sent(count - arrived, arrived, due)

    def _lost(self, accepted: Counts) -> Counts:
        """How many of the packets the line loses."""
        lost = np.zeros(len(accepted), np.int64)
        if self._random_loss.any():
            lost = self._rng.binomial(accepted, self._random_loss)
        if self._bursty:
            chained = self.columns["burst"] > 1
            for number in range(int(accepted[chained].max(initial=0))):
                draw = self._rng.random(len(accepted))
                active = chained & (accepted > number)
                bad = np.where(self._bad, draw >= self._leave, draw < self._enter)
                self._bad = np.where(active, bad, self._bad)
                lost += active & self._bad
        return lost


class _Transfers:
    """Other TCP transfers, as fluids whose windows grow and shrink like CUBIC's."""

    def __init__(self, columns: dict[str, Floats], rng: np.random.Generator) -> None:
        self._on, self._off = columns["transfer_on"], columns["transfer_off"]
        lanes = len(self._on)
        self._cycle = np.where(self._on > 0, self._on + self._off, 1.0)
        self._phase = rng.random(lanes) * self._cycle
        self._trip = 2 * columns["delay"]
        self._window = np.full(lanes, 10 * _SEGMENT)
        self._most = np.full(lanes, np.inf)
        self._since = np.zeros(lanes)
        self._running = np.zeros(lanes, bool)
        self._loss_draw = rng

    def load(self, now: Floats, passed: Floats, backlog: Floats, rate: Floats) -> Floats:
        """Their traffic as a share of the bottleneck's rate."""
        running = (self._on > 0) & (np.mod(now + self._phase, self._cycle) < self._on)
        begins = running & ~self._running
        self._window = np.where(begins, 10 * _SEGMENT, self._window)
        self._most = np.where(begins, np.inf, self._most)
        self._running = running
        trip = self._trip + backlog + 1e-3
        slow_start = np.isinf(self._most)
        self._window = np.where(slow_start, self._window * 2 ** (passed / trip), self._window)
        leaves = slow_start & (backlog > _SLOW_START_EXIT) & running & (self._window >= _LEAST_EXIT)
        self._most = np.where(leaves, self._window / _SEGMENT, self._most)
        self._since = np.where(leaves, now, self._since)
        most = np.where(np.isinf(self._most), 10.0, self._most)
        turn = np.cbrt(most * (1 - _CUBIC_FACTOR) / _CUBIC_SCALE)
        cubic = _CUBIC_SCALE * (now - self._since - turn) ** 3 + most
        reno = _CUBIC_FACTOR * most + 0.53 * (now - self._since) / trip
        grown = np.maximum(np.maximum(cubic, reno), 2.0) * _SEGMENT
        self._window = np.where(np.isinf(self._most), self._window, grown)
        self._window = np.minimum(self._window, 3e6 * 8)
        sent = self._window / trip
        self._sent = np.where(running, sent * passed / _SEGMENT, 0.0)
        return np.where(running, sent / rate, 0.0)

    def burst(self, rate: Floats) -> Floats:
        """Seconds that a burst of their segments takes at the bottleneck."""
        return np.where(self._running, _BURST / rate, 0.0)

    def meet(
        self, overflow: Flags, now: Floats, loss: Floats, rate: Floats, backlog: Floats
    ) -> None:
        """Shrink the windows of transfers that lost a segment, at most once a round trip."""
        hit = overflow
        if loss.any():
            hit = hit | (self._loss_draw.random(len(now)) < -np.expm1(-loss * self._sent))
        hit = hit & self._running & (now - self._since > self._trip + 0.05)
        # Traffic beyond the line's rate is lost as well.
        got = np.minimum(self._window, rate * (self._trip + backlog))
        self._most = np.where(hit, np.maximum(2.0, got / _SEGMENT), self._most)
        self._since = np.where(hit, now, self._since)
