"""Calls that step down at the same moment: who counts as together, at the edges of each rule."""

from __future__ import annotations

import pytest

from jharnet_monitor.judge.conference.common_cause import stepped_down_together

OFFICES = ("boram", "dumaria", "patamda", "potka")


def _together(moments: dict[str, float], calls: int) -> list[str]:
    return sorted(stepped_down_together(moments, calls))


@pytest.mark.parametrize(("first", "counts"), [(9.9, False), (10.0, True), (10.5, True)])
def test_what_happens_while_calls_start_is_no_common_cause(first: float, counts: bool) -> None:
    """In the first ten seconds every line that is too slow steps down."""
    moments = dict.fromkeys(OFFICES, first)
    assert _together(moments, 4) == (list(OFFICES) if counts else [])


@pytest.mark.parametrize(("last", "counts"), [(32.0, True), (32.1, False)])
def test_two_seconds_are_the_same_moment(last: float, counts: bool) -> None:
    """Reports come four times a second, and a sender waits until its queue has drained."""
    moments = {"boram": 30.0, "dumaria": 31.0, "potka": last}
    assert _together(moments, 3) == (sorted(moments) if counts else [])


@pytest.mark.parametrize(
    ("number", "calls", "counts"),
    [(2, 2, False), (3, 3, True), (3, 6, True), (3, 7, False), (4, 8, True), (4, 9, False)],
)
def test_it_takes_three_calls_and_half_of_all(number: int, calls: int, counts: bool) -> None:
    """Two may fall together by chance, and so may few of many."""
    moments = dict.fromkeys(OFFICES[:number], 40.0)
    assert _together(moments, calls) == (sorted(moments) if counts else [])


def test_groups_at_different_moments_are_all_named() -> None:
    """Who stepped down alone is not among them."""
    early, late = {"a": 20.0, "b": 21.0, "c": 22.0}, {"d": 60.0, "e": 60.5, "f": 61.9}
    assert _together({**early, **late, "g": 90.0}, 6) == [*early, *late]
