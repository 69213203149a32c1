"""The twin's congestion control, its policer with other traffic, and its own error."""

from __future__ import annotations

import numpy as np
import pytest

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.call import ReceivedQuality, Run
from jharnet_monitor.judge.twin.clients import BUILT_IN, REFERENCE
from jharnet_monitor.judge.twin.control import START_RATE, DelayRate, DelaySlope, LossRate
from jharnet_monitor.judge.twin.model_error import FITTED, NO_ERROR, grades
from jharnet_monitor.judge.twin.path import Path

STEP = 0.05
ONE = np.ones(1)
YES, NO = np.ones(1, bool), np.zeros(1, bool)


def _feedbacks(
    control: LossRate, start: float, seconds: float, rate: float, loss: float, by_delay: float
) -> float:
    """Send at a rate through a loss; returns the time afterwards."""
    for number in range(round(seconds / STEP)):
        bits = rate * STEP * ONE
        now = start + (number + 1) * STEP
        control.update(now, bits, bits * (1 - loss), by_delay * ONE, rate * (1 - loss) * ONE)
    return start + seconds


def test_loss_lowers_the_rate_to_what_arrives_and_holds_it() -> None:
    """30 % of 1 Mbit/s lost: never below the 0.7 that arrive, and not back at once."""
    control = LossRate(1)
    now = _feedbacks(control, 0.0, 5.0, 1e6, 0.0, 1e6)
    assert control.rate[0] == pytest.approx(1e6)
    now = _feedbacks(control, now, 3.0, 1e6, 0.3, 1e6)
    low = float(control.rate[0])
    assert 0.69e6 <= low < 0.9e6
    now = _feedbacks(control, now, 0.5, low, 0.0, 1e6)
    assert control.rate[0] <= 1.21 * low
    _feedbacks(control, now, 60.0, 1e6, 0.0, 1e6)
    assert control.rate[0] == pytest.approx(1e6)


@pytest.mark.parametrize(("seconds", "reduced"), [(0.1, False), (0.3, True)])
def test_only_overuse_that_outlasts_a_round_trip_lowers_the_rate(
    seconds: float, reduced: bool
) -> None:
    """At a round trip of 200 ms, 100 ms of overuse are taken for jitter."""
    control = DelayRate(1)
    acked, trip = START_RATE * ONE, 0.2 * ONE
    for number in range(20):
        control.update(number * STEP, NO, NO, acked, trip, STEP)
    before = float(control.rate[0])
    for number in range(round(seconds / STEP)):
        control.update(1.0 + number * STEP, YES, NO, acked, trip, STEP)
    assert bool(control.rate[0] < before) is reduced


def test_the_loss_based_rate_may_always_return_to_five_kilobits() -> None:
    """A line that carried almost nothing keeps room to rise: 1.3 times the best rate, at least the
    estimator's least rate."""
    control = LossRate(2)
    control._best = np.array([1e3, 1e6])
    control._bound(1.0, np.array([1e3, 1e6]), 2e6 * np.ones(2), np.zeros(2))
    assert control._window_limit.tolist() == [5e3, 1.3e6]


def test_small_packets_pass_a_policer_that_a_transfer_fills() -> None:
    """A transfer leaves a small packet its tokens nearly always, and most of the larger ones."""
    runs = 40
    columns = {
        "rate": 1e6, "queue": 0.2, "bucket": 0.1, "delay": 0.02, "jitter": 0.0, "loss": 0.0,
        "burst": 1.0, "others": 0.0, "cross": 0.0, "transfer_on": 10.0, "transfer_off": 0.0,
        "gone": 0.0, "every": 0.0,
    }  # fmt: skip
    path = Path({name: np.full(runs, value) for name, value in columns.items()},
                np.random.default_rng(1))  # fmt: skip
    passed = {80.0: 0, 1200.0: 0}
    for number in range(400):
        for size, offset in ((80.0, 0.0), (1200.0, 0.01)):
            now = np.full(runs, number * 0.02 + offset)
            sent = path.send(now, np.ones(runs, np.int64), np.full(runs, size))
            if number >= 200:
                passed[size] += int(sent.arrived.sum())
    sent_each = 200 * runs
    assert passed[80.0] > 0.95 * sent_each
    assert 0.5 * sent_each < passed[1200.0] < passed[80.0]


def _runs(frozen: float, height: float = 720.0) -> list[Run]:
    way = ReceivedQuality(concealed=0.0, frozen=frozen, frames=30.0, height=height, rate=1.5e6)
    return [Run(way, way)] * 8


def test_the_models_error_makes_a_close_call_uncertain() -> None:
    """4 % of frozen time is close to the limit of 5 %; none at all is far from it."""
    criteria = Criteria()
    sure = grades(_runs(0.04), REFERENCE, criteria, NO_ERROR)
    assert sure.tolist() == [0, 0, 0, 0, 1]
    close, far = (grades(_runs(frozen), REFERENCE, criteria, FITTED) for frozen in (0.04, 0.0))
    assert 0.1 < close[1] < 0.9 and close.sum() == pytest.approx(1.0)
    assert far[4] > 0.8 and far[4] > close[4]


def test_a_call_of_sound_alone_has_no_picture_to_err_about() -> None:
    """Its best grade is 1, whatever the noise on the height."""
    audio = next(client for client in BUILT_IN if client.name == "audio")
    assert grades(_runs(0.0, 0.0), audio, Criteria()).tolist()[2:] == [0, 0, 0]


def test_overuse_is_noticed_although_packets_arrive_in_groups() -> None:
    """A queue that grows by 80 ms a second: packets that join a group do not reset the count."""
    slope, noticed = DelaySlope(1), False
    for number in range(120):
        sent = number / 30
        arrived = sent + 0.02 + 0.08 * sent
        slope.add(sent * ONE, arrived * ONE, YES)
        slope.add((sent + 0.01) * ONE, (arrived + 0.001) * ONE, YES)  # behind it in the queue
        noticed |= bool(slope.overused[0])
    assert noticed


def test_what_arrives_beyond_what_was_sent_is_no_negative_loss() -> None:
    """A report may count packets of the interval before."""
    control = LossRate(1)
    for number in range(1, 8):
        bits, got = np.full(1, 1000.0), np.full(1, 1000.0 if number < 3 else 1500.0)
        control.update(0.05 * number, bits, got, np.full(1, 1e6), np.full(1, 1e6))
    assert control._lost[0, 0] == 0.0
    assert control._sent[0, 0] == pytest.approx(5 * 1000 / 8000)
