"""Remarks on a visit for the office's page: where its fault lies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from jharnet_monitor.judge.line.interface_faults import LanReadings
from jharnet_monitor.judge.services import (
    Evidence,
    FaultPlace,
    Others,
    PageVisit,
    Surroundings,
    VisitFailure,
    fault_of,
)
from jharnet_monitor.model import Cause, Direction, Measurement, Outcome, Route, series_key
from jharnet_monitor.probes.probe import CurrentRuns, Remark

if TYPE_CHECKING:
    from jharnet_monitor.config import Config

_NAME = "service"
_FAILURES: Mapping[str, VisitFailure] = {
    Cause.HTTP_ERROR: VisitFailure.ANSWER,
    Cause.REDIRECTED: VisitFailure.ANSWER,
    Cause.WRONG_PAGE: VisitFailure.ANSWER,
    Cause.CERTIFICATE_INVALID: VisitFailure.CERTIFICATE,
    Cause.PROXY_FAILED: VisitFailure.PROXY,
}
"""All other causes are failures of the network."""
NEAR_SECONDS = 90.0
"""Echo requests within this time of a visit are evidence for it."""
CLEARLY_GOOD = 0.5
"""Up to this share of a threshold a line is good; between this and the threshold it is unknown."""


def remarks(
    config: Config, run: Measurement, office: CurrentRuns, headquarters: CurrentRuns
) -> Iterator[Remark]:
    """The phrase on a visit; none without a fault."""
    if run.outcome is Outcome.NO_DATA:
        return
    place = fault_place(config, run, office, headquarters)
    if place is not FaultPlace.NONE:
        yield Remark(f"service_fault.{place}")


def is_in_time(run: Measurement, slow: float) -> bool:
    """Whether a visit got its page within `slow` seconds; a page that was only partly read counts
    by the phases before its transfer, and a browser's by its answer."""
    phases = ("dns_seconds", "connect_seconds", "tls_seconds", "first_byte_seconds")
    known = sum(run.values.get(name, 0.0) for name in ("answer_seconds", *phases))
    return run.outcome is Outcome.OK and run.values.get("total_seconds", known) <= slow


def fault_place(
    config: Config, run: Measurement, office: CurrentRuns, headquarters: CurrentRuns
) -> FaultPlace:
    """Where the fault of an office's visit lies, by the current runs."""
    return fault_of(
        _visit(run),
        _visit(headquarters.get(run.series)),
        _around(config, run, office, headquarters),
        config.probes.service.slow,
    )


def _visit(run: Measurement | None) -> PageVisit | None:
    if run is None or run.outcome is Outcome.NO_DATA:
        return None
    failure = None
    if run.outcome is Outcome.FAILED:
        failure = _FAILURES.get(run.cause or "", VisitFailure.NETWORK)
        if run.cause == Cause.TIMEOUT and run.conditions.get("phase") == "first_byte":
            failure = VisitFailure.WAITING
    value = run.values.get
    return PageVisit(
        failure=failure,
        total=value("total_seconds"),
        answer=value("answer_seconds"),
        dns=value("dns_seconds"),
        connect=value("connect_seconds"),
        tls=value("tls_seconds"),
        first_byte=value("first_byte_seconds"),
        bytes=value("bytes", 0.0),
        under_load=bool(run.conditions.get("under_load")),
    )


def _around(
    config: Config, run: Measurement, office: CurrentRuns, headquarters: CurrentRuns
) -> Surroundings:
    link = next((one.link for one in config.offices if one.id == run.office), None)
    speed = office.get("bandwidth")
    rate = None if speed is None else speed.values.get("download_bits_per_second")
    if rate is None and link is not None:
        rate = link.rate(Direction.DOWN)
    return Surroundings(
        line=_evidence(config, run, office.get("latency")),
        office_network=_of_lan(
            office.get("utilisation"),
            _evidence(config, run, office.get(series_key("latency", Route.AGENT_GATEWAY))),
        ),
        rate=rate,
        others_at_office=_others(office, run),
        others_at_headquarters=_others(headquarters, run),
    )


def _of_lan(reading: Measurement | None, pings: Evidence) -> Evidence:
    """The evidence on the office's network: a fault that the router reports, else echo requests."""
    if reading is not None:
        lan = LanReadings()
        lan.add(reading.conditions)
        if lan.faulty:
            return Evidence.BAD
    return pings


def _evidence(config: Config, run: Measurement, latency: Measurement | None) -> Evidence:
    """What echo requests show about a part of the path; unknown during our own tests, and if they
    are too far from the visit."""
    if latency is None or latency.conditions.get("under_load") or _is_too_far(run, latency):
        return Evidence.UNKNOWN
    limits = config.thresholds
    shares = [
        latency.values[name] / limit
        for name, limit in (("loss_ratio", limits.loss), ("rtt_p50_seconds", limits.rtt))
        if name in latency.values
    ]
    if not shares or 1 >= max(shares) > CLEARLY_GOOD:
        return Evidence.UNKNOWN
    return Evidence.BAD if max(shares) > 1 else Evidence.GOOD


def _is_too_far(run: Measurement, latency: Measurement) -> bool:
    before = (latency.started_at - run.ended_at).total_seconds()
    after = (run.started_at - latency.ended_at).total_seconds()
    return max(before, after) > NEAR_SECONDS


def _others(runs: CurrentRuns, run: Measurement) -> Others:
    """How many other services delivered their page at this place, and how many did not."""
    outcomes = [one.outcome for one in _of_services(runs) if one.subject != run.subject]
    return outcomes.count(Outcome.OK), outcomes.count(Outcome.FAILED)


def _of_services(runs: CurrentRuns) -> Iterator[Measurement]:
    return (one for one in runs.values() if one.probe == _NAME)
