"""Time by state: all of the period is counted once; and the availability that follows from it."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jharnet_monitor.judge.outages.availability import DOWN, UP, state_times
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
    """To the microsecond, whatever the spans and wherever they lie."""
    moment, spans = 0, []
    for state, gap, seconds in drawn:
        spans.append(Span(state, at(moment + gap), at(moment + gap + seconds)))
        moment += gap + seconds
    got = state_times(spans, at(begin), at(begin + length))
    assert sum(got.times.values(), timedelta(0)) == got.period == timedelta(seconds=length)
    bounds, ratio = got.bounds, got.availability
    if bounds is not None and ratio is not None:
        assert bounds[0] <= ratio + 1e-12 and ratio <= bounds[1] + 1e-12


def test_overlapping_spans_are_rejected() -> None:
    """Time that is counted twice would make the sum wrong."""
    with pytest.raises(ValueError, match="before the span before it ends"):
        state_times([Span(OfficeState.UP, at(0), at(10)), Span(OfficeState.UP, at(5), at(20))],
                at(0), at(30))  # fmt: skip


def test_availability_with_and_without_power_failures() -> None:
    """99 % with the power failure, 100 % without it; None if nothing is known."""
    spans = [
        Span(OfficeState.UP, at(0), at(990)),
        Span(OfficeState.POWER_DOWN, at(990), at(1000)),
    ]
    got = state_times(spans, at(0), at(1000))
    assert (got.availability, got.availability_without_power) == (0.99, 1.0)
    assert state_times([], at(0), at(10)).availability is None


def test_every_state_is_up_or_down_or_neither() -> None:
    """No state is both, and exactly four are neither."""
    assert not UP & DOWN
    assert set(OfficeState) - UP - DOWN == {
        OfficeState.UNKNOWN, OfficeState.MONITOR_DOWN, OfficeState.PLANNED, OfficeState.UPLINK_DOWN
    }  # fmt: skip


def test_a_year_of_264_offices_is_quick() -> None:
    """Half a million spans in under 15 s (an idle machine takes under 5 s)."""
    random = Random(1)
    year = [random.randint(60, 30_000) for _ in range(2000)]
    names = random.choices(list(OfficeState), k=2000)
    moments = [at(0)]
    for seconds in year:
        moments.append(moments[-1] + timedelta(seconds=seconds))
    spans = [Span(n, a, b) for n, (a, b) in zip(names, pairwise(moments), strict=True)]
    started = time.process_time()
    for _ in range(264):
        state_times(spans, at(0), at(365 * 86400))
    assert time.process_time() - started < 15
