"""Whether a speed test came out lower than was contracted. Pure, and light: the daemon asks it."""

from __future__ import annotations

from math import inf

from jharnet_monitor.config.schema import Link
from jharnet_monitor.model import Measurement


def falls_short(measurement: Measurement, link: Link | None, mark: float) -> bool:
    """Whether a speed test, in either direction, gave less than `mark` of what was contracted.

    A test that its own pace held back gives only "at least", and falls short of nothing.
    """
    if link is None:
        return False
    contracts = {"download": link.contracted, "upload": link.contracted_up or link.contracted}
    return any(
        measurement.values.get(f"{way}_bits_per_second", inf) < mark * contracted
        and not measurement.conditions.get(f"{way}_at_least")
        for way, contracted in contracts.items()
    )
