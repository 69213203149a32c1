"""Packets on a line: queue or policer, other traffic, loss, delay. Simulates many lines at once.
Pure.

Every array holds one value a lane: a lane is one direction of one simulated call.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.twin.transfers import TcpTransfers

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]

_SEGMENT = 1500 * 8.0
"""Bits of a TCP segment."""
_OTHERS_PACKET = 1000 * 8.0
"""Bits of a packet of other traffic."""
_OWN_SECONDS = 0.5
"""Over which the call's own load is averaged."""


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
        self._own = np.zeros(lanes)
        """Bits that the call sent since the last step."""
        self._own_rate = np.zeros(lanes)
        self._last = np.zeros(lanes)
        self._last_due = np.zeros(lanes)
        self._overloaded = np.zeros(lanes, bool)
        """Whether others and the call send more than the queue or the bucket takes."""
        self._shared = np.ones(lanes)
        """The share of all packets that the line takes."""
        self._others_load = np.zeros(lanes)
        """What others send, as a share of the rate."""
        self._others_entering = np.zeros(lanes)
        """What of it the queue or the bucket takes."""
        self._gone, self._every = columns["gone"], columns["every"]
        pairs = np.repeat(rng.random(lanes // 2), 2)
        self._phase = pairs * self._every
        self._any_gone = bool((self._gone > 0).any())
        self.others_share = columns["others"] / self.rate
        size = np.where(columns["cross"] > 0, _OTHERS_PACKET, 0.0)
        size = np.where(columns["transfer_on"] > 0, _SEGMENT, size)
        self._grains = size / self.rate
        """Seconds that a packet of others takes; 0 without them."""
        self._with_others = bool(size.any())
        self._transfer = TcpTransfers(columns, rng) if (columns["transfer_on"] > 0).any() else None

    def cut(self, now: Floats) -> Flags:
        """Whether the line of each lane is interrupted."""
        if not self._any_gone:
            return np.zeros(len(now), bool)
        cycle = np.where(self._every > 0, self._every, 1.0)
        return (self._gone > 0) & (np.mod(now + self._phase, cycle) < self._gone)

    def advance(self, now: Floats) -> None:
        """Serve the queue and add other traffic until `now`."""
        passed = np.maximum(0.0, now - self._last)
        self._last = np.maximum(self._last, now)
        load = self.others_share
        if self._with_others:
            load = self._load(now, passed)
        served = self.backlog - passed
        changed = served + load * passed
        most = np.maximum(self.queue, served)
        if self._any_policed:
            tokens = self._tokens + (1 - load) * passed
            self._tokens = np.clip(tokens, 0.0, self.bucket)
            changed = np.where(self._policed, 0.0, changed)
        self.backlog = np.maximum(0.0, np.minimum(changed, most))

    def _load(self, now: Floats, passed: Floats) -> Floats:
        """What enters of others' traffic, as a share of the rate.

        A full queue, and an empty bucket, drop others' packets and the call's in proportion.
        """
        share = -np.expm1(-passed / _OWN_SECONDS)
        self._own_rate += share * (self._own / np.maximum(passed, 1e-4) - self._own_rate)
        self._own[:] = 0.0
        load = self.others_share
        if self._transfer is not None:
            load = load + self._transfer.load(now, passed, self.backlog, self.rate)
        own = self._own_rate / self.rate
        self._others_load = load
        self._shared = np.minimum(1.0, 1 / np.maximum(load + own, 1e-6))
        # Small packets pass a bucket that holds too little for a segment of others.
        rest = np.maximum(0.0, 1 - own) / np.maximum(load, 1e-6)
        full = np.where(
            self._policed,
            self._tokens + (1 - load) * passed < self._grains,
            self.backlog + self._grains > self.queue,
        )
        self._overloaded = full & (self._shared < 1) & (self._grains > 0)
        passes = np.minimum(1.0, np.where(self._policed, rest, self._shared))
        passes = np.where(self._overloaded, passes, 1.0)
        if self._transfer is not None:
            self._transfer.meet(passes * (1 - self.loss), passes < 1)
        self._others_entering = np.minimum(1.0, load * passes)
        return np.asarray(load * passes)

    def _accepted_with_others(self, count: Counts, each: Floats, accepted: Counts) -> Counts:
        """How many packets get in where others' packets and the call's overload the line.

        A full queue takes them in proportion. A policer is left with a share of the tokens for a
        packet of others, any share being as probable, and has more until the next of them comes,
        so that smaller packets pass more often.
        """
        size = np.minimum(1.0, each / np.maximum(self._grains, 1e-9))
        filled = 1 / np.maximum(1.0, self._others_load)
        fails = np.where(filled < size, size - filled / 2, size**2 / (2 * filled))
        passes = np.where(self._policed, np.maximum(self._shared, 1 - fails), self._shared)
        drawn = self._rng.binomial(count, np.clip(passes, 0.0, 1.0))
        return np.where(self._overloaded, drawn, accepted)

    def send(self, now: Floats, count: Counts, size: Floats, span: Floats | float = 0.0) -> Sent:
        """Send `count` packets of `size` bytes in each lane, evenly within `span` seconds."""
        self.advance(now)
        each = size * 8 / self.rate
        served = np.maximum(0.0, now + span - self._last)
        gap = served / np.maximum(count, 1)
        growth = np.maximum(each - gap, 1e-9)
        room = np.floor((self.queue - self.backlog) / growth) + 1
        if self._any_policed:
            allowed = np.floor(self._tokens / np.maximum(each - gap, 1e-9) + 1e-9)
            room = np.where(self._policed, allowed, room)
        if self._with_others:
            # Other traffic consists of packets: one may be in the queue or not.
            grain = self._grains * self._rng.random(len(now))
            seen = np.floor((self.queue - self.backlog - grain) / growth) + 1
            room = np.where(self._policed, room, seen)
        accepted = np.clip(room, 0, count).astype(np.int64)
        if self._with_others:
            accepted = self._accepted_with_others(count, each, accepted)
            # Others take their share of what the bottleneck serves meanwhile.
            gap = np.where(self._overloaded, gap * (1 - self._others_entering), gap)
        if self._any_gone:
            accepted = np.where(self.cut(now), 0, accepted)
        self._own += np.where(self._policed, accepted, count) * size * 8
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
