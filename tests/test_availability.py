"""The account of an office's time: all of it, once, and what it says of the line."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jharnet_monitor.judge.outages.availability import DOWN, UP, account
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState
from tests.office_simulator import at

SPANS = st.lists(
    st.tuples(st.sampled_from(list(OfficeState)), st.integers(0, 5000), st.integers(1, 900)),
    max_size=30,
)


@settings(deadline=None)  # others use this machine, too
@given(SPANS, st.integers(-100, 3000), st.integers(1, 20_000))
def test_all_states_sum_to_the_period(
    drawn: list[tuple[OfficeState, int, int]], begin: int, length: int
) -> None:
    """Whatever the spans and however they lie to the period: to the microsecond."""
    moment, spans = 0, []
    for state, gap, seconds in drawn:
        spans.append(Span(state, at(moment + gap), at(moment + gap + seconds)))
        moment += gap + seconds
    got = account(spans, at(begin), at(begin + length))
    assert sum(got.times.values(), timedelta(0)) == got.period == timedelta(seconds=length)
    bounds, ratio = got.bounds, got.availability
    if bounds is not None and ratio is not None:
        assert bounds[0] <= ratio + 1e-12 and ratio <= bounds[1] + 1e-12


def test_overlapping_spans_are_refused() -> None:
    """Counted twice, a time would make a wrong sum."""
    with pytest.raises(ValueError, match="before the span before it ends"):
        account([Span(OfficeState.UP, at(0), at(10)), Span(OfficeState.UP, at(5), at(20))],
                at(0), at(30))  # fmt: skip


def test_availability_is_told_with_and_without_power() -> None:
    """99 % with the power cuts and all of the time by the line; nothing known is neither."""
    spans = [
        Span(OfficeState.UP, at(0), at(990)),
        Span(OfficeState.POWER_DOWN, at(990), at(1000)),
    ]
    got = account(spans, at(0), at(1000))
    assert (got.availability, got.availability_without_power) == (0.99, 1.0)
    assert account([], at(0), at(10)).availability is None


def test_every_state_is_up_or_down_or_aside() -> None:
    """No state is in two, and those that are in neither are the ones the method names."""
    assert not UP & DOWN
    assert set(OfficeState) - UP - DOWN == {
        OfficeState.UNKNOWN, OfficeState.MONITOR_DOWN, OfficeState.PLANNED, OfficeState.UPLINK_DOWN
    }  # fmt: skip


def test_a_year_of_264_offices_is_quick() -> None:
    """Half a million spans in under 5 s (the mark holds on an idle machine; here thrice that)."""
    random = Random(1)
    year = [random.randint(60, 30_000) for _ in range(2000)]
    names = random.choices(list(OfficeState), k=2000)
    moments = [at(0)]
    for seconds in year:
        moments.append(moments[-1] + timedelta(seconds=seconds))
    spans = [Span(n, a, b) for n, (a, b) in zip(names, pairwise(moments), strict=True)]
    begun = time.process_time()
    for _ in range(264):
        account(spans, at(0), at(365 * 86400))
    assert time.process_time() - begun < 15
