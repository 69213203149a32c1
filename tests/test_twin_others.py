"""Steady other traffic on a full line, and the jitter of a line that keeps the order of packets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from jharnet_monitor.judge.twin.delay_variation import half_width, line_jitter
from jharnet_monitor.judge.twin.estimate import line_of
from jharnet_monitor.judge.twin.others import shared_line
from tests.test_twin_line import CLEAR

RATE, OTHERS = 2e6, 0.8e6
SENT = np.array([1.7e6, 1.6e6, 1.5e6, 0.9e6, 0.6e6, 0.3e6])


def _arrived(others: float = OTHERS) -> NDArray[np.float64]:
    """What a queue that serves packets in turn lets through."""
    return np.asarray(RATE * SENT / (SENT + others))


@pytest.mark.parametrize("known", [RATE, None])
def test_others_follow_from_the_share_that_arrives(known: float | None) -> None:
    """With the line's rate from packet pairs, and by the slope over several rates sent."""
    found = shared_line(SENT, _arrived(), known)
    assert found is not None
    assert (found.rate, found.others) == pytest.approx((RATE, OTHERS))
    assert found.spread == pytest.approx(0, abs=1e-9)


def test_one_rate_alone_does_not_show_the_line() -> None:
    """At a single rate, less line and more others look the same."""
    sent = np.full(6, 1.5e6)
    assert shared_line(sent, RATE * sent / (sent + OTHERS), None) is None
    assert shared_line(SENT[:3], _arrived()[:3], RATE) is None  # too few times


def test_no_others_are_not_made_up() -> None:
    """A line that the call fills alone, and the few kbit/s of its own reports."""
    assert shared_line(SENT, np.full(6, RATE), None) is None
    assert shared_line(SENT, _arrived(10e3), None) is None


def test_others_that_come_and_go_are_not_steady() -> None:
    """Half of the time the call gets twice as much."""
    uneven = _arrived() * np.array([1.0, 2.0, 1.0, 2.0, 1.0, 2.0])
    assert shared_line(SENT, uneven, RATE) is None


def test_the_line_holds_what_others_leave() -> None:
    """The model has the full rate and the others."""
    line = line_of(replace(CLEAR, rate=RATE, available=1e6, others=OTHERS), CLEAR, 0.05)
    assert (line.down.rate, line.down.others) == (RATE, OTHERS)
    assert line.up.others == 0


@pytest.mark.parametrize("jitter", [0.005, 0.02, 0.04])
def test_jitter_is_found_though_packets_wait_for_each_other(jitter: float) -> None:
    """Packets 7 ms apart that do not overtake each other show less than the jitter of the line."""
    sent = np.linspace(0.0, 28.0, 4001)
    own = np.random.default_rng(9).uniform(-jitter, jitter, len(sent))
    transit = np.maximum.accumulate(sent + own) - sent
    firsts = sent[::3]
    width = half_width(transit[::3], firsts.astype(int))
    assert width is not None and width < jitter
    assert line_jitter(sent, firsts, width, 0.002) == pytest.approx(jitter, rel=0.1)


def test_a_still_line_keeps_its_width() -> None:
    """A millisecond is what the computers do themselves; few packets show nothing."""
    sent = np.linspace(0.0, 2.0, 101)
    assert line_jitter(sent, sent, 0.001, 0.002) == 0.001
    assert half_width(np.zeros(59), np.zeros(59, int)) is None
