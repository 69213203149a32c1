"""Whether a speed test came out lower than was contracted. Pure, and light: the daemon asks it."""

from __future__ import annotations

from math import inf

from jharnet_monitor.config.schema import Link
from jharnet_monitor.model import Direction, Measurement


def falls_short(measurement: Measurement, link: Link | None, mark: float) -> bool:
    """Whether a speed test, in either direction, gave less than `mark` of what was contracted.

    A test that its own pace held back gives only "at least", and falls short of nothing.
    """
    if link is None:
        return False
    return any(
        measurement.values.get(f"{direction.transfer}_bits_per_second", inf)
        < mark * link.rate(direction)
        and not measurement.conditions.get(f"{direction.transfer}_at_least")
        for direction in Direction
    )
