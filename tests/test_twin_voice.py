"""The twin's listener: playout delay, concealment of lost and of late packets."""

from __future__ import annotations

import numpy as np
import pytest

from jharnet_monitor.judge.twin.voice import Voice
from tests.twin_reference import Listener

ALWAYS = (-100.0, 1e6)


def _played(arrivals: list[float | None], window: tuple[float, float] = ALWAYS) -> Voice:
    """One packet every 20 ms; each takes the given time, or is lost."""
    voice = Voice(1, window)
    for number, takes in enumerate(arrivals):
        left = number * 0.02
        arrival = left + (0.0 if takes is None else takes)
        voice.sent(np.full(1, left), np.full(1, arrival), np.full(1, takes is not None))
    return voice


def test_a_lost_packet_is_concealed_all_but_what_stretching_covers() -> None:
    """72 % of the first packet of a gap, all of the next ones."""
    even: list[float | None] = [0.05] * 100
    assert _played(even).concealed[0] == 0.0
    for gap, concealed in ((1, 0.0144), (2, 0.0344), (5, 0.0944)):
        lost = even + [None] * gap + even
        assert _played(lost).concealed[0] == pytest.approx(concealed)
    assert _played([*even, None, *even, None, *even]).concealed[0] == pytest.approx(2 * 0.0144)


def test_a_late_packet_is_concealed_for_as_long_as_it_is_too_late() -> None:
    """The buffer holds 40 ms: 100 ms late is 60 ms too late, and the buffer then holds 100."""
    even: list[float | None] = [0.05] * 100
    assert _played([*even, 0.15, *even]).concealed[0] == pytest.approx(0.06, abs=0.0002)
    assert _played([*even, 0.15, 0.15, *even]).concealed[0] == pytest.approx(0.0624, abs=0.0003)
    assert _played([*even, 0.085, *even]).concealed[0] == 0.0


def test_only_the_window_counts() -> None:
    """From 1 s on and before 3 s: 100 packets, and what is lost within."""
    arrivals: list[float | None] = [0.05] * 250
    for number in (20, 100, 200):
        arrivals[number] = None
    voice = _played(arrivals, (1.0, 3.0))
    assert voice.total == pytest.approx(2.0)
    assert voice.concealed[0] == pytest.approx(0.0144)


def test_a_line_that_carries_nothing_is_concealed_all_the_time() -> None:
    """Of the 100 packets of two seconds, those whose turn (40 ms later) is from 1 s on."""
    voice = _played([None] * 100, (1.0, 9.0))
    assert voice.total == pytest.approx(1.02)  # from the 49th to the 99th; the last is not played
    assert voice.concealed[0] == pytest.approx(1.02)


def test_every_lane_hears_what_a_single_listener_hears() -> None:
    """Jitter from none to 0.4 s, spikes of up to 3 s, and loss in bursts."""
    rng, lanes = np.random.default_rng(8), 10
    voice, references = Voice(lanes, ALWAYS), [Listener() for _ in range(lanes)]
    jitter, lost = np.array([0.0, *np.geomspace(0.002, 0.4, lanes - 1)]), np.zeros(lanes, bool)
    arrived = np.zeros(lanes)
    for number in range(1500):
        left = number * 0.02
        lost = rng.random(lanes) < np.where(lost, 0.6, 0.03)
        lost |= number < 2  # nothing is known of the line yet
        spike = np.where(rng.random(lanes) < 0.005, 3 * rng.random(lanes), 0.0)
        arrived = np.maximum(arrived, left + 0.05 + jitter * rng.random(lanes) + spike)
        voice.sent(np.full(lanes, left), arrived, ~lost)
        for lane, reference in enumerate(references):
            reference.add(left, None if lost[lane] else float(arrived[lane]))
        expected = [reference.concealed for reference in references]
        assert voice.concealed == pytest.approx(expected, rel=1e-9, abs=1e-12), number
    delays = [reference.delay for reference in references]
    assert min(delays) < 0.1 and max(delays) > 0.3
