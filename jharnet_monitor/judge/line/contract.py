"""What an office's contract promises, and whether a speed test falls short of it. Pure.

The hub uses it in the daemon, so it must not load NumPy.
"""

from __future__ import annotations

from math import inf

from jharnet_monitor.config.schema import Config, Link, Office
from jharnet_monitor.model import Measurement


def contracted_rates(office: Office) -> tuple[float | None, float | None]:
    """The contracted rates in bit/s, towards the office and from it; None without a contract."""
    link = office.link
    down = link.contracted if link else None
    return down, (link.contracted_up or down) if link else None


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
    contracts = {"download": link.contracted, "upload": link.contracted_up or link.contracted}
    return any(
        measurement.values.get(f"{way}_bits_per_second", inf) < share * contracted
        and not measurement.conditions.get(f"{way}_at_least")
        for way, contracted in contracts.items()
    )
