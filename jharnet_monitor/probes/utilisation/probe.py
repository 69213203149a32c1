"""The utilisation probe: the traffic on the router's interface to the line since the last reading.

Inbound is towards the office, outbound from it. The rates include all traffic, also that of the
monitor's own tests; a run whose window contains a test that filled the line is marked `under_load`.
"""

from __future__ import annotations

from collections.abc import Iterator

from jharnet_monitor.config import Config, Office
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.dns import RESOLVE_SECONDS
from jharnet_monitor.probes.probe import Deferred, DisturbedBy, Job, Probe, Series
from jharnet_monitor.probes.utilisation.metrics import DISTRICT_FAMILIES, FAMILIES

ANSWER_SECONDS, TRIES = 2.5, 3
"""Time limit of one answer, and tries for each request, as UDP may lose it."""
MAX_REQUESTS = 6


def _jobs(config: Config, office: Office) -> Iterator[Job]:
    if office.snmp is not None:
        yield Job(every=config.probes.utilisation.every)


def _lookback(measurement: Measurement) -> float | None:
    return measurement.values.get("window_seconds")


UTILISATION = Probe(
    name="utilisation",
    run=Deferred("jharnet_monitor.probes.utilisation.run:run"),
    time_limit=lambda context: RESOLVE_SECONDS + MAX_REQUESTS * TRIES * ANSWER_SECONDS,
    series=(
        Series(
            fresh_for=lambda config, office: 2.5 * config.probes.utilisation.every,
            disturbed_by=DisturbedBy.FULL,
            lookback=_lookback,
        ),
    ),
    jobs=_jobs,
    at_headquarters=True,
    measures_line=False,
    metrics=FAMILIES,
    district_metrics=DISTRICT_FAMILIES,
)
