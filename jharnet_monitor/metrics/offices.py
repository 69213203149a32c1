"""The metrics of every office, by table: names, labels and units are the contract's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from jharnet_monitor.live import RTT_BOUNDS, PastOutage
from jharnet_monitor.metrics.family import OfficeFamily, OfficeView, Point
from jharnet_monitor.metrics.traffic import TRAFFIC_OFFICE_FAMILIES
from jharnet_monitor.model import LIVE_STATES, Direction, Measurement, Outcome, quantity
from jharnet_monitor.profiles import Profile

_PATHS = (("jharnet", "bandwidth"), ("internet", "bandwidth/internet"))
_CAPACITY = ("bandwidth", "bandwidth/trains")
_SHOWN = (
    "latency", "bandwidth", "bandwidth/internet", "bandwidth/trains", "conference", "utilisation",
)  # fmt: skip
"""Runs that have series of their own; the agent's own view of the link is for the outages."""
_BUCKETS = (*(repr(bound) for bound in RTT_BOUNDS), "+Inf")


def _info(view: OfficeView) -> Iterable[Point]:
    office = view.office
    place = (office.latitude, office.longitude)
    yield (
        (
            office.name,
            office.name_hi,
            office.subdivision or "",
            (office.link and office.link.kind) or "",
            *("" if degrees is None else repr(degrees) for degrees in place),
        ),
        1,
    )


def _state(view: OfficeView) -> Iterable[Point]:
    for state in LIVE_STATES:
        yield (state.value,), 1 if view.live.state is state else 0


def _runs_of_probes(
    value: Callable[[Measurement], float],
) -> Callable[[OfficeView], Iterator[Point]]:
    """A reader over the newest run of every probe, whatever its outcome."""

    def read(view: OfficeView) -> Iterator[Point]:
        for probe, measurement in view.live.latest.items():
            if probe in _SHOWN:
                yield (probe,), value(measurement)

    return read


def _success(view: OfficeView) -> Iterable[Point]:
    for probe, measurement in view.current.items():
        if probe in _SHOWN and view.live.latest[probe].outcome is not Outcome.NO_DATA:
            yield (probe,), 1 if measurement.outcome is Outcome.OK else 0


def _total_runs(view: OfficeView) -> Iterable[Point]:
    for probe in dict.fromkeys(probe for probe, _ in view.live.runs):
        for outcome in Outcome:  # all of them from the first run on, so that a rate sees the first
            yield (probe, outcome.value), view.live.runs[probe, outcome.value]


def _rtt(view: OfficeView) -> Iterable[Point]:
    histogram = view.live.rtt_buckets
    cumulative = histogram.cumulative()
    if not cumulative[-1]:
        return
    yield from (((bound,), count) for bound, count in zip(_BUCKETS, cumulative, strict=True))
    yield (), histogram.total_seconds


def _value(key: str, name: str) -> Callable[[OfficeView], Iterator[Point]]:
    """A reader of one quantity, in its own unit."""
    quantity(key, name)  # a wrong name shows when the program starts

    def read(view: OfficeView) -> Iterator[Point]:
        measurement = view.current.get(key)
        if measurement is not None and name in measurement.values:
            yield (), measurement.values[name]

    return read


def _by_way(name: str) -> Callable[[OfficeView], Iterator[Point]]:
    """A reader of a conference quantity for each direction."""

    def read(view: OfficeView) -> Iterator[Point]:
        measurement = view.current.get("conference")
        for direction in Direction:
            if measurement is not None and f"{direction}_{name}" in measurement.values:
                yield (direction,), measurement.values[f"{direction}_{name}"]

    return read


def _by_way_and_media(name: str) -> Callable[[OfficeView], Iterator[Point]]:
    """A reader of a conference quantity for each direction, of sound and of picture."""
    readers = [(media, _by_way(f"{media}_{name}")) for media in ("audio", "video")]

    def read(view: OfficeView) -> Iterator[Point]:
        for media, reader in readers:
            for (way,), value in reader(view):
                yield (way, media), value

    return read


