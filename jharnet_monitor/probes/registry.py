"""All probes by name, and what follows from their declarations."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from jharnet_monitor.model import ROUND_TRIPS, Measurement, series_key
from jharnet_monitor.probes.bandwidth.probe import BANDWIDTH
from jharnet_monitor.probes.conference.probe import CONFERENCE
from jharnet_monitor.probes.deferred import load_all
from jharnet_monitor.probes.latency.probe import LATENCY
from jharnet_monitor.probes.path.probe import PATH
from jharnet_monitor.probes.probe import Probe, Series
from jharnet_monitor.probes.service.probe import SERVICE
from jharnet_monitor.probes.utilisation.probe import UTILISATION

if TYPE_CHECKING:
    from jharnet_monitor.config import Config

PROBES: dict[str, Probe] = {
    probe.name: probe for probe in (LATENCY, BANDWIDTH, CONFERENCE, SERVICE, PATH, UTILISATION)
}
"""The probes by name, which the scheduler, the API and `jharnet-monitor probe` can run."""

PRUNABLE = frozenset({ROUND_TRIPS, *(n for n, probe in PROBES.items() if not probe.never_pruned)})
"""The kinds of records that retention prunes: measurements by probe, and round trips of packets."""


def load() -> None:
    """Import everything that the hub's half of each probe needs, so that a first run does not block
    the event loop.
    """
    load_all(probe.run for probe in PROBES.values())


def series() -> dict[str, Series]:
    """Every series by its key (`Measurement.series`), in the order of the probes."""
    return {
        series_key(probe.name, one.route): one for probe in PROBES.values() for one in probe.series
    }


def has_series(measurement: Measurement) -> bool:
    """Whether this program has the probe and route of a run; a later version may store others."""
    probe, route = PROBES.get(measurement.probe), measurement.route
    return probe is not None and any(one.route is route for one in probe.series)


def is_fresh(config: Config, measurement: Measurement, now: datetime) -> bool:
    """Whether a run still describes the present; a run from the future (a clock was set) does
    not."""
    return PROBES[measurement.probe].series_of(measurement.route).is_fresh(config, measurement, now)


def current(
    config: Config, runs: Mapping[str, Measurement], now: datetime
) -> dict[str, Measurement]:
    """Those of an office's runs, by series, that are fresh."""
    return {key: run for key, run in runs.items() if is_fresh(config, run, now)}
