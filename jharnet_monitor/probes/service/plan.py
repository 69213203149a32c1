"""When services are visited, and how long a visit stays current."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jharnet_monitor.model import HEADQUARTERS
from jharnet_monitor.probes.base import ProbeContext
from jharnet_monitor.probes.probe import DisturbedBy, Job, Series

if TYPE_CHECKING:
    from jharnet_monitor.config import Config, Office

OFFICE = "office"
"""The `end` of a visit by an agent; that of the hub's own visits is `HEADQUARTERS`."""
FRESH_INTERVALS = 2.5
SPARE_SECONDS = 10.0
"""Extra time to reach the agent, and to read a refused certificate again."""
OVERHEAD_BYTES = 60_000
"""Handshakes and headers of a page and of all redirects to it."""

SERIES = Series(
    fresh_for=lambda config, office: FRESH_INTERVALS * config.probes.service.every,
    exported=False,
    disturbed_by=DisturbedBy.HEAVY,
)
"""One series for each service; the metrics common to all probes do not show services."""


def jobs(config: Config, office: Office) -> Iterator[Job]:
    """Every service from every office with an agent, and from headquarters, one after another."""
    settings = config.probes.service
    if office.agent is None and office.id != HEADQUARTERS:
        return
    for number, service in enumerate(settings.services):
        offset = number / len(settings.services)
        yield Job(options={"service": service.name}, every=settings.every, offset=offset)


def time_limit(context: ProbeContext) -> float:
    """Seconds after which a visit has hung."""
    return context.config.probes.service.timeout + SPARE_SECONDS


def cost(context: ProbeContext) -> int:
    """The most bytes that one visit puts on the line."""
    return int(context.config.probes.service.most * 1.06) + OVERHEAD_BYTES
