"""All figures of the letter and the sheets, derived from the raw data alone.

The documents are made from these claims and from nothing else. Building a dossier derives the
claims; verifying it derives them again and compares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

from jharnet_monitor.config import Office
from jharnet_monitor.config.schema import Config
from jharnet_monitor.dossier.evidence import Evidence
from jharnet_monitor.judge.conference.drill import held, mark
from jharnet_monitor.judge.line.assess import LineEvidence, assess
from jharnet_monitor.judge.line.traffic import other_traffic
from jharnet_monitor.judge.line.verdict import LineVerdict
from jharnet_monitor.judge.outages.availability import StateTimes, state_times
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.model import OfficeState, format_utc
from jharnet_monitor.report.data.aggregate import OUT, clipped, conference, outages
from jharnet_monitor.report.data.assessment_json import interval, judged, rounded
from jharnet_monitor.report.data.state_spans import spans
from jharnet_monitor.report.data.summary import Conference, Outage

TOLERANCE = 1e-6
"""Relative difference allowed between two machines' arithmetic; documents show at most 4 digits."""


def derive(evidence: Evidence, until: datetime) -> dict[str, Any]:
    """All claims of a period that is sealed up to `until`: plain JSON."""
    config = evidence.config
    offices = {office.id: _office(evidence, office, until) for office in config.offices}
    return {
        "offices": offices,
        "district": _district(evidence, offices, until),
        "drills": [_drill(drill, config) for drill in ordered_drills(evidence)],
    }


def ordered_drills(evidence: Evidence) -> list[dict[str, Any]]:
    """The drills, ordered by start."""
    return sorted(evidence.drills.values(), key=lambda drill: str(drill["started_at"]))


def _district(
    evidence: Evidence, offices: Mapping[str, Mapping[str, Any]], until: datetime
) -> dict[str, Any]:
    grade = evidence.config.thresholds.grade
    grades = [one["conference"]["grade"] for one in offices.values()]
    by_verdict = {
        verdict.value: [name for name, one in offices.items() if one["verdict"] == verdict.value]
        for verdict in LineVerdict
    }
    return {
        "offices": len(offices),
        "tested": sum(found is not None for found in grades),
        "able": sum(found is not None and found >= grade for found in grades),
        "measurements": sum(one["measurements"] for one in offices.values()),
        "first": None if evidence.first is None else format_utc(evidence.first),
        "last": None if evidence.last is None else format_utc(evidence.last),
        "until": format_utc(until),
        "verdicts": by_verdict,
    }


def _office(evidence: Evidence, office: Office, until: datetime) -> dict[str, Any]:
    calls = conference(evidence.calls(office.id), evidence.config.district)
    available, down = _states(evidence, office.id, until)
    lost, sent, minutes = evidence.minutes[office.id].packets(len(evidence.period.days))
    line = LineEvidence(
        state_times=available,
        tests=evidence.tests(office.id),
        lost=lost.tolist(),
        sent=sent.tolist(),
        minutes=minutes,
        days=len(evidence.days[office.id]),
        other=other_traffic(
            evidence.traffic[office.id], evidence.config.district, evidence.period.days
        ),
    )
    return {
        "measurements": sum(n for (name, _), n in evidence.counts.items() if name == office.id),
        "conference": _conference(evidence, calls),
        "latency": _latency(evidence, office.id),
        "availability": _availability(available, down),
        **judged(assess(evidence.config, office, line)),
    }


def _conference(evidence: Evidence, calls: Conference) -> dict[str, Any]:
    wanted = evidence.config.thresholds.grade
    share = intervals.share(
        [evidence.day(at) for at, _ in calls.grades], [grade >= wanted for _, grade in calls.grades]
    )
    return {
        "grade": calls.grade,
        "tests": calls.tests,
        "missed": calls.missed,
        "outside_hours": calls.outside_hours,
        "limited_by": calls.limited_by,
        "cause": calls.cause,
        "able": interval(share),
    }


def _latency(evidence: Evidence, office: str) -> dict[str, Any]:
    minutes = evidence.minutes[office]
    p50 = intervals.group_by_day(*_lists(minutes.of("rtt_p50_seconds")))
    jitter = intervals.group_by_day(*_lists(minutes.of("jitter_seconds")))
    return {
        "p50": interval(intervals.median(p50)),
        "p95": interval(intervals.quantile(p50, 0.95)),
        "jitter": interval(intervals.median(jitter)),
    }


def _lists(columns: tuple[Any, Any]) -> tuple[list[int], list[float]]:
    return columns[0].tolist(), columns[1].tolist()


def _states(
    evidence: Evidence, office: str, until: datetime
) -> tuple[StateTimes, tuple[Outage, ...]]:
    """Time by state, and the outages, up to `until`."""
    start = evidence.period.start
    held = clipped(spans(_known(evidence, office), known_until(evidence, until)), start, until)
    return state_times(held, start, max(start, until)), tuple(outages(office, held, until))


def _known(evidence: Evidence, office: str) -> list[Any]:
    return [one for one in evidence.transitions[office] if one.at < evidence.period.end]


def known_until(evidence: Evidence, until: datetime) -> datetime:
    """Until when the states are known: a hub that stopped records no further change."""
    if evidence.last_minute is None:
        return until
    every = evidence.config.probes.latency.every
    return min(until, evidence.last_minute + timedelta(seconds=3 * every))


def every_outage(evidence: Evidence, until: datetime) -> Iterator[Outage]:
    """The outages of all offices, in the order of the configuration."""
    for office in evidence.config.offices:
        yield from _states(evidence, office.id, until)[1]


def _availability(available: StateTimes, down: Sequence[Outage]) -> dict[str, Any]:
    bounds = available.bounds
    return {
        "ratio": rounded(available.availability),
        "without_power": rounded(available.availability_without_power),
        "coverage": rounded(available.coverage),
        "worst": None if bounds is None else rounded(bounds[0]),
        "best": None if bounds is None else rounded(bounds[1]),
        "seconds": {
            state.value: rounded(available.of(state).total_seconds()) for state in OfficeState
        },
        "outages": {state.value: sum(one.state is state for one in down) for state in OUT},
    }


def _drill(drill: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """How many offices took part and held the conference; each is tested once, hence Wilson."""
    rows = drill["offices"]
    joined = [row for row in rows if row["joined"]]
    least = mark(str(drill["profile"]), config.thresholds.grade)
    able = sum(held(row, least) for row in joined)
    return {
        "id": str(drill["id"]),
        "started_at": str(drill["started_at"]),
        "offices": len(rows),
        "joined": len(joined),
        "able": able,
        "share": interval(intervals.wilson_interval(able, len(joined))),
    }


def differences(claimed: Any, found: Any, where: str = "") -> Iterator[str]:
    """A message for every claim that differs from the figures found, with its path."""
    if isinstance(claimed, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*found, *claimed]):
            path = f"{where}.{key}" if where else str(key)
            if key not in claimed or key not in found:
                missing = "not claimed" if key not in claimed else "claimed but not found"
                yield f"{path}: is {missing}"
            else:
                yield from differences(claimed[key], found[key], path)
    elif isinstance(claimed, list) and isinstance(found, list):
        for number, (one, other) in enumerate(zip_longest(claimed, found)):
            yield from differences(one, other, f"{where}[{number}]")
    elif not _same(claimed, found):
        yield f"{where}: {claimed!r} is claimed, but the measurements give {found!r}"


def _same(claimed: Any, found: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (claimed, found))
    if numbers:
        return math.isclose(claimed, found, rel_tol=TOLERANCE, abs_tol=1e-12)
    return type(claimed) is type(found) and bool(claimed == found)
