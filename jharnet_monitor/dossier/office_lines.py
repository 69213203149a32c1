"""Derives the lines of calls again that other measurements completed, and compares both.

A call stores what itself showed, and what it used of the other measurements (`line_evidence`). The
line must follow from these, and these must be the records of the dossier. Records from before its
period, and minutes that were pruned, are not there to compare. Whether a measurement was left out
is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose, isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.judge.twin.measured_rates import LATENCY, ROUTER
from jharnet_monitor.judge.twin.office_line import checked_line, derived, kept
from jharnet_monitor.model import LONG_TESTS, Direction, Measurement, Outcome
from jharnet_monitor.store.tables import to_ms

MOST_LATER = 10.0
"""Seconds after the start of a call's measurement at which its line may give its time."""
NEAR_MS = 600_000
"""If there is any minute so near, none was pruned."""
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
        follows = _alike(checked_line(call.conditions["line"]).to_json(), found.line.to_json())
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        yield f"`line_evidence` cannot be read: {error!r}"
        return
    if not follows:
        yield "its `line` does not follow from `line_evidence`"
    if not 0 <= (found.at - call.started_at).total_seconds() <= MOST_LATER:
        yield "the time in `line_evidence` is not that of the call"
    for source in found.sources:
        one = source.measurement
        for problem in _of_source(source.series, one, call.office, evidence):
            yield f"`line_evidence` names {source.series} {one.id}: {problem}"


def _of_source(
    series: str, source: Measurement, office: str, evidence: DossierEvidence
) -> Iterator[str]:
    """How a source differs from the dossier's record of it."""
    period = evidence.period
    if not period.start <= source.started_at < period.end:
        return
    if series in (LATENCY, ROUTER):
        record, is_pruned = _minute(series, source, office, evidence)
        if is_pruned:
            return
    else:
        record = _test(series, source, office, evidence)
    if record is None:
        yield "there is no such measurement"
        return
    used = {**kept(source.conditions), **kept(source.values)}
    used.pop("path", None)
    for name in sorted(used.keys() | record.keys()):
        if not _alike(used.get(name), record.get(name)):
            yield f"{name} is {used.get(name)!r}, but was recorded as {record.get(name)!r}"


def _test(
    series: str, source: Measurement, office: str, evidence: DossierEvidence
) -> dict[str, Any] | None:
    """What a line can depend on of a speed test or packet trains; None if it was not made then, or
    if it is none that is used."""
    tests = evidence.runs.get((office, source.probe), ())
    test = next((one for one in tests if one.id == source.id), None)
    if test is None or to_ms(test.started_at) != to_ms(source.started_at):
        return None
    is_usable = test.outcome is Outcome.OK and test.is_conclusive
    if not is_usable or test.conditions.get("under_load"):
        return None
    long_tests = [
        LONG_TESTS[way]
        for way in Direction
        if f"{way.transfer}_sustained_bits_per_second" in test.values
    ]
    if series not in (test.series, *long_tests):
        return None
    record = {**kept(test.conditions), **kept(test.values)}
    record.pop("path", None)
    return record


def _minute(
    series: str, source: Measurement, office: str, evidence: DossierEvidence
) -> tuple[dict[str, float] | None, bool]:
    """What a line can depend on of a minute of latency or a reading of the router; None if it is
    not there, and whether it may have been pruned."""
    moment = to_ms(source.started_at)
    if series == LATENCY:
        minutes = evidence.minutes[office]
        names = ("rtt_p50_seconds", "sent", "received")
        row, is_pruned = _row(minutes.at, {n: minutes.columns[n] for n in names}, moment)
        if row is not None:
            sent, received = row.pop("sent"), row.pop("received")
            row["loss_ratio"] = 1 - received / sent if sent else float("nan")
    else:
        traffic = evidence.traffic[office]
        rates = {f"{way.transfer}_bits_per_second": getattr(traffic, way) for way in Direction}
        row, is_pruned = _row(traffic.at, rates, moment)
    if row is not None:
        row = {name: value for name, value in row.items() if not isnan(value)}
    return row, is_pruned


def _row(
    at: list[NDArray[np.int64]], columns: Mapping[str, list[NDArray[np.float64]]], moment: int
) -> tuple[dict[str, float] | None, bool]:
    """The values of that moment; None if it is not there, and whether nothing is near it."""
    is_pruned = True
    for number, starts in enumerate(at):
        where = np.flatnonzero(starts == moment)
        if len(where):
            row = {name: float(parts[number][where[0]]) for name, parts in columns.items()}
            return row, False
        is_pruned = is_pruned and not (np.abs(starts - moment) <= NEAR_MS).any()
    return None, is_pruned


def _alike(one: Any, other: Any) -> bool:
    """Whether both are the same, numbers nearly."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-9)
    return bool(one == other)
