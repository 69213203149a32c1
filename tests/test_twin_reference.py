"""The twin's congestion control, lane by lane, against the algorithm for one sender."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from jharnet_monitor.judge.twin.control import DelayRate, DelaySlope, LossRate, Report
from tests.twin_reference import Aimd, LossBased, Trendline

LANES = 12


def test_every_lane_detects_overuse_as_the_algorithm_for_one_sender() -> None:
    """Queues that fill and drain at random, small and large jitter, bursts that arrive together."""
    rng = np.random.default_rng(5)
    slope, references = DelaySlope(LANES), [Trendline() for _ in range(LANES)]
    queue, sent, last = np.zeros(LANES), np.zeros(LANES), np.zeros(LANES)
    noise = np.geomspace(1e-5, 0.02, LANES)
    seen = set()
    for number in range(1500):
        step = rng.choice([0.004, 0.013, 0.033, 0.2], LANES, p=[0.4, 0.3, 0.29, 0.01])
        sent = sent + step
        drift = np.sin(number / 60 + np.arange(LANES)) * np.linspace(0.01, 0.4, LANES)
        queue = np.clip(queue + drift * step, 0, 2)
        arrived = np.maximum(last, sent + 0.02 + queue + noise * rng.random(LANES))
        active = rng.random(LANES) < 0.95
        last = np.where(active, arrived, last)
        slope.add(sent, arrived, active)
        for lane in np.flatnonzero(active):
            references[lane].add(float(sent[lane]), float(arrived[lane]))
        states = [reference.state for reference in references]
        seen |= set(states)
        assert slope.overused.tolist() == [state == "overusing" for state in states], number
        assert slope.underused.tolist() == [state == "underusing" for state in states], number
    assert seen == {"overusing", "normal", "underusing"}
    assert {reference.threshold > 12.5 for reference in references} == {True, False}


@pytest.mark.parametrize("seconds", [0.05, 0.1])
def test_every_lane_adapts_its_rate_as_the_algorithm_for_one_sender(seconds: float) -> None:
    """Random verdicts, capacities that come and go, and round trips from 2 ms to 1 s."""
    rng = np.random.default_rng(6)
    control, references = DelayRate(LANES), [Aimd() for _ in range(LANES)]
    line = np.geomspace(20e3, 8e6, LANES)
    trip = np.geomspace(0.002, 1.0, LANES)
    usage = rng.integers(0, 3, LANES)
    capacities = 0
    for number in range(1, 1500):
        now = number * seconds
        usage = np.where(rng.random(LANES) < 0.25, rng.choice(3, LANES, p=[0.7, 0.2, 0.1]), usage)
        if number % 200 == 0:
            line = line * rng.choice([0.4, 0.9, 1.1, 2.0], LANES)
        got = np.minimum(control.rate, line) * rng.uniform(0.93, 1.0, LANES)
        got = np.where(rng.random(LANES) < 0.02, 0.3 * got, got)
        got = np.where(rng.random(LANES) < 0.02, 1.4 * control.rate, got)
        trips = trip * rng.uniform(0.8, 1.2, LANES)
        control.update(now, usage == 1, usage == 2, got, trips, seconds)
        for lane, reference in enumerate(references):
            name = ("normal", "overusing", "underusing")[usage[lane]]
            reference.update(now, name, float(got[lane]), float(trips[lane]), seconds)
            capacities += reference.capacity is not None
        expected = [reference.rate for reference in references]
        assert control.rate == pytest.approx(expected, rel=1e-9), number
    assert 0 < capacities < 1499 * LANES


def test_every_lane_weighs_its_loss_as_the_algorithm_for_one_sender() -> None:
    """Random loss, bottlenecks without a queue, calm times, bursts and idle times in turn."""
    rng = np.random.default_rng(7)
    control, references = LossRate(LANES), [LossBased() for _ in range(LANES)]
    line, loss = np.geomspace(60e3, 9e6, LANES), np.zeros(LANES)
    offered, by_delay = np.ones(LANES), np.geomspace(200e3, 6e6, LANES)
    states: Counter[str] = Counter()

    def drawn(values: tuple[float, ...], weights: list[float]) -> NDArray[np.float64]:
        return np.array(values)[rng.choice(len(values), LANES, p=weights)]

    for number in range(1, 3000):
        now = number * 0.05
        if number % 80 == 0:
            loss = drawn((0.0, 0.01, 0.04, 0.12, 0.3), [0.4, 0.2, 0.1, 0.2, 0.1])
            offered = drawn((1.0, 0.5, 0.1, 3.0), [0.7, 0.1, 0.1, 0.1])
            by_delay = by_delay * rng.choice([0.7, 1.0, 1.4], LANES)
            by_delay = np.clip(by_delay, 30e3, 6e6)
        rate = np.where(number < 2, by_delay, control.rate) * offered
        bits = 0.05 * rate * rng.uniform(0.7, 1.3, LANES)
        got = np.minimum(bits, 0.05 * line) * (1 - loss * rng.uniform(0, 2, LANES))
        acked = got / 0.05
        control.update(now, bits, got, by_delay, acked)
        for lane, reference in enumerate(references):
            values = (bits[lane], got[lane], by_delay[lane], acked[lane])
            reference.update(now, *(float(value) for value in values))
            states[reference.state] += 1
        expected = [reference.rate for reference in references]
        assert control.rate == pytest.approx(expected, rel=1e-6), number
    assert min(states["up"], states["down"], states["delay"]) > 500


def _report(bits: float, acked: float, took: float, over: bool = False) -> Report:
    flags = np.full(1, over)
    return Report(flags, np.zeros(1, bool), *(np.full(1, each) for each in (bits, acked, took)))
