"""The limits of an Internet test, set before it starts: rates, bytes and time."""

from __future__ import annotations

from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.plan import HEADROOM
from jharnet_monitor.probes.base import ProbeContext

TIME_LIMIT_SECONDS = 90.0
DIRECTION_SECONDS = 5.0
"""Longer than on JharNet: several short connections, and other traffic on the route."""
LATE_STOP_SECONDS = 0.1
"""How much later than at its limit of bytes a busy computer may stop a direction."""
RATE_WITHOUT_CONTRACT = 34e6
"""bit/s."""
OVERHEAD_BYTES = 100_000


def max_bytes(rate: float) -> int:
    """IP bytes that one direction may put on a line of `rate` bit/s."""
    return int(rate * DIRECTION_SECONDS / 8 / 2)


def rates(context: ProbeContext) -> tuple[float, float]:
    """The rates in bit/s for which a test is planned: towards the office, and from it."""
    link = context.office.link
    if link is None:
        return RATE_WITHOUT_CONTRACT, RATE_WITHOUT_CONTRACT
    return link.rate(Direction.DOWN), link.rate(Direction.UP)


def cost(context: ProbeContext) -> int:
    """The largest number of IP bytes that one run puts on the line, in both directions."""
    late = sum(int(rate * HEADROOM * LATE_STOP_SECONDS / 8) for rate in rates(context))
    return sum(max_bytes(rate) for rate in rates(context)) + late + OVERHEAD_BYTES