def _bandwidth(way_name: str, scale: float) -> Callable[[OfficeView], Iterator[Point]]:
    """A reader of a bandwidth quantity for each path and direction, scaled to a base unit."""

    def read(view: OfficeView) -> Iterator[Point]:
        for path, key in _PATHS:
            measurement = view.current.get(key)
            for direction in Direction:
                name = way_name.format(way=direction.transfer)
                if measurement is not None and name in measurement.values:
                    yield (path, direction), measurement.values[name] * scale

    return read


def _capacity(view: OfficeView) -> Iterable[Point]:
    """The newest estimate of each direction, whether a full test or the trains alone made it."""
    for direction in Direction:
        name = f"{direction.transfer}_capacity_bits_per_second"
        found = [m for key in _CAPACITY if (m := view.current.get(key)) and name in m.values]
        if found:
            yield (direction,), max(found, key=lambda m: m.started_at).values[name] / 8


def _contracted(view: OfficeView) -> Iterable[Point]:
    if view.office.link:
        yield (), view.office.link.rate(Direction.DOWN) / 8


def _contracted_up(view: OfficeView) -> Iterable[Point]:
    if view.office.link:
        yield (), view.office.link.rate(Direction.UP) / 8


def _ready(view: OfficeView) -> Iterable[Point]:
    measurement = view.current.get("conference")
    if measurement is not None and "grade" in measurement.values:
        for profile in Profile:
            yield (profile,), 1 if measurement.values["grade"] >= profile.required_grade else 0


def _agent(view: OfficeView) -> Iterable[Point]:
    if view.office.agent or view.live.agent.last_heard:
        yield (), 1 if view.live.agent.connected else 0


def _spooled(view: OfficeView) -> Iterable[Point]:
    if view.live.agent.spooled is not None:
        yield (), view.live.agent.spooled


def _since(view: OfficeView) -> Iterable[Point]:
    if view.live.since:
        yield (), view.live.since.timestamp()


def _last_seen(view: OfficeView) -> Iterable[Point]:
    if view.live.last_seen:
        yield (), view.live.last_seen.timestamp()


def _outage(value: Callable[[PastOutage], float]) -> Callable[[OfficeView], Iterator[Point]]:
    """A reader of the last outage, by its cause."""

    def read(view: OfficeView) -> Iterator[Point]:
        outage = view.live.last_outage
        if outage is not None:
            yield (outage.cause.value,), value(outage)

    return read


def _packets(name: str) -> Callable[[OfficeView], Iterator[Point]]:
    def read(view: OfficeView) -> Iterator[Point]:
        if any(probe == "latency" for probe, _ in view.live.runs):
            yield (), getattr(view.live, name)

    return read


