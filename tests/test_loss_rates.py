"""The loss of a line by condition, from calls and packet trains whose losses are known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jharnet_monitor.judge.line.loss import LossRates, PacketCounts, loss_rates
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import Measurement, OfficeState
from tests import made_up

DAY = datetime(2026, 11, 25, tzinfo=UTC)
"""A Wednesday; IST is five and a half hours ahead."""
NOON, EVENING = DAY.replace(hour=6), DAY.replace(hour=16)
DISTRICT = made_up.config().district


def _of(calls: list[Measurement], tests: list[Measurement]) -> LossRates:
    return loss_rates(PacketCounts(), (), DISTRICT, (), calls=calls, tests=tests)


def _call(at: datetime, seconds: float, down: float, up: float) -> Measurement:
    made = made_up.conference("potka", at, 4)
    losses = {"down_audio_loss_ratio": down, "up_audio_loss_ratio": up}
    return replace(made, duration=seconds, values={**made.values, **losses})


def _train(at: datetime, down: tuple[int, int], up: tuple[int, int]) -> Measurement:
    made = made_up.bandwidth("potka", at, 4e6, 4e6)
    counts = {
        f"{way}_train_{what}": number
        for way, numbers in (("download", down), ("upload", up))
        for what, number in zip(("sent", "lost"), numbers, strict=True)
    }
    return replace(made, conditions={**made.conditions, **counts})


def test_a_packet_of_a_round_trip_must_survive_both_ways() -> None:
    """With 10 % lost one way and 20 % the other, 0.9 x 0.8 come back: 28 % are lost."""
    found = _of([_call(NOON, 20.0, 0.1, 0.2)], [_train(NOON, (100, 10), (400, 80))])
    assert found.calls is not None and found.calls.value == pytest.approx(0.28)
    assert found.calls.n == 1000  # of 50 audio packets a second
    assert found.trains is not None and found.trains.value == pytest.approx(0.28)
    assert found.trains.n == 100  # no more round trips than the shorter train allows


def test_long_calls_weigh_more_than_short_ones() -> None:
    """The share of all packets, not the mean of the calls' shares."""
    calls = [_call(NOON, 30.0, 0.04, 0.0), _call(NOON + timedelta(days=1), 10.0, 0.0, 0.0)]
    found = _of(calls, []).calls
    assert found is not None and found.value == pytest.approx(0.03)


def test_a_test_counts_for_the_hours_in_which_it_began() -> None:
    """Calls outside office hours say nothing; trains have a figure of their own for the night."""
    found = _of([_call(EVENING, 20.0, 0.1, 0.1)], [_train(EVENING, (100, 2), (100, 0))])
    assert (found.calls, found.trains) == (None, None)
    assert found.trains_night is not None and found.trains_night.value == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("down", "up"), [((0, 0), (100, 1)), ((100, 101), (100, 1)), ((100, -1), (100, 1))]
)
def test_impossible_counts_are_no_train(down: tuple[int, int], up: tuple[int, int]) -> None:
    """Nothing was sent, or more was lost than sent."""
    assert _of([], [_train(NOON, down, up)]).trains is None


def test_blocks_of_an_outage_are_no_loss() -> None:
    """A block of five minutes counts for the outage as soon as that touches it."""
    packets = PacketCounts()
    starts = [NOON + timedelta(minutes=5 * number) for number in range(4)]
    packets.add([round(at.timestamp() * 1000) for at in starts], [300] * 4, [300, 150, 150, 297])
    outage = Span(OfficeState.LINK_DOWN, starts[1] + timedelta(minutes=4),
                  starts[2] + timedelta(seconds=1))  # fmt: skip
    found = loss_rates(packets, [outage], DISTRICT, [DAY.date()])
    assert found.office is not None and found.office.value == pytest.approx(3 / 600)
    assert (found.office.n, found.night, found.worst_day) == (2, None, 1.0)
