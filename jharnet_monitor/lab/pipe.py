"""One direction of a link: when a packet leaves it, or why it is dropped."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from jharnet_monitor.lab.spec import LinkDirection, Loss

LOST, QUEUE_FULL, CUT = -1.0, -2.0, -3.0
"""Why a packet was dropped: lost on the line, queue full, line cut or in a blackout."""

LINK_CUT, POWER_CUT, BLACKOUT = 1, 2, 4
"""`Pipe.blocked` consists of two bits and, in the bits above, the number of current blackouts."""


def loss_model(loss: Loss, random: Random) -> Callable[[], bool] | None:
    """A function that returns whether the line loses the next packet; None if it loses none."""
    draw, mean, burst = random.random, loss.mean, loss.burst
    if mean == 0:
        return None
    if burst is None:
        return lambda: draw() < mean
    # Gilbert-Elliott model with two states: mean = enter / (enter + leave), burst = 1 / leave.
    leave = 1 / burst
    enter = leave * mean / (1 - mean)
    inside = False

    def lose() -> bool:
        nonlocal inside
        inside = draw() >= leave if inside else draw() < enter
        return inside

    return lose


class Pipe:
    """A queue, a line with rate and loss, and a delay; counts what happens to the packets."""

    __slots__ = (
        "_bucket",
        "_bucket_at",
        "_delay_range",
        "_draw",
        "_free_at",
        "_last_due",
        "_lose",
        "_policed",
        "_queue",
        "_random",
        "_seconds_per_byte",
        "_tokens",
        "blocked",
        "bytes_in",
        "bytes_out",
        "dropped_cut",
        "dropped_loss",
        "dropped_queue",
        "min_delay",
        "name",
        "packets_in",
        "packets_out",
        "settings",
        "wait_max",
        "wait_sum",
    )

    def __init__(self, name: str, settings: LinkDirection, seed: int) -> None:
        """`name` and `seed` together seed the random draws."""
        self.name = name
        self._random = Random(f"{seed}/{name}")
        self._draw = self._random.random
        self.blocked = 0
        self._free_at = self._last_due = 0.0
        self.reset()
        self.configure(settings)

    def reset(self) -> None:
        """Reset all counters to 0."""
        self.packets_in = self.bytes_in = self.packets_out = self.bytes_out = 0
        self.dropped_loss = self.dropped_queue = self.dropped_cut = 0
        self.wait_sum = self.wait_max = 0.0

    def configure(self, settings: LinkDirection) -> None:
        """Apply settings to all packets from now on; those in flight are not affected."""
        self.settings = settings
        self._seconds_per_byte = 8 / settings.rate if settings.rate else 0.0
        self._queue = settings.queue
        self._policed = settings.bucket is not None
        self._bucket = self._tokens = settings.bucket or 0.0
        """Seconds of the rate."""
        self._bucket_at = 0.0
        self.min_delay = settings.delay - settings.jitter
        self._delay_range = 2 * settings.jitter
        self._lose = loss_model(settings.loss, self._random)

    def admit(self, now: float, size: int) -> float:
        """Admit a packet of `size` bytes at the time `now`.

        Returns when it leaves, in monotonic seconds, or `LOST`, `QUEUE_FULL` or `CUT`.
        """
        self.packets_in += 1
        self.bytes_in += size
        if self.blocked:
            self.dropped_cut += 1
            return CUT
        if self._policed:
            if not self._conforms(now, size):
                self.dropped_queue += 1
                return QUEUE_FULL
            return self._leave(now)
        wait = self._free_at - now
        if wait > 0:
            if wait > self._queue:
                self.dropped_queue += 1
                return QUEUE_FULL
            self.wait_sum += wait
            if wait > self.wait_max:  # noqa: PLR1730 - faster than max()
                self.wait_max = wait
            now += wait
        now += size * self._seconds_per_byte
        self._free_at = now
        return self._leave(now)

    def _conforms(self, now: float, size: int) -> bool:
        """Whether the bucket holds enough for the packet; takes it out."""
        self._tokens = min(self._bucket, self._tokens + now - self._bucket_at)
        self._bucket_at = now
        needed = size * self._seconds_per_byte
        if self._tokens < needed:
            return False
        self._tokens -= needed
        return True

    def _leave(self, now: float) -> float:
        """When a packet that was sent at `now` arrives, or `LOST`."""
        if self._lose is not None and self._lose():
            self.dropped_loss += 1
            return LOST
        due = now + self.min_delay
        if self._delay_range:
            due += self._delay_range * self._draw()
        if due < self._last_due:
            return self._last_due
        self._last_due = due
        return due

    def counters(self) -> dict[str, float]:
        """Packets in, out and dropped, and waiting times; packets in flight count only as in."""
        queued = self.packets_in - self.dropped_queue
        return {
            "packets_in": self.packets_in,
            "bytes_in": self.bytes_in,
            "packets_out": self.packets_out,
            "bytes_out": self.bytes_out,
            "dropped_loss": self.dropped_loss,
            "dropped_queue": self.dropped_queue,
            "dropped_cut": self.dropped_cut,
            "queue_mean_ms": self.wait_sum / queued * 1000 if queued else 0.0,
            "queue_max_ms": self.wait_max * 1000,
        }
