"""Downtime by cause: what lies in office hours, and what can be charged to the line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jharnet_monitor.judge.outages.downtime import outages_of
from jharnet_monitor.judge.outages.shared import JudgedSpans, SharedFault
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState

MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)
LINK, POWER, LAN = OfficeState.LINK_DOWN, OfficeState.POWER_DOWN, OfficeState.LAN_DOWN


def _at(hour: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hour)


def _spans(*faults: tuple[OfficeState, float, float], hours: float = 48) -> tuple[Span, ...]:
    """Up, but for these states from one hour to another."""
    found, last = [], 0.0
    for state, begin, end in faults:
        found += [Span(OfficeState.UP, _at(last), _at(begin)), Span(state, _at(begin), _at(end))]
        last = end
    return (*found, Span(OfficeState.UP, _at(last), _at(hours)))


WINDOWS = [(_at(10), _at(18)), (_at(34), _at(42))]
"""Two days of eight hours."""


def test_office_hours_are_counted_by_themselves() -> None:
    """Of each outage the part within them, also of one that lasts from one day to the next."""
    faults = (LINK, 9, 11), (POWER, 12, 13), (LAN, 17, 36), (LINK, 43, 44)
    found = outages_of(JudgedSpans(_spans(*faults)), WINDOWS, _at(0), _at(48))
    for office, total, hours, of_all in (
        (found.office.link, found.total.link, 1, 3),
        (found.office.power, found.total.power, 1, 1),
        (found.office.lan, found.total.lan, 3, 19),
        (found.office.known, found.total.known, 16, 48),
    ):
        assert office == pytest.approx(hours / 16)
        assert total == pytest.approx(of_all / 48)
    assert found.incident == pytest.approx(2 / 3)


def test_hours_outside_the_period_do_not_count() -> None:
    """Office hours that the period begins or ends in are cut; a day after it is left out."""
    judged = JudgedSpans(_spans((LINK, 16, 17), hours=24))
    found = outages_of(judged, WINDOWS, _at(14), _at(24))
    assert found.office.link == pytest.approx(1 / 4)
    assert found.total.link == pytest.approx(1 / 10)


def test_planned_work_and_shared_faults_are_nobodys() -> None:
    """Their hours leave both sides of the share; unknown hours leave neither."""
    faults = (
        (OfficeState.PLANNED, 10, 12), (OfficeState.UPLINK_DOWN, 12, 13),
        (OfficeState.UNKNOWN, 13, 14), (POWER, 14, 15),
    )  # fmt: skip
    shared = SharedFault(_at(12), _at(13)), SharedFault(_at(30), _at(31))
    judged = JudgedSpans(_spans(*faults, hours=24), shared=shared)
    found = outages_of(judged, WINDOWS, _at(0), _at(24))
    assert found.office.power == pytest.approx(1 / 5)
    assert found.office.known == pytest.approx(4 / 5)
    assert (found.shared, found.shared_seconds) == (1, 3600)


def test_without_hours_nothing_is_charged() -> None:
    """A holiday has no office hours, and a day of planned work none that count."""
    judged = JudgedSpans(_spans((OfficeState.PLANNED, 10, 18), hours=24))
    for windows in ([], WINDOWS):
        office = outages_of(judged, windows, _at(0), _at(24)).office
        assert (office.known, office.link, office.power) == (0, 0, 0)
    assert office.of_known(0.5) == 0


def test_a_shared_fault_counts_in_the_period_in_which_it_began() -> None:
    """From the period's first moment to just before its last; it may last beyond."""
    shared = tuple(
        SharedFault(_at(begin), _at(end))
        for begin, end in ((9, 11), (10, 10.5), (12, 14), (17.75, 20), (18, 19), (30, 31))
    )
    found = outages_of(JudgedSpans(_spans(hours=24), shared=shared), WINDOWS, _at(10), _at(18))
    assert (found.shared, found.shared_seconds) == (3, 3600 * (0.5 + 2 + 2.25))


def test_windows_that_only_touch_the_period_do_not_count() -> None:
    """Office hours that end as the period begins, or begin as it ends, give it no hour."""
    judged = JudgedSpans(_spans((POWER, 18, 20), (LINK, 33, 35), hours=48))
    found = outages_of(judged, WINDOWS, _at(18), _at(34))
    assert found.office.known == 0.0
    assert found.total.power == pytest.approx(2 / 16) and found.total.link == pytest.approx(1 / 16)
    assert found.incident == 1.0


def test_a_line_without_outages_has_no_worst_one() -> None:
    """Power and LAN are none of the line; nights off leave the contract's hours."""
    judged = JudgedSpans(_spans((POWER, 12, 13), (LAN, 14, 15), hours=24), nights=3,
                         off=timedelta(hours=4))  # fmt: skip
    found = outages_of(judged, WINDOWS[:1], _at(0), _at(24))
    assert (found.incident, found.total.link, found.nights) == (0.0, 0.0, 3)
    assert found.off_seconds == 4 * 3600
    assert found.total.power == pytest.approx(1 / 20)
    assert found.office.power == pytest.approx(1 / 8)  # of which no night is a part
    half = outages_of(JudgedSpans(_spans((OfficeState.UNREACHABLE, 12, 13), hours=24)),
                      WINDOWS[:1], _at(0), _at(24))  # fmt: skip
    assert half.office.unexplained == pytest.approx(1 / 8)
    assert half.office.of_known(half.office.unexplained) == pytest.approx(1 / 8)
