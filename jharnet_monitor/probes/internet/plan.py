"""What a test of the path to the Internet may take of the line, before it starts."""

from __future__ import annotations

from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.plan import HEADROOM
from jharnet_monitor.probes.base import ProbeContext

TIME_LIMIT_SECONDS = 90.0
DIRECTION_SECONDS = 5.0
"""Longer than on JharNet: several short connections, and other people's traffic on the way."""
LATE_STOP_SECONDS = 0.1
"""So much later than its bytes are spent a busy computer may end a direction."""
RATE_WITHOUT_CONTRACT = 34e6
OVERHEAD_BYTES = 100_000


def most_bytes(rate: float) -> int:
    """IP bytes that one direction may take of a line of `rate` bit/s."""
    return int(rate * DIRECTION_SECONDS / 8 / 2)


def rates(context: ProbeContext) -> tuple[float, float]:
    """The rates in bit/s, towards the office and from it, that a test is planned for."""
    link = context.office.link
    if link is None:
        return RATE_WITHOUT_CONTRACT, RATE_WITHOUT_CONTRACT
    return link.rate(Direction.DOWN), link.rate(Direction.UP)


def cost(context: ProbeContext) -> int:
    """The most bytes that one run puts on the office's line, both ways together."""
    late = sum(int(rate * HEADROOM * LATE_STOP_SECONDS / 8) for rate in rates(context))
    return sum(most_bytes(rate) for rate in rates(context)) + late + OVERHEAD_BYTES
