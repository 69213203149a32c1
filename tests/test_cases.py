"""Cases of the judgement that were written down before the code, each with the right answer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jharnet_monitor.judge.calendar.hours import office_windows
from jharnet_monitor.judge.line.assess import LineEvidence
from jharnet_monitor.judge.line.grounds import LineVerdict, Note
from jharnet_monitor.judge.outages.shared import judge_spans, shared_faults
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState
from tests import made_up
from tests.cases_support import Case, assessed, cases, evidence, judged, wrong
from tests.made_up_week import WEEK

FILES = ("method", "further", "held", "held2", "held3_*", "held4_*")
LEAST = (0.95e6 + 50e3) / 0.7
"""The need with hardly any conference, in bit/s."""


@pytest.mark.parametrize("case", cases(*FILES), ids=str)
def test_each_case_is_judged_as_was_written_down(case: Case) -> None:
    """Verdict, doubts and notes are those of the case, and the text says nothing that the case
    forbids."""
    assert wrong(case, judged(case)) == ""


@pytest.mark.parametrize("case", cases(*FILES), ids=str)
def test_a_verdict_holds_for_the_needs_that_it_prints(case: Case) -> None:
    """Inside the printed range another need gives the same verdict; outside it, another verdict."""
    measured = evidence(case)
    found = assessed(case.data, measured)
    assumed = not any(side.need.measured for side in found.directions)
    if found.holds is None or not assumed:
        return
    low, high = found.holds.low, found.holds.high or 20 * found.holds.low
    for share in (0.02, 0.5, 0.98):
        need = low + share * (high - low)
        if need > LEAST:
            assert _with_need(case, measured, need) is found.verdict, need
    for need in (low * 0.97, (found.holds.high or 0.0) * 1.03):
        if need > LEAST:
            assert _with_need(case, measured, need) is not found.verdict, need


def _with_need(case: Case, measured: LineEvidence, need: float) -> LineVerdict:
    """The verdict of the same line if the policy's need were another one."""
    policy = {
        **case.data.get("policy", {}), "conferences": 1, "audio": "0 kbit/s", "overhead": "0%",
        "other": "600 kbit/s", "seats": 10,
    }  # fmt: skip
    policy["video"] = f"{(need - LEAST) * 0.7 / 1000 + 50} kbit/s"
    return assessed({**case.data, "policy": policy}, measured).verdict


def _office(*outages: tuple[OfficeState, float, float]) -> list[Span]:
    """A week of an office that is up except for outages, given in minutes from Tuesday, 11:00."""
    begin, spans, reached = WEEK.start + timedelta(days=1, hours=11), [], WEEK.start
    for state, start, end in outages:
        at, until = begin + timedelta(minutes=start), begin + timedelta(minutes=end)
        spans += [Span(OfficeState.UP, reached, at), Span(state, at, until)]
        reached = until
    return [*spans, Span(OfficeState.UP, reached, WEEK.end)]


def test_all_dark_at_once_is_one_fault_and_charged_to_nobody() -> None:
    """What lasts longer at one office stays its own; so does what begins at another time."""
    dark = OfficeState.LINK_DOWN
    offices = [
        _office((dark, 0, 10)),
        _office((OfficeState.UNREACHABLE, 0.3, 10.5)),
        _office((dark, 0.1, 60)),
        _office((dark, 0, 10.2), (dark, 90, 95)),
    ]
    windows = office_windows(made_up.config(2).district, WEEK.days)
    found = judge_spans(offices, windows)
    assert [len(one.shared) for one in found] == [1] * 4
    charged = [
        sum(
            (s.end - s.start).total_seconds() / 60
            for s in one.spans
            if s.state in (dark, OfficeState.UNREACHABLE)
        )
        for one in found
    ]
    assert charged == pytest.approx([0, 0, 50, 5])


def test_a_power_failure_everywhere_or_two_offices_are_no_shared_fault() -> None:
    """Each office without power is charged with that; two offices may be dark by chance."""
    powerless = [_office((OfficeState.POWER_DOWN, 0, 10)) for _ in range(5)]
    two = [_office((OfficeState.LINK_DOWN, 0, 10)) for _ in range(2)]
    separate = [_office((OfficeState.LINK_DOWN, 4.0 * n, 30)) for n in range(5)]
    assert shared_faults(powerless) == shared_faults(two) == shared_faults(separate) == []


def test_every_note_occurs_in_a_case() -> None:
    """So that each note has an example of when it applies."""
    expected = {note for case in cases(*FILES) for note in case.data.get("notes", ())}
    assert {note.value for note in Note} == expected
