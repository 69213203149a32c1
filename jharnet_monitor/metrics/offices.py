"""The metrics of every office: those that all probes share, and what each probe declares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from jharnet_monitor.live import UPDATE_STATES, AgentLive, PastOutage
from jharnet_monitor.model import LIVE_STATES, Measurement, Outcome, Route
from jharnet_monitor.probes import PROBES, series
from jharnet_monitor.probes.families import OfficeFamily, OfficeView, Point

_EXPORTED = frozenset(key for key, one in series().items() if one.exported)
"""Series with samples of their own; the agent's own view of the link only serves to attribute
outages."""


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


def _labels(series_key: str) -> tuple[str, str]:
    """Probe and path of a series; a service is a path of its probe.

    >>> _labels("latency"), _labels("bandwidth/internet")
    (('latency', 'jharnet'), ('bandwidth', 'internet'))
    """
    probe, _, subject = series_key.partition("/")
    return probe, subject or Route.JHARNET.value


def _runs_of_probes(
    value: Callable[[Measurement], float],
) -> Callable[[OfficeView], Iterator[Point]]:
    """A reader over the newest run of every probe, whatever its outcome."""

    def read(view: OfficeView) -> Iterator[Point]:
        for probe, measurement in view.live.latest.items():
            if probe in _EXPORTED:
                yield _labels(probe), value(measurement)

    return read


def _success(view: OfficeView) -> Iterable[Point]:
    for probe, measurement in view.current.items():
        if probe in _EXPORTED and view.live.latest[probe].outcome is not Outcome.NO_DATA:
            yield _labels(probe), 1 if measurement.outcome is Outcome.OK else 0


def _total_runs(view: OfficeView) -> Iterable[Point]:
    for probe in dict.fromkeys(probe for probe, _ in view.live.runs):
        for outcome in Outcome:  # all outcomes from the first run on, so that rate() sees the first
            yield (probe, outcome.value), view.live.runs[probe, outcome.value]


def _agent(view: OfficeView) -> Iterable[Point]:
    if view.office.agent is not None:
        yield (), 1 if view.live.agent.connected else 0


def _agent_info(view: OfficeView) -> Iterable[Point]:
    if view.live.agent.version is not None:
        yield (view.live.agent.version,), 1


def _update_state(view: OfficeView) -> Iterable[Point]:
    if view.live.agent.update_state is not None:
        for state in UPDATE_STATES:
            yield (state,), 1 if view.live.agent.update_state == state else 0


def _spooled(view: OfficeView) -> Iterable[Point]:
    if view.live.agent.connected and view.live.agent.spooled is not None:
        yield (), view.live.agent.spooled


def _agent_count(value: Callable[[AgentLive], int]) -> Callable[[OfficeView], Iterator[Point]]:
    """A reader of a count of an agent's measurements; no sample before the agent has connected."""

    def read(view: OfficeView) -> Iterator[Point]:
        if view.live.agent.last_heard:
            yield (), value(view.live.agent)

    return read


def _offset(view: OfficeView) -> Iterable[Point]:
    if view.live.agent.connected and view.live.agent.clock_offset is not None:
        yield (), view.live.agent.clock_offset


def _since(view: OfficeView) -> Iterable[Point]:
    if view.live.since:
        yield (), view.live.since.timestamp()


def _outage_start(view: OfficeView) -> Iterable[Point]:
    if view.live.outage_start:
        yield (), view.live.outage_start.timestamp()


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


def _promised(view: OfficeView) -> Iterable[Point]:
    link = view.office.link
    promised = None if link is None else link.sla
    yield (), view.config.thresholds.availability if promised is None else promised


OFFICE_FAMILIES: tuple[OfficeFamily, ...] = (
    OfficeFamily("office_info", "info", "The office, with its place; always 1", _info,
                 ("name", "name_hi", "subdivision", "kind", "latitude", "longitude")),
    OfficeFamily("office_state", "gauge", "1 for the current state of the office, 0 for the others",
                 _state, ("state",)),
    OfficeFamily("office_state_since_timestamp_seconds", "gauge",
                 "When the current state began", _since),
    OfficeFamily("office_outage_start_timestamp_seconds", "gauge",
                 "When the office stopped answering; absent once anything there answers again",
                 _outage_start),
    OfficeFamily("office_outages_total", "counter",
                 "Times that the office stopped answering and came back",
                 lambda view: [((), view.live.outages)]),
    OfficeFamily("office_last_seen_timestamp_seconds", "gauge",
                 "When anything at the office last answered", _last_seen),
    OfficeFamily("office_availability_target_ratio", "gauge",
                 "Availability promised by the contract, else that required of every office",
                 _promised),
    OfficeFamily("office_last_outage_end_timestamp_seconds", "gauge",
                 "When the last outage with an attributed cause ended",
                 _outage(lambda o: o.ended.timestamp()), ("cause",)),
    OfficeFamily("office_last_outage_duration_seconds", "gauge", "How long that outage was",
                 _outage(lambda o: (o.ended - o.began).total_seconds()), ("cause",)),
    OfficeFamily("office_last_outage_told_timestamp_seconds", "gauge",
                 "When its cause became known", _outage(lambda o: o.attributed_at.timestamp()),
                 ("cause",)),
    OfficeFamily("agent_connected", "gauge",
                 "1 while the office's agent is connected; absent where no agent is expected",
                 _agent),
    OfficeFamily("agent_info", "info", "The version of the office's agent; always 1", _agent_info,
                 ("version",)),
    OfficeFamily("agent_update_state", "gauge",
                 "1 for how the office stands with the version that is offered, 0 for the others; "
                 "absent while none is offered", _update_state, ("state",)),
    OfficeFamily("agent_spooled_measurements", "gauge",
                 "Measurements that the agent has not handed in yet; absent while it is not "
                 "connected", _spooled),
    OfficeFamily("agent_dropped_measurements_total", "counter",
                 "Measurements that the agent lost because its spool was full",
                 _agent_count(lambda agent: agent.dropped)),
    OfficeFamily("agent_refused_measurements_total", "counter",
                 "Measurements of the agent that the hub refused; the agent keeps them",
                 _agent_count(lambda agent: agent.refused)),
    OfficeFamily("agent_clock_offset_seconds", "gauge",
                 "How far the agent's clock is ahead of the hub's; its measurements are corrected",
                 _offset),
    OfficeFamily("probe_success", "gauge",
                 "1 when the newest run was ok, 0 when the network failed it; absent when it could "
                 "not measure", _success, ("probe", "path")),
    OfficeFamily("probe_duration_seconds", "gauge", "How long the newest run took",
                 _runs_of_probes(lambda m: m.duration), ("probe", "path")),
    OfficeFamily("probe_last_run_timestamp_seconds", "gauge", "When the newest run began",
                 _runs_of_probes(lambda m: m.started_at.timestamp()), ("probe", "path")),
    OfficeFamily("probe_runs_total", "counter", "Runs recorded since the database was made",
                 _total_runs, ("probe", "outcome")),
    OfficeFamily("probe_running", "gauge",
                 "1 for every probe that fills the office's line now: a speed test, or a call",
                 lambda view: (((probe,), 1) for probe in view.live.filled_by), ("probe",)),
    *chain.from_iterable(probe.metrics for probe in PROBES.values()),
    OfficeFamily("budget_spent_bytes", "gauge", "Bytes that heavy probes spent today",
                 lambda view: [((), view.live.bytes_spent_today)]),
)  # fmt: skip
"""Every metric with the label `office`."""
