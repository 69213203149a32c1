"""An outage of most offices at once is nobody's own, and leaves nothing of itself behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jharnet_monitor.dossier.derive import judged_states
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.judge.outages.shared import SharedFault, _charged, judge_spans, shared_faults
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.collect import Collector
from jharnet_monitor.report.data.load import _judged, _judged_in
from jharnet_monitor.report.data.state_spans import spans as spans_of
from jharnet_monitor.store import Transition
from tests import made_up
from tests.made_up_week import WEEK

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
    assert [part.state for part in _charged(span, fault, span.start)] == states


def test_two_offices_prove_no_common_cause() -> None:
    """And neither does an outage of three at different times."""
    assert shared_faults([_office(0, 600), _office(0, 600)]) == []
    assert shared_faults([_office(0, 60), _office(600, 60), _office(1200, 60)]) == []


@pytest.mark.parametrize(("minutes", "own"), [(31, []), (50, [(DOWN, 18 * 60.0)])])
def test_an_office_that_answers_after_the_uplink_returned_had_no_outage(
    minutes: int, own: list[tuple[OfficeState, float]]
) -> None:
    """The operator's routers take a minute to find the way again: it belongs to the outage of the
    uplink. An office that stays away for longer than the others has a fault of its own.
    """
    returned = NOON + timedelta(minutes=30)

    def office(number: int, minute: int) -> list[Span]:
        first, last = NOON + timedelta(seconds=number), NOON + timedelta(minutes=minute)
        return [Span(UP, BEGIN, first), Span(UPLINK, first, returned), Span(DOWN, returned, last),
                Span(UP, last, END)]  # fmt: skip

    found = _found(*(office(number, 32) for number in range(3)), office(3, minutes))
    for spans in found[:3]:
        assert {state for state, _ in spans} == {UPLINK}
        assert sum(seconds for _, seconds in spans) >= 32 * 60 - 3
    assert [one for one in found[3] if one[0] is DOWN] == own


def _evening(*minutes: int) -> list[list[Span]]:
    """By office: up, then dark from so many minutes before noon on until noon, and up again."""
    gone = [NOON - timedelta(minutes=minute) for minute in minutes]
    return [[Span(UP, BEGIN, at), Span(DOWN, at, NOON), Span(UP, NOON, END)] for at in gone]


def _with_restart(office: list[Span]) -> list[Span]:
    """The same, with the hub restarted ten minutes before noon, which takes half a minute."""
    up, dark, after = office
    stop = NOON - timedelta(minutes=10)
    start = stop + timedelta(seconds=30)
    return [up, Span(DOWN, dark.start, stop), Span(OfficeState.MONITOR_DOWN, stop, start),
            Span(DOWN, start, NOON), after]  # fmt: skip


def test_a_restart_of_the_hub_makes_no_shared_fault_and_ends_none() -> None:
    """Offices that were switched off one by one are all noticed again at once after a restart, as
    are those of a shared fault.
    """
    one_by_one, at_once = _evening(15, 20, 30, 50), _evening(20, 20, 20, 50)
    assert shared_faults(one_by_one) == shared_faults([*map(_with_restart, one_by_one)]) == []
    assert len(shared_faults(at_once)) == 1
    found = shared_faults([*map(_with_restart, at_once)])
    assert sum((one.end - one.start for one in found), timedelta(0)) == timedelta(minutes=19.5)


def test_offices_that_failed_while_the_hub_was_off_failed_together() -> None:
    """As when headquarters' power is cut: nothing shows that they were dark before."""
    offices = [_with_restart(office) for office in _evening(20, 20, 20)]
    up = [[Span(UP, BEGIN, spans[2].start), *spans[2:]] for spans in offices]
    assert [one.start for one in shared_faults(up)] == [up[0][2].start]


@pytest.mark.parametrize(("spacing", "shared"), [(10, 0), (0, 1)])
def test_what_began_before_the_period_did_not_begin_at_its_midnight(
    spacing: int, shared: int
) -> None:
    """Nor does a fault that all offices had at once become the fault of each there. In the dossier,
    in the report, and in the earlier periods of its trend."""
    config = made_up.config(4)
    changes: dict[str, list[Transition]] = {}
    collectors = []
    for number, office in enumerate(config.offices):
        gone = WEEK.start - timedelta(hours=2, minutes=spacing * number)
        back = WEEK.start + timedelta(hours=9)
        changes[office.id] = [
            Transition(place, office.id, state, at, None, {}, at)
            for place, (state, at) in enumerate([(UP, gone - timedelta(days=1)), (DOWN, gone),
                                                 (UP, back)], 1)
        ]  # fmt: skip
        collectors.append(Collector(config, office, WEEK, WEEK.days[0], WEEK.end))
    evidence = DossierEvidence(config, WEEK)
    evidence.transitions |= changes
    states = {office: spans_of(every, WEEK.end) for office, every in changes.items()}
    for found in (judged_states(evidence, WEEK.end), _judged(collectors, states, WEEK.end)):
        assert [len(one.shared) for one in found.values()] == [shared] * 4
        charged = [any(span.state is DOWN for span in one.spans) for one in found.values()]
        assert charged == [not shared] * 4
    before = _judged_in(collectors, states, WEEK)
    assert all(any(span.state is DOWN for span in spans) is not shared for spans in before.values())
