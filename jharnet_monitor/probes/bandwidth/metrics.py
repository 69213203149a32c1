"""The metric families of the bandwidth probe: of every office, and of headquarters' line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from jharnet_monitor.judge.line.contract import lasting_rate, lasting_tests, rate_is_open
from jharnet_monitor.model import LONG_TESTS, Direction, Measurement, Outcome, Route, quantity
from jharnet_monitor.probes.families import (
    DistrictView,
    Family,
    OfficeFamily,
    OfficeView,
    Point,
    by_direction,
    of_quantity,
    values_by_direction,
)

_ROUTES = (Route.JHARNET, Route.INTERNET)


def _capacity(view: OfficeView) -> Iterable[Point]:
    """The newest estimate of each direction, of a full test or of packet trains."""
    runs = [view.newest("bandwidth", route) for route in (Route.JHARNET, Route.TRAINS)]
    newest_first = sorted(
        (run for run in runs if run is not None), key=lambda run: run.started_at, reverse=True
    )
    found: dict[tuple[str, ...], float] = {}
    for run in newest_first:
        for labels, value in values_by_direction(run, "bandwidth", "capacity_bits_per_second"):
            if not _proves_nothing(view, run, Direction(*labels), value):
                found.setdefault(labels, value)
    return found.items()


def _proves_nothing(view: OfficeView, run: Measurement, direction: Direction, value: float) -> bool:
    """Whether a capacity (in byte/s) is a lower bound below the contracted rate."""
    link, at_least = view.office.link, run.conditions.get(f"{direction.transfer}_capacity_at_least")
    return bool(at_least) and link is not None and 8 * value < link.rate(direction)


def _lasting_tests(view: OfficeView) -> Iterator[tuple[Direction, Measurement]]:
    """By direction the test whose rate counts against the contract: the newest, or on a policed
    line the newest long one."""
    newest = view.newest("bandwidth")
    if newest is None:
        return
    for direction in Direction:
        long = view.live.last_long_tests.get(LONG_TESTS[direction])
        tests = [newest] if long is None else [long, newest]
        yield direction, lasting_tests(tests, direction)[-1]


def _lasting_rate(view: OfficeView) -> Iterable[Point]:
    for direction, test in _lasting_tests(view):
        rate = lasting_rate(test, direction)
        if rate is not None:
            yield (direction,), rate / 8


def _lasting_is_open(view: OfficeView) -> Iterable[Point]:
    for direction, test in _lasting_tests(view):
        if lasting_rate(test, direction) is not None:
            yield (direction,), float(rate_is_open(test, direction))


def _contracted(view: OfficeView) -> Iterable[Point]:
    if view.office.link:
        for direction in Direction:
            yield (direction,), view.office.link.rate(direction) / 8


FAMILIES = (
    by_direction("bandwidth", "bits_per_second",
                 "IP rate delivered; down is towards the office, up from it", _ROUTES),
    *(
        by_direction("bandwidth", f"bits_per_second_{end}",
                     f"{word} end of the 95 % interval of the rate delivered", _ROUTES)
        for end, word in (("low", "Lower"), ("high", "Upper"))
    ),
    by_direction("bandwidth", "sustained_bits_per_second",
                 "IP rate that the line sustains once a burst is spent; only while the newest "
                 "test was a long one", ()),
    *(
        by_direction("bandwidth", f"sustained_bits_per_second_{end}",
                     f"{word} end of the 95 % interval of the sustained rate", ())
        for end, word in (("low", "Lower"), ("high", "Upper"))
    ),
    OfficeFamily(quantity("bandwidth", "download_capacity_bits_per_second").metric, "gauge",
                 "Capacity of the line, estimated by packet trains, whether or not it is in use",
                 _capacity, ("direction",)),
    OfficeFamily("bandwidth_lasting_bytes_per_second", "gauge",
                 "IP rate that counts against the contract: of the newest test, or on a policed "
                 "line what the newest long one sustained", _lasting_rate, ("direction",)),
    OfficeFamily("bandwidth_lasting_at_least", "gauge",
                 "1 where that rate is a lower bound, as the test's own pace or a computer limited "
                 "it, else 0", _lasting_is_open, ("direction",)),
    OfficeFamily("bandwidth_contracted_bytes_per_second", "gauge",
                 "Rate contracted; down is towards the office, up from it", _contracted,
                 ("direction",)),
    by_direction("bandwidth", "loaded_rtt_seconds",
                 "Round-trip time while the bandwidth test filled the line", _ROUTES),
    of_quantity("bandwidth", "idle_rtt_seconds"),
)  # fmt: skip


def _uplink_values(stem: str) -> Callable[[DistrictView], Iterator[Point]]:
    """A reader of headquarters' own test, one value for each direction."""

    def read(view: DistrictView) -> Iterator[Point]:
        return values_by_direction(_newest(view), "bandwidth", stem)

    return read


def _newest(view: DistrictView) -> Measurement | None:
    return view.newest_at_headquarters("bandwidth", Route.INTERNET)


def _uplink_success(view: DistrictView) -> Iterable[Point]:
    measurement, last = _newest(view), view.last_at_headquarters("bandwidth", Route.INTERNET)
    if measurement is not None and last is not None and last.outcome is not Outcome.NO_DATA:
        yield (), float(measurement.outcome is Outcome.OK)


def _uplink_run(view: DistrictView) -> Iterable[Point]:
    last = view.last_at_headquarters("bandwidth", Route.INTERNET)
    if last is not None:
        yield (), last.started_at.timestamp()


DISTRICT_FAMILIES = (
    Family("uplink_internet_bytes_per_second", "gauge",
           "IP rate between headquarters and the Internet; down is towards headquarters",
           _uplink_values("bits_per_second"), ("direction",)),
    Family("uplink_internet_loaded_rtt_seconds", "gauge",
           "Round-trip time from headquarters to the Internet while that test filled the uplink",
           _uplink_values("loaded_rtt_seconds"), ("direction",)),
    Family("uplink_internet_success", "gauge",
           "1 when headquarters' newest Internet test was ok, 0 when the network failed it",
           _uplink_success),
    Family("uplink_internet_last_run_timestamp_seconds", "gauge",
           "When headquarters' newest Internet test began", _uplink_run),
)  # fmt: skip
