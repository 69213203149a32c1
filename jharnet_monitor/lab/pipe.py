"""One direction of one link: when a packet leaves it, or why it does not."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from jharnet_monitor.lab.spec import Loss, Way

LOST, FULL, CUT = -1.0, -2.0, -3.0
"""Why a packet does not leave: lost on the line, queue full, line cut or blacked out."""

LINK_CUT, POWER_CUT, BLACKOUT = 1, 2, 4
"""What `Pipe.blocked` is made of: two bits, and above them a count of blackouts at the moment."""


def loss_model(loss: Loss, random: Random) -> Callable[[], bool] | None:
    """A function that tells of each packet whether the line loses it; None loses nothing."""
    draw, mean, burst = random.random, loss.mean, loss.burst
    if mean == 0:
        return None
    if burst is None:
        return lambda: draw() < mean
    # Gilbert-Elliott with two states; mean = enter / (enter + leave).
    leave = 1 / burst
    enter = leave * mean / (1 - mean)
    inside = False

    def lose() -> bool:
        nonlocal inside
        inside = draw() >= leave if inside else draw() < enter
        return inside

    return lose


class Pipe:
    """A queue, a line of some rate, loss, and a journey; counts everything that happens in it."""

    __slots__ = (
        "_draw",
        "_free_at",
        "_last_due",
        "_lose",
        "_queue",
        "_random",
        "_seconds_per_byte",
        "_spread",
        "blocked",
        "bytes_in",
        "bytes_out",
        "dropped_cut",
        "dropped_loss",
        "dropped_queue",
        "floor",
        "name",
        "packets_in",
        "packets_out",
        "wait_max",
        "wait_sum",
        "way",
    )

    def __init__(self, name: str, way: Way, seed: int) -> None:
        self.name = name
        self._random = Random(f"{seed}/{name}")
        self._draw = self._random.random
        self.blocked = 0
        self._free_at = self._last_due = 0.0
        self.reset()
        self.configure(way)

    def reset(self) -> None:
        """Count from 0 again."""
        self.packets_in = self.bytes_in = self.packets_out = self.bytes_out = 0
        self.dropped_loss = self.dropped_queue = self.dropped_cut = 0
        self.wait_sum = self.wait_max = 0.0

    def configure(self, way: Way) -> None:
        """Take these settings for every packet from now on; those under way keep their moment."""
        self.way = way
        self._seconds_per_byte = 8 / way.rate if way.rate else 0.0
        self._queue = way.queue
        self.floor = way.delay - way.jitter
        self._spread = 2 * way.jitter
        self._lose = loss_model(way.loss, self._random)

    def admit(self, now: float, size: int) -> float:
        """The moment (monotonic seconds) a packet of `size` bytes is through, or why it is not."""
        self.packets_in += 1
        self.bytes_in += size
        if self.blocked:
            self.dropped_cut += 1
            return CUT
        wait = self._free_at - now
        if wait > 0:
            if wait > self._queue:
                self.dropped_queue += 1
                return FULL
            self.wait_sum += wait
            if wait > self.wait_max:  # noqa: PLR1730 - quicker than max()
                self.wait_max = wait
            now += wait
        now += size * self._seconds_per_byte
        self._free_at = now
        if self._lose is not None and self._lose():
            self.dropped_loss += 1
            return LOST
        due = now + self.floor
        if self._spread:
            due += self._spread * self._draw()
        if due < self._last_due:
            return self._last_due
        self._last_due = due
        return due

    def counters(self) -> dict[str, float]:
        """What went in, came out and was dropped; packets still under way are in none of them."""
        taken = self.packets_in - self.dropped_queue
        return {
            "packets_in": self.packets_in,
            "bytes_in": self.bytes_in,
            "packets_out": self.packets_out,
            "bytes_out": self.bytes_out,
            "dropped_loss": self.dropped_loss,
            "dropped_queue": self.dropped_queue,
            "dropped_cut": self.dropped_cut,
            "queue_mean_ms": self.wait_sum / taken * 1000 if taken else 0.0,
            "queue_max_ms": self.wait_max * 1000,
        }
