"""The content of an office's page; everything but `history` is pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from jharnet_monitor.config import Config, Office
from jharnet_monitor.i18n.formats import (
    Formats,
    rate,
    rate_with_interval,
    share,
    share_floor,
    size,
    with_borderline,
)
from jharnet_monitor.judge.line.use import TrafficReading, line_use
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.judge.twin.borderline import borderline_grade
from jharnet_monitor.live import Live, OfficeLive
from jharnet_monitor.model import (
    QUANTITIES,
    Direction,
    Measurement,
    OfficeState,
    Outcome,
    Quantity,
    Route,
    quantity,
    series_key,
)
from jharnet_monitor.probes import PROBES, current, is_fresh, series
from jharnet_monitor.probes.probe import Remark
from jharnet_monitor.probes.service.remarks import is_in_time
from jharnet_monitor.report.data.state_spans import spans
from jharnet_monitor.store import Store
from jharnet_monitor.store.event_log import Transition
from jharnet_monitor.web.plot_data import PlotData
from jharnet_monitor.web.plots import PlotsView, plots_view
from jharnet_monitor.web.readiness import CheckView, ConferenceReadiness, check_view, readiness
from jharnet_monitor.web.status import NextTests, OfficeRow, office_row
from jharnet_monitor.web.trouble import OfficeTrouble, troubles
from jharnet_monitor.web.whatif import completed_by, measured_probabilities, newest_line
from jharnet_monitor.wire.intake import PROGRAM

HOURS = 24
TESTS_DAYS = 7
TESTS_SHOWN = 12
CHANGES_DAYS = 30
CHANGES_SHOWN = 15
NEARBY_HOURS = 3
MOST_READINGS = 12_000
MOST_LATENCY = 20_000
"""More than a day of one measurement every five seconds."""


@dataclass(frozen=True, slots=True)
class History:
    """An office's stored history: latency of the last 24 hours, tests (newest first), and state
    changes (oldest first)."""

    latency: Sequence[Measurement]
    tests: Sequence[Measurement]
    transitions: Sequence[Transition]
    nearby: Sequence[Measurement] = ()
    """Latency of the last hours from the office's PC to its router."""
    traffic: Sequence[Measurement] = ()
    """Readings of the router's counters of the last days."""


def history(store: Store, office: str, now: datetime) -> History:
    """Read the history from the store; blocks."""
    latency = store.measurements(
        office=office, probe="latency", path=Route.JHARNET, since=now - timedelta(hours=HOURS),
        limit=MOST_LATENCY, newest_first=True,
    )  # fmt: skip
    tests: list[Measurement] = []
    for probe in PROBES.values():
        for route in (one.route for one in probe.series if one.listed):
            tests += store.measurements(
                office=office, probe=probe.name, path=route,
                since=now - timedelta(days=TESTS_DAYS), limit=TESTS_SHOWN, newest_first=True,
            )  # fmt: skip
    tests.sort(key=lambda m: m.started_at, reverse=True)
    transitions = store.event_log.transitions(office, since=now - timedelta(days=CHANGES_DAYS))
    nearby = store.measurements(
        office=office, probe="latency", path=Route.AGENT_GATEWAY,
        since=now - timedelta(hours=NEARBY_HOURS), limit=MOST_LATENCY, newest_first=True,
    )  # fmt: skip
    traffic = store.measurements(
        office=office, probe="utilisation", since=now - timedelta(days=TESTS_DAYS),
        limit=MOST_READINGS, newest_first=True,
    )  # fmt: skip
    return History(latency, tests[:TESTS_SHOWN], transitions, nearby, traffic)


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest run of one series: its figures by their labels, why there are none, remarks."""

    title: str
    outcome: Outcome
    why: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A change of state. `at_first` is the state shown before the cause was known."""

    state: OfficeState
    word: str
    at: str
    lasted: str
    at_first: str


@dataclass(frozen=True, slots=True)
class TestLine:
    """One line about a heavy test."""

    at: str
    test: str
    outcome: Outcome
    result: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfficePage:
    """The content of an office's page."""

    row: OfficeRow
    contract: str
    sla: str
    troubles: tuple[OfficeTrouble, ...]
    plots: PlotsView
    newest: tuple[Newest, ...]
    applications: str
    """How many services gave their page in time; "" where none is configured."""
    use: tuple[str, ...]
    """What the office uses of its line, for each direction that was read."""
    changes: tuple[ChangeLine, ...]
    tests: tuple[TestLine, ...]
    budget: str
    next_tests: str
    """When heavy probes run next by the schedule; empty if none does."""
    readiness: ConferenceReadiness | None
    check: CheckView | None
    devices_used: bool
    """Whether the office uses or may use the join page; only that page can check devices."""
    probabilities: tuple[float, ...]
    """Of the grades 0 to 4, by the newest call; empty if no call has met the line yet."""
    line_basis: str
    """The call whose line a reader may change, and the measurements that completed it."""


