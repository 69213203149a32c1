"""The metric families of the service probe: each service as an office, or headquarters, sees it."""

from __future__ import annotations

from collections.abc import Iterator

from jharnet_monitor.live import OfficeLive
from jharnet_monitor.model import HEADQUARTERS, Cause, Measurement, Outcome, quantity, series_key
from jharnet_monitor.probes.families import DistrictView, Family, Point
from jharnet_monitor.probes.service.plan import OFFICE, SERIES
from jharnet_monitor.probes.service.remarks import is_in_time

_LABELS = ("office", "service", "end")


def _visits(view: DistrictView) -> Iterator[tuple[tuple[str, ...], Measurement]]:
    """The newest visit of each configured service from each place, as long as it is fresh."""
    places: dict[str, OfficeLive] = {HEADQUARTERS: view.live.headquarters, **view.live.offices}
    for place, known in places.items():
        for service in view.config.probes.service.services:
            run = known.last_conclusive.get(series_key("service", service.name))
            if run is not None and SERIES.is_fresh(view.config, run, view.now):
                end = HEADQUARTERS if place == HEADQUARTERS else OFFICE
                yield (place, service.name, end), run


def _success(view: DistrictView) -> Iterator[Point]:
    for (place, service, end), run in _visits(view):
        known = view.live.of(place)
        last = known.latest.get(run.series) if known else None
        if known is None or last is None:
            continue
        # a drill, during which nothing is visited, must not end an alert
        is_held_up = last.cause == Cause.CONFERENCE_ON and (
            place == HEADQUARTERS or known.agent.connected
        )
        if last.outcome is not Outcome.NO_DATA or is_held_up:
            yield (place, service, end), float(run.outcome is Outcome.OK)


def _in_time(view: DistrictView) -> Iterator[Point]:
    slow = view.config.probes.service.slow
    for labels, run in _visits(view):
        yield labels, float(is_in_time(run, slow))


def _of_quantity(name: str, help_: str | None = None) -> Family:
    one = quantity("service", name)

    def read(view: DistrictView) -> Iterator[Point]:
        for labels, run in _visits(view):
            if name in run.values:
                yield labels, run.values[name]

    return Family(one.metric, "gauge", help_ or one.help, read, _LABELS)


def _threshold(view: DistrictView) -> Iterator[Point]:
    if view.config.probes.service.services:
        yield (), view.config.probes.service.slow


FAMILIES = (
    Family("service_success", "gauge",
           "1 when the newest visit got the page, 0 when it did not; absent when it could not be "
           "made for another reason than a drill, and when it is old. `office` is `headquarters` "
           "for the hub's own visits", _success, _LABELS),
    Family("service_in_time", "gauge",
           "1 when the newest visit brought the whole page within `probes.service.slow`, else 0",
           _in_time, _LABELS),
    _of_quantity("dns_seconds"),
    _of_quantity("connect_seconds"),
    _of_quantity("tls_seconds"),
    _of_quantity("first_byte_seconds"),
    _of_quantity("answer_seconds"),
    _of_quantity("total_seconds"),
    _of_quantity("bytes"),
    _of_quantity("status_code"),
    _of_quantity("certificate_expiry_seconds"),
    Family("service_threshold_seconds", "gauge",
           "Time above which a page counts as slow (`probes.service.slow`)", _threshold),
)  # fmt: skip