OFFICE_FAMILIES: tuple[OfficeFamily, ...] = (
    OfficeFamily("office_info", "info", "The office, with its place; always 1", _info,
                 ("name", "name_hi", "subdivision", "kind", "latitude", "longitude")),
    OfficeFamily("office_state", "gauge", "1 for the state that the office is in, 0 for the others",
                 _state, ("state",)),
    OfficeFamily("office_state_since_timestamp_seconds", "gauge",
                 "When the office came into its state", _since),
    OfficeFamily("office_last_seen_timestamp_seconds", "gauge",
                 "When anything of the office last answered", _last_seen),
    OfficeFamily("office_last_outage_end_timestamp_seconds", "gauge",
                 "When the last outage ended whose cause was judged",
                 _outage(lambda o: o.ended.timestamp()), ("cause",)),
    OfficeFamily("office_last_outage_duration_seconds", "gauge", "How long that outage was",
                 _outage(lambda o: (o.ended - o.began).total_seconds()), ("cause",)),
    OfficeFamily("office_last_outage_told_timestamp_seconds", "gauge",
                 "When its cause became known", _outage(lambda o: o.told_at.timestamp()),
                 ("cause",)),
    OfficeFamily("agent_connected", "gauge",
                 "1 while the office's agent is connected; absent where no agent is expected",
                 _agent),
    OfficeFamily("agent_spooled_measurements", "gauge",
                 "Measurements that the agent still holds", _spooled),
    OfficeFamily("probe_success", "gauge",
                 "1 when the newest run was ok, 0 when the network failed it; absent when it could "
                 "not measure", _success, ("probe",)),
    OfficeFamily("probe_duration_seconds", "gauge", "How long the newest run took",
                 _runs_of_probes(lambda m: m.duration), ("probe",)),
    OfficeFamily("probe_last_run_timestamp_seconds", "gauge", "When the newest run began",
                 _runs_of_probes(lambda m: m.started_at.timestamp()), ("probe",)),
    OfficeFamily("probe_runs_total", "counter", "Runs recorded since the database was made",
                 _total_runs, ("probe", "outcome")),
    OfficeFamily("probe_running", "gauge", "1 for every heavy probe that runs now",
                 lambda view: (((probe,), 1) for probe in view.live.running), ("probe",)),
    OfficeFamily("latency_packets_sent_total", "counter", "Echo requests sent",
                 _packets("packets_sent")),
    OfficeFamily("latency_packets_received_total", "counter", "Echo replies received in time",
                 _packets("packets_received")),
    OfficeFamily("latency_rtt_seconds", "histogram", "Round-trip times", _rtt, ("le",)),
    OfficeFamily("latency_rtt_p50_seconds", "gauge", quantity("latency", "rtt_p50_seconds").help,
                 _value("latency", "rtt_p50_seconds")),
    OfficeFamily("latency_rtt_p95_seconds", "gauge", quantity("latency", "rtt_p95_seconds").help,
                 _value("latency", "rtt_p95_seconds")),
    OfficeFamily("latency_loss_ratio", "gauge", quantity("latency", "loss_ratio").help,
                 _value("latency", "loss_ratio")),
    OfficeFamily("latency_jitter_seconds", "gauge", quantity("latency", "jitter_seconds").help,
                 _value("latency", "jitter_seconds")),
    OfficeFamily("bandwidth_bytes_per_second", "gauge",
                 "IP rate delivered; down is towards the office, up from it",
                 _bandwidth("{way}_bits_per_second", 1 / 8), ("path", "direction")),
    OfficeFamily("bandwidth_capacity_bytes_per_second", "gauge",
                 "What the line can carry, estimated by packet trains; not what is left of it",
                 _capacity, ("direction",)),
    OfficeFamily("bandwidth_contracted_bytes_per_second", "gauge",
                 "Rate contracted towards the office", _contracted),
    OfficeFamily("bandwidth_contracted_upload_bytes_per_second", "gauge",
                 "Rate contracted from the office", _contracted_up),
    OfficeFamily("bandwidth_loaded_rtt_seconds", "gauge",
                 "Round-trip time while the bandwidth test filled the line",
                 _bandwidth("{way}_loaded_rtt_seconds", 1), ("path", "direction")),
    OfficeFamily("bandwidth_idle_rtt_seconds", "gauge",
                 quantity("bandwidth", "idle_rtt_seconds").help,
                 _value("bandwidth", "idle_rtt_seconds")),
    OfficeFamily("conference_grade", "gauge", quantity("conference", "grade").help,
                 _value("conference", "grade")),
    OfficeFamily("conference_ready", "gauge",
                 "1 when a conference of the profile could be held both ways, else 0",
                 _ready, ("profile",)),
    OfficeFamily("conference_mos", "gauge",
                 "Mean opinion score: voice by ITU-T G.107, picture by G.1070 where it holds",
                 _by_way_and_media("mos"), ("direction", "media")),
    OfficeFamily("conference_loss_ratio", "gauge", "Share of media packets that never arrived",
                 _by_way_and_media("loss_ratio"), ("direction", "media")),
    OfficeFamily("conference_freeze_ratio", "gauge", "Share of the call with the picture frozen",
                 _by_way("freeze_ratio"), ("direction",)),
    *TRAFFIC_OFFICE_FAMILIES,
    OfficeFamily("budget_spent_bytes", "gauge", "Bytes that heavy probes spent today",
                 lambda view: [((), view.live.bytes_spent_today)]),
)  # fmt: skip
"""Every metric with the label `office`."""