def office_page(
    live: Live,
    office: Office,
    history: History,
    formats: Formats,
    plot: PlotData,
    next_tests: NextTests = MappingProxyType({}),
) -> OfficePage:
    """Build the page's content from live state and history."""
    state, t = live.offices[office.id], formats.words
    row = office_row(live, office, formats, next_tests=next_tests)
    call = state.last_conclusive.get("conference")
    limit = None if call is None else call.conditions.get("limited_by")
    span = plot.latency.span
    return OfficePage(
        row=row,
        contract=_contract(office, formats),
        sla=t("web.office.sla", share=share_floor(office.link.sla))
        if office.link and office.link.sla
        else "",
        troubles=troubles(row, limit, plot, live.config, formats),
        plots=plots_view(live.config, office, span, plot, formats),
        newest=tuple(_newest_runs(live, office, history, formats)),
        applications=_applications(live, office, formats),
        use=tuple(_use(live.config, office, history.traffic, formats)),
        changes=tuple(_changes(history.transitions, formats)),
        tests=tuple(_test_line(measurement, formats) for measurement in history.tests),
        budget=t(
            "web.office.measure_hint",
            spent=size(state.bytes_spent_today),
            budget=size(live.config.budget),
        ),
        next_tests=_next_tests(office, next_tests, formats),
        readiness=readiness(live, office, row, formats),
        check=check_view(state.agent, formats),
        devices_used=state.agent.check is not None
        or (office.agent is not None and state.agent.kind != PROGRAM),
        probabilities=measured_probabilities(state),
        line_basis=_line_basis(state, formats),
    )


def _line_basis(state: OfficeLive, formats: Formats) -> str:
    met = newest_line(state)
    if met is None:
        return ""
    call = formats.moment(met[1].started_at)
    sources = [
        f"{_test_name(source.measurement, formats)} {formats.moment(source.measurement.started_at)}"
        for source in completed_by(met[1])
    ]
    if not sources:
        return formats.words("web.whatif.by_call", time=call)
    return formats.words("web.whatif.completed", time=call, sources="; ".join(sources))


def _next_tests(office: Office, planned: NextTests, formats: Formats) -> str:
    """Each heavy probe and the time of its next run."""
    found = sorted(
        (at, probe)
        for (place, probe), at in planned.items()
        if place == office.id and PROBES[probe].heavy
    )
    parts = [f"{formats.words(f'probe.{name}')} {formats.moment(at)}" for at, name in found]
    return formats.words("web.office.next", tests="; ".join(parts)) if parts else ""


def _contract(office: Office, formats: Formats) -> str:
    if office.link is None:
        return formats.words("web.no_contract")
    down, up = (office.link.rate(direction) for direction in Direction)
    if up == down:
        return formats.words("web.office.contract", rate=rate(down))
    return formats.words("web.office.contract_both", down=rate(down), up=rate(up))


def _applications(live: Live, office: Office, formats: Formats) -> str:
    """How many services gave their page in time, by the newest visit of each."""
    settings = live.config.probes.service
    known = live.offices[office.id].last_conclusive
    visits = [known.get(series_key("service", one.name)) for one in settings.services]
    fresh = [one for one in visits if one and is_fresh(live.config, one, formats.now)]
    if not settings.services:
        return ""
    if not fresh:
        return formats.words("not_measured")
    ready = sum(is_in_time(one, settings.slow) for one in fresh)
    return formats.words("web.office.in_time", ready=ready, total=len(fresh))


def _use(
    config: Config, office: Office, readings: Sequence[Measurement], formats: Formats
) -> Iterator[str]:
    """The 95th percentile and the busiest hour of the last days, in office hours."""
    names = [f"{direction.transfer}_bits_per_second" for direction in Direction]
    known = (
        TrafficReading(
            one.ended_at,
            one.values["window_seconds"], *(one.values[name] for name in names),
        )
        for one in readings
        if "window_seconds" in one.values and not one.conditions.get("under_load")
    )  # fmt: skip
    for direction, used in zip(Direction, line_use(known, config.district), strict=True):
        if used is None:
            continue
        of = "" if office.link is None else share(used.p95 / office.link.rate(direction))
        busy = ""
        if used.busy_hour is not None and used.busy_mean is not None:
            busy = formats.words(
                "report.use.busy", begin=f"{used.busy_hour:02}", end=f"{used.busy_hour + 1:02}",
                rate=rate(used.busy_mean),
            )  # fmt: skip
        text = formats.words("report.use.p95", rate=rate(used.p95), mean=rate(used.mean))
        way = formats.words(f"report.way.{direction}")
        text = f"{text} ({of})" if of else text
        yield f"{way}: {'; '.join(filter(None, (text, busy)))}"


def _test_name(measurement: Measurement, formats: Formats) -> str:
    name = formats.words.get(f"probe.{measurement.probe}", measurement.probe)
    path = measurement.conditions.get("service", measurement.conditions.get("path"))
    if path is None:
        return name
    return f"{name} ({formats.words.get(f'web.office.path.{path}', str(path))})"


