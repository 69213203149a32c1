"""Derives the lines of calls again that other measurements completed, and compares both.

A call stores what itself showed, and what it used of the other measurements (`line_evidence`). The
line must follow from these, and these must be the records of the dossier. Records from before its
period, and minutes that were pruned, are not there to compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.measured_rates import LATENCY, ROUTER
from jharnet_monitor.judge.twin.office_line import derived, measured
from jharnet_monitor.model import Direction, Measurement
from jharnet_monitor.store.tables import to_ms

MOST_BEFORE = 60.0
"""Seconds that a call may begin after the moment that its line gives as its time."""
TOLERANCE = 1e-4
"""Relative difference of numbers: they are stored with six digits."""


def line_differences(evidence: DossierEvidence) -> Iterator[str]:
    """A message for each call whose line does not follow from the measurements it names."""
    for (_, probe), runs in evidence.runs.items():
        if probe != "conference":
            continue
        for call in runs:
            for problem in _of_call(call, evidence):
                yield f"data: the call {call.id} of {call.office}: {problem}"


def _of_call(call: Measurement, evidence: DossierEvidence) -> Iterator[str]:
    data = call.conditions.get("line_evidence")
    if data is None:
        return
    try:
        found = derived(data)
        stored = LineModel.from_json(call.conditions["line"])
        sources = {one["series"]: measured(one) for one in data["measured"]}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        yield f"`line_evidence` cannot be read: {error!r}"
        return
    if not _alike(stored.to_json(), found.line.to_json()):
        yield "its `line` does not follow from `line_evidence`"
    if abs((call.started_at - found.at).total_seconds()) > MOST_BEFORE:
        yield "the time in `line_evidence` is not that of the call"
    for series, source in sources.items():
        for problem in _of_source(series, source, call.office, evidence):
            yield f"`line_evidence` names {series} {source.id}: {problem}"


def _of_source(
    series: str, source: Measurement, office: str, evidence: DossierEvidence
) -> Iterator[str]:
    """How a source differs from the dossier's record of it."""
    period = evidence.period
    if not period.start <= source.started_at < period.end:
        return
    if series in (LATENCY, ROUTER):
        record = _minute(series, source, office, evidence)
        if record is None:
            return
    else:
        tests = evidence.runs.get((office, source.probe), ())
        test = next((one for one in tests if one.id == source.id), None)
        if test is None:
            yield "there is no such measurement"
            return
        record = {**test.conditions, **test.values}
        if to_ms(test.started_at) != to_ms(source.started_at):
            yield "it began at another time"
    for name, value in {**source.conditions, **source.values}.items():
        if name not in record or not _alike(value, record[name]):
            yield f"{name} is {value!r}, but was recorded as {record.get(name)!r}"


def _minute(
    series: str, source: Measurement, office: str, evidence: DossierEvidence
) -> dict[str, float] | None:
    """The quantities of a minute of latency or a reading of the router; None if it is not there."""
    if series == LATENCY:
        minutes = evidence.minutes[office]
        at, names = minutes.at, ("rtt_p50_seconds", "sent", "received")
        columns = {name: minutes.columns[name] for name in names}
    else:
        traffic = evidence.traffic[office]
        at = traffic.at
        columns = {f"{way.transfer}_bits_per_second": getattr(traffic, way) for way in Direction}
    found = _row(at, columns, to_ms(source.started_at))
    if found is not None and series == LATENCY:
        found["loss_ratio"] = 1 - found["received"] / found["sent"]
    return found


def _row(
    at: list[NDArray[np.int64]], columns: Mapping[str, list[NDArray[np.float64]]], moment: int
) -> dict[str, float] | None:
    for number, starts in enumerate(at):
        where = np.flatnonzero(starts == moment)
        if len(where):
            return {name: float(parts[number][where[0]]) for name, parts in columns.items()}
    return None


def _alike(one: Any, other: Any) -> bool:
    """Whether both are the same, numbers nearly."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-9)
    return bool(one == other)
