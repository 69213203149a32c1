"""An outage of most offices at once is nobody's own, and leaves nothing of itself behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jharnet_monitor.judge.outages.shared import SharedFault, _charged, judge_spans, shared_faults
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState

BEGIN = datetime(2026, 11, 25, 5, tzinfo=UTC)
NOON = BEGIN + timedelta(hours=1)
END = BEGIN + timedelta(hours=6)
UP, DOWN, UPLINK = OfficeState.UP, OfficeState.LINK_DOWN, OfficeState.UPLINK_DOWN


def _office(start: float, seconds: float) -> list[Span]:
    """Up, but for an outage of so many seconds that began so many seconds after noon."""
    first = NOON + timedelta(seconds=start)
    last = first + timedelta(seconds=seconds)
    return [Span(UP, BEGIN, first), Span(DOWN, first, last), Span(UP, last, END)]


def _found(*offices: list[Span]) -> list[list[tuple[OfficeState, float]]]:
    """By office: state and seconds of each span but those in which it was up."""
    judged = judge_spans(offices, [])
    return [
        [(span.state, (span.end - span.start).total_seconds()) for span in one.spans
         if span.state is not UP]
        for one in judged
    ]  # fmt: skip


@pytest.mark.parametrize("returns", [600.0, 650.0], ids=["with the others", "within two minutes"])
def test_an_outage_inside_a_shared_one_leaves_no_outage_of_its_own(returns: float) -> None:
    """Not even one of no length, which would still be counted."""
    found = _found(_office(0, 600), _office(5, 595), _office(10, 590), _office(0, returns))
    for spans in found:
        assert [state for state, _ in spans] == [UPLINK]
        assert all(seconds > 0 for _, seconds in spans)


def test_what_outlasts_the_shared_outage_is_the_offices_own() -> None:
    """An hour more than the others: the line has a fault as well."""
    found = _found(_office(0, 600), _office(0, 600), _office(0, 600), _office(0, 4200))
    assert found[:3] == [[(UPLINK, 600.0)]] * 3
    assert found[3] == [(UPLINK, 600.0), (DOWN, 3600.0)]


@pytest.mark.parametrize(
    ("start", "states"),
    [(-61, [DOWN]), (-60, [UPLINK]), (0, [UPLINK]), (60, [UPLINK]), (61, [DOWN])],
)
def test_an_outage_belongs_to_a_fault_that_began_within_a_minute(
    start: int, states: list[OfficeState]
) -> None:
    """Before or after it; what began earlier or later is the office's own."""
    fault = SharedFault(NOON, NOON + timedelta(minutes=10))
    span = Span(DOWN, NOON + timedelta(seconds=start), NOON + timedelta(minutes=9))
    assert [part.state for part in _charged(span, fault)] == states


def test_two_offices_prove_no_common_cause() -> None:
    """And neither does an outage of three at different times."""
    assert shared_faults([_office(0, 600), _office(0, 600)]) == []
    assert shared_faults([_office(0, 60), _office(600, 60), _office(1200, 60)]) == []