def _outcome(measurement: Measurement, formats: Formats) -> str:
    t = formats.words
    word = t(f"outcome.{measurement.outcome}")
    if measurement.cause is None:
        return word
    return f"{word}: {t.get(f'cause.{measurement.cause}', measurement.cause)}"


def _newest_runs(live: Live, office: Office, past: History, formats: Formats) -> Iterator[Newest]:
    """The newest runs in the order of the probes; outdated runs of a service are left out."""
    config, state, now = live.config, live.offices[office.id], formats.now
    known = current(config, state.last_conclusive, now)
    at_headquarters = current(config, live.headquarters.last_conclusive, now)
    runs = sorted(state.latest.values(), key=lambda run: run.subject)
    for key in series():
        for run in runs:
            is_current = run.subject == run.route or is_fresh(config, run, now)
            if series_key(run.probe, run.route or run.subject) == key and is_current:
                then = known | _latency_at(past.latency, run) | _latency_at(past.nearby, run)
                remarks = PROBES[run.probe].remarks(config, run, then, at_headquarters)
                yield _newest(run, formats, [_phrase(remark, formats) for remark in remarks])


def _latency_at(latency: Sequence[Measurement], run: Measurement) -> dict[str, Measurement]:
    """The latency, by its series, that was measured when a run began."""
    for one in latency:
        if 0 <= (run.started_at - one.started_at).total_seconds() <= one.duration:
            return {one.series: one}
    return {}


def _phrase(remark: Remark, formats: Formats) -> str:
    def formatted(value: object) -> object:
        match value:
            case Remark():
                return _phrase(value, formats)
            case (float(number), str(unit)):
                return formats.value(number, unit)
        return value

    return formats.words(remark.phrase, **{k: formatted(v) for k, v in remark.values.items()})


def _newest(measurement: Measurement, formats: Formats, remarks: Sequence[str]) -> Newest:
    title = formats.words(
        "web.office.latest_of",
        probe=_test_name(measurement, formats),
        time=formats.moment(measurement.started_at),
    )
    figures = tuple(
        (q.label.in_(formats.words.language), formats.value(measurement.values[q.name], q.unit))
        for q in QUANTITIES
        if q.probe == measurement.probe and q.name in measurement.values
    )
    ok = measurement.outcome is Outcome.OK
    why = () if ok else (_outcome(measurement, formats),)
    return Newest(title, measurement.outcome, (*why, *remarks), figures)


def _changes(transitions: Sequence[Transition], formats: Formats) -> list[ChangeLine]:
    """State changes, newest first, with their duration and the cause found later."""
    live = spans((t for t in transitions if t.supersedes is None), formats.now)
    known = spans(transitions, formats.now)
    return [_change_line(span, live, formats) for span in known[: -CHANGES_SHOWN - 1 : -1]]


def _change_line(span: Span, live: Sequence[Span], formats: Formats) -> ChangeLine:
    """One state, and the state that was shown during most of it."""
    at_first = max(live, key=lambda other: min(span.end, other.end) - max(span.start, other.start))
    words = formats.words
    return ChangeLine(
        span.state,
        words(f"state.{span.state}"),
        formats.date_and_time(span.start),
        formats.duration((span.end - span.start) / timedelta(seconds=1)),
        ""
        if at_first.state is span.state
        else words("web.office.at_first", state=words(f"state.{at_first.state}")),
    )


def result_text(measurement: Measurement, formats: Formats) -> str:
    """The headline of a run, or why it has none."""
    return "; ".join(_test_line(measurement, formats).result)


def _test_line(measurement: Measurement, formats: Formats) -> TestLine:
    shown = PROBES[measurement.probe].headline
    result: tuple[str, ...] = ()
    if measurement.outcome is not Outcome.NO_DATA:
        result = tuple(
            _with_arrow(quantity(measurement.probe, name), measurement, formats)
            for name in shown
            if name in measurement.values
        )
    return TestLine(
        formats.date_and_time(measurement.started_at),
        _test_name(measurement, formats),
        measurement.outcome,
        result or (_outcome(measurement, formats),),
    )


_ARROWS = {"down": "↓ ", "up": "↑ ", None: ""}


def _with_arrow(one: Quantity, measurement: Measurement, formats: Formats) -> str:
    """A value with the arrow of its direction, and with its interval if it has one."""
    values = measurement.values
    if one.unit == "grade":
        text = formats.value(values[one.name], one.unit)
        return with_borderline(text, borderline_grade(values), formats.words)
    low, high = (values.get(f"{one.name}_{end}") for end in ("low", "high"))
    if one.unit == "bits_per_second" and low is not None:
        return _ARROWS[one.direction] + rate_with_interval(values[one.name], low, high)
    return _ARROWS[one.direction] + formats.value(values[one.name], one.unit)
