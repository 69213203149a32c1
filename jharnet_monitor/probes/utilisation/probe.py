"""The utilisation probe: the traffic on the router's interface to the line since the last reading.

Inbound is towards the office, outbound from it. The rates include all traffic, also that of the
monitor's own tests; a run whose window contains a test that filled the line is marked `under_load`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jharnet_monitor.judge.line.interface_faults import interface_faults
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.probes.dns import RESOLVE_SECONDS
from jharnet_monitor.probes.probe import (
    CurrentRuns,
    DisturbedBy,
    Job,
    Probe,
    Remark,
    Series,
)
from jharnet_monitor.probes.utilisation.metrics import DISTRICT_FAMILIES, FAMILIES

if TYPE_CHECKING:
    from jharnet_monitor.config import Config, Office

ANSWER_SECONDS, TRIES = 2.5, 3
"""Time limit of one answer, and tries for each request, as UDP may lose it."""
MAX_REQUESTS = 10


def _jobs(config: Config, office: Office) -> Iterator[Job]:
    if office.snmp is not None:
        yield Job(every=config.probes.utilisation.every)


def _lookback(measurement: Measurement) -> float | None:
    return measurement.values.get("window_seconds")


def _remarks(
    config: Config, run: Measurement, office: CurrentRuns, headquarters: CurrentRuns
) -> Iterator[Remark]:
    """What the router's interfaces say is wrong."""
    link = next((one.link for one in config.offices if one.id == run.office), None)
    contracted = None if link is None else link.contracted
    for fault in interface_faults(run.values, run.conditions, contracted):
        yield Remark(f"interface_fault.{fault}")


UTILISATION = Probe(
    name="utilisation",
    how="the routers' interface counters, by SNMP",
    safeguards="no rate over a restart, a cleared or a wrapped counter",
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
    remarks=_remarks,
    district_metrics=DISTRICT_FAMILIES,
)
