"""What an office's contract promises, and whether a speed test falls short of it. Pure.

The hub uses it in the daemon, so it must not load NumPy.
"""

from __future__ import annotations

from math import inf

from jharnet_monitor.config.schema import Config, Link, Office
from jharnet_monitor.model import Direction, Measurement


def contracted_rates(office: Office) -> tuple[float | None, float | None]:
    """The contracted rates in bit/s, towards the office and from it; None without a contract."""
    link = office.link
    return (link.rate(Direction.DOWN), link.rate(Direction.UP)) if link else (None, None)


def promised_availability(config: Config, office: Office) -> float:
    """The availability (a ratio) that the contract promises, else the district's requirement."""
    link = office.link
    return link.sla if link and link.sla is not None else config.thresholds.availability


def falls_short(measurement: Measurement, link: Link | None, share: float) -> bool:
    """Whether a speed test gave less than `share` of the contracted rate in either direction.

    A direction that the test's own pace limited (`…_at_least`) never falls short.
    """
    if link is None:
        return False
    return any(
        measurement.values.get(f"{direction.transfer}_bits_per_second", inf)
        < share * link.rate(direction)
        and not measurement.conditions.get(f"{direction.transfer}_at_least")
        for direction in Direction
    )
