"""Derives the claims of a dossier from its raw data alone.

Building a dossier derives the claims; verifying it derives them again and compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from jharnet_monitor.config import Office
from jharnet_monitor.config.schema import Config
from jharnet_monitor.dossier.claims import (
    AvailabilityClaims,
    Claims,
    ConferenceClaims,
    DistrictClaims,
    DrillClaims,
    LatencyClaims,
    OfficeClaims,
    RetestClaims,
)
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.settings_log import SettingsLog
from jharnet_monitor.judge.calendar.hours import in_office_hours, office_windows
from jharnet_monitor.judge.conference.drill import Drill, passed, required_grade
from jharnet_monitor.judge.line.assess import LineEvidence, assess
from jharnet_monitor.judge.line.verdict import LineVerdict
from jharnet_monitor.judge.outages.availability import StateTimes, state_times
from jharnet_monitor.judge.outages.shared import JudgedSpans, judge_spans
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import Direction, Measurement, OfficeState, Route
from jharnet_monitor.report.data.aggregate import OUT, conference, outages
from jharnet_monitor.report.data.state_spans import clipped, spans
from jharnet_monitor.report.data.summary import Conference, Outage

FEWEST_CALLS = 5
"""With fewer conference tests an office is counted neither as able nor as unable."""


def derive(evidence: DossierEvidence, until: datetime) -> Claims:
    """All claims of a period that is sealed up to `until`."""
    config = evidence.config
    states = judged_states(evidence, until)
    settings = SettingsLog.of(evidence.database_events)
    offices = {
        office.id: _office(
            evidence, office, states[office.id], until, settings.contract_changed(office)
        )
        for office in config.offices
    }
    return Claims(
        offices=offices,
        district=_district(evidence, offices, until),
        drills=tuple(_drill(drill, config) for drill in ordered_drills(evidence)),
        made_up=evidence.made_up,
    )


def ordered_drills(evidence: DossierEvidence) -> list[Drill]:
    """The drills, ordered by start."""
    return sorted(evidence.drills.values(), key=lambda drill: drill.started_at)


def _district(
    evidence: DossierEvidence, offices: Mapping[str, OfficeClaims], until: datetime
) -> DistrictClaims:
    wanted = evidence.config.thresholds.grade
    calls = [one.conference for one in offices.values()]
    grades = [one.grade for one in calls if one.tests >= FEWEST_CALLS]
    return DistrictClaims(
        offices=len(offices),
        tested=sum(grade is not None for grade in grades),
        able=sum(grade is not None and grade >= wanted for grade in grades),
        measurements=sum(one.measurements for one in offices.values()),
        first=evidence.first,
        last=evidence.last,
        until=until,
        verdicts={
            verdict: tuple(n for n, one in offices.items() if one.assessment.verdict is verdict)
            for verdict in LineVerdict
        },
    )


def _office(
    evidence: DossierEvidence,
    office: Office,
    states: JudgedSpans,
    until: datetime,
    contract_since: datetime | None,
) -> OfficeClaims:
    calls = conference(evidence.calls(office.id), evidence.config.district)
    start, end = _extent(evidence, until)
    line = LineEvidence(
        start=start,
        end=end,
        stretch=evidence.period.days,
        states=states,
        tests=evidence.tests(office.id),
        calls=evidence.calls(office.id),
        packets=evidence.minutes[office.id].packets(),
        traffic=evidence.traffic[office.id],
        lan=evidence.lan[office.id],
        days=len(evidence.days[office.id]),
        contract_since=contract_since,
    )
    available = state_times(states.spans, start, end)
    down = tuple(outages(office.id, states.spans, until))
    return OfficeClaims(
        measurements=sum(n for (name, _), n in evidence.counts.items() if name == office.id),
        conference=_conference(evidence, calls),
        latency=_latency(evidence, office.id),
        availability=_availability(available, down),
        retests=_retests(evidence, office.id),
        assessment=assess(evidence.config, office, line),
    )


def _conference(evidence: DossierEvidence, calls: Conference) -> ConferenceClaims:
    wanted = evidence.config.thresholds.grade
    share = intervals.share(
        [evidence.day(at) for at, _ in calls.grades], [grade >= wanted for _, grade in calls.grades]
    )
    return ConferenceClaims(
        grade=calls.grade,
        tests=calls.tests,
        missed=calls.missed,
        outside_hours=calls.outside_hours,
        limited_by=calls.limited_by,
        cause=calls.cause,
        able=share,
    )


def _latency(evidence: DossierEvidence, office: str) -> LatencyClaims:
    minutes = evidence.minutes[office]
    p50 = intervals.group_by_day(*_lists(minutes.of("rtt_p50_seconds")))
    jitter = intervals.group_by_day(*_lists(minutes.of("jitter_seconds")))
    return LatencyClaims(
        p50=intervals.median(p50),
        p95=intervals.quantile(p50, 0.95),
        jitter=intervals.median(jitter),
    )


def _retests(evidence: DossierEvidence, office: str) -> RetestClaims:
    """The medians outside office hours with every first test, and with the tests that count."""
    district = evidence.config.district
    tests = [one for one in evidence.tests(office) if one.route is Route.JHARNET]
    quiet = [one for one in tests if not in_office_hours(district, one.started_at)]
    first = [one for one in quiet if "retest_of" not in one.conditions]
    counted = [one for one in quiet if one.is_conclusive]
    return RetestClaims(
        repeated=sum(not one.is_conclusive for one in tests),
        first={way: _median(evidence, first, way) for way in Direction},
        counted={way: _median(evidence, counted, way) for way in Direction},
    )


def _median(
    evidence: DossierEvidence, tests: Sequence[Measurement], direction: Direction
) -> Interval | None:
    name = f"{direction.transfer}_bits_per_second"
    found = [one for one in tests if name in one.values]
    days = [evidence.day(one.started_at) for one in found]
    return intervals.median(intervals.group_by_day(days, [one.values[name] for one in found]))


def _lists(columns: tuple[Any, Any]) -> tuple[list[int], list[float]]:
    return columns[0].tolist(), columns[1].tolist()


def judged_states(evidence: DossierEvidence, until: datetime) -> dict[str, JudgedSpans]:
    """The states of each office as they are judged, up to `until`."""
    measured = measured_states(evidence, until)
    found = [clipped(one, evidence.period.start, until) for one in measured.values()]
    windows = office_windows(evidence.config.district, evidence.period.days)
    judged = judge_spans(found, windows, list(measured.values()))
    return dict(zip(measured, judged, strict=True))


def measured_states(evidence: DossierEvidence, until: datetime) -> dict[str, list[Span]]:
    """The states of each office as they were measured, also those before the period."""
    known = known_until(evidence, until)
    return {
        office.id: spans(_known(evidence, office.id), known) for office in evidence.config.offices
    }


def _extent(evidence: DossierEvidence, until: datetime) -> tuple[datetime, datetime]:
    return evidence.period.start, max(evidence.period.start, until)


def _known(evidence: DossierEvidence, office: str) -> list[Any]:
    return [one for one in evidence.transitions[office] if one.at < evidence.period.end]


def known_until(evidence: DossierEvidence, until: datetime) -> datetime:
    """Until when the states are known: a hub that stopped records no further change."""
    if evidence.last_minute is None:
        return until
    every = evidence.config.probes.latency.every
    return min(until, evidence.last_minute + timedelta(seconds=3 * every))


def every_outage(evidence: DossierEvidence, until: datetime) -> Iterator[Outage]:
    """The outages that are charged to offices, in the order of the configuration."""
    for office, states in judged_states(evidence, until).items():
        yield from outages(office, states.spans, until)


def _availability(available: StateTimes, down: Sequence[Outage]) -> AvailabilityClaims:
    worst, best = available.bounds or (None, None)
    return AvailabilityClaims(
        ratio=available.availability,
        without_power=available.availability_without_power,
        coverage=available.coverage,
        worst=worst,
        best=best,
        seconds={state: available.of(state).total_seconds() for state in OfficeState},
        outages={state: sum(one.state is state for one in down) for state in OUT},
    )


def _drill(drill: Drill, config: Config) -> DrillClaims:
    """How many offices took part and passed; each is tested once, hence Wilson."""
    required = required_grade(drill.profile, config.thresholds.grade)
    able = sum(passed(office, required) for office in drill.joined)
    return DrillClaims(
        id=drill.id,
        started_at=drill.started_at,
        offices=len(drill.offices),
        joined=len(drill.joined),
        able=able,
        share=intervals.wilson_interval(able, len(drill.joined)),
    )
