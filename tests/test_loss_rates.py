"""The loss of a line by condition, from calls and packet trains whose losses are known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jharnet_monitor.judge.line.loss import LossRates, PacketCounts, loss_rates, utilisation
from jharnet_monitor.judge.line.traffic import TrafficReadings
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


def test_an_office_that_is_switched_off_by_habit_loses_nothing() -> None:
    """The minute in which its router is switched off is half lost, as is the one in which it is
    switched on. In between its line may be tested all the same: only the PC may be off.
    """
    edges = EVENING + timedelta(minutes=7), EVENING + timedelta(minutes=28)
    packets = _blocks(*((EVENING + 5 * timedelta(minutes=number), 300, 299) for number in range(8)))
    for edge in edges:
        packets.add([_ms(edge)], [60], [30])
    night = Span(OfficeState.UNKNOWN, *edges)
    found = loss_rates(packets, [night], DISTRICT, [DAY.date()]).night
    assert found is not None and found.value == pytest.approx(1 / 300)
    assert found.n == 6


def test_blocks_of_planned_work_are_no_loss() -> None:
    """What an operator's announced work loses is not held against the line."""
    work = Span(OfficeState.PLANNED, EVENING + timedelta(minutes=4), EVENING + 2 * BLOCK)
    packets = _blocks(
        (EVENING, 300, 150), (EVENING + BLOCK, 300, 10), (EVENING + 2 * BLOCK, 300, 297)
    )
    found = loss_rates(packets, [work], DISTRICT, [DAY.date()]).night
    assert found is not None and found.value == pytest.approx(0.01)


BLOCK = timedelta(minutes=5)


def _blocks(*blocks: tuple[datetime, int, int]) -> PacketCounts:
    """Blocks of five minutes: their start, packets sent and received."""
    packets = PacketCounts()
    for at, sent, received in blocks:
        packets.add([_ms(at)], [sent], [received])
    return packets


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


OPENS = DAY.replace(hour=4, minute=30)
"""10:00 IST; the office closes at 17:30."""


def test_a_block_lies_in_office_hours_as_a_whole_or_counts_for_the_night() -> None:
    """The first and the last of the day, and those that touch them from outside."""
    blocks = [(OPENS - BLOCK, 100, 99), (OPENS, 100, 98), (OPENS + 89 * BLOCK, 100, 96),
              (OPENS + 90 * BLOCK, 100, 92)]  # fmt: skip
    found = loss_rates(_blocks(*blocks), (), DISTRICT, [DAY.date()])
    assert found.office is not None and found.night is not None
    assert (found.office.value, found.office.n) == (0.03, 2)
    assert (found.night.value, found.night.n) == (0.045, 2)
    assert found.worst_day == 1.0


def test_the_worst_day_has_its_share_of_all_lost_packets() -> None:
    """Nothing lost is no day's; a block in which nothing was sent is none."""
    whole = [(NOON + timedelta(days=day), 100, 100) for day in range(3)]
    days = [(DAY + timedelta(days=day)).date() for day in range(3)]
    assert loss_rates(_blocks(*whole), (), DISTRICT, days).worst_day == 0.0
    lossy = [(at, 100, 100 - n) for n, (at, _, _) in enumerate(whole)] + [(NOON + BLOCK, 0, 0)]
    found = loss_rates(_blocks(*lossy), (), DISTRICT, days)
    assert found.worst_day == pytest.approx(2 / 3)
    assert found.office is not None and (found.office.value, found.office.n) == (0.01, 3)
    for packets, given in ((_blocks(*lossy), []), (PacketCounts(), days)):
        assert loss_rates(packets, (), DISTRICT, given) == LossRates()


def _used(*readings: tuple[datetime, float, float]) -> TrafficReadings:
    """Readings: their end, length in seconds, and rate towards the office; half of it from it."""
    traffic = TrafficReadings()
    for end, seconds, rate in readings:
        traffic.add([_ms(end)], [seconds], [rate], [rate / 2])
    return traffic


def test_utilisation_is_that_of_the_fuller_direction() -> None:
    """From the start of each reading on, in order; none of more than ten minutes."""
    traffic = _used((NOON + BLOCK, 300, 2e6), (NOON, 300, 1e6), (NOON, 600, 1e6), (NOON, 601, 1e6))
    found = utilisation(traffic, (4e6, 1e6))
    assert found is not None
    begins, shares = found
    assert begins.tolist() == [_ms(NOON) - 600_000, _ms(NOON) - 300_000, _ms(NOON)]
    assert shares.tolist() == [0.5, 0.5, 1.0]
    again = utilisation(traffic, (2e6, 2e6))
    assert again is not None and again[1].tolist() == [0.5, 0.5, 1.0]
    for rates in ((None, 1e6), (1e6, None)):
        assert utilisation(traffic, rates) is None
    assert utilisation(TrafficReadings(), (1e6, 1e6)) is None


@pytest.mark.parametrize(
    ("share", "idle", "busy"),
    [(0.0, True, False), (0.499, True, False), (0.5, False, False), (0.799, False, False),
     (0.8, False, True), (1.0, False, True)],
)  # fmt: skip
def test_a_line_is_idle_below_a_half_and_busy_from_four_fifths_on(
    share: float, idle: bool, busy: bool
) -> None:
    """By day its loss counts for the condition, by night a busy block is left out."""
    night = DAY.replace(hour=18)
    blocks = _blocks((NOON, 100, 90), (night, 100, 80))
    used = utilisation(_used(*((at + BLOCK, 300, share * 4e6) for at in (NOON, night))), (4e6, 4e6))
    found = loss_rates(blocks, (), DISTRICT, [DAY.date()], used)
    assert found.office is not None and found.office.value == pytest.approx(0.1)
    assert (found.idle is not None, found.busy is not None) == (idle, busy)
    assert (found.night is None) is busy


@pytest.mark.parametrize(("minutes", "known"), [(-2.5, True), (-7.49, True), (-7.5, False),
                                                (2.4, True), (2.6, False)])  # fmt: skip
def test_the_reading_around_the_middle_of_a_block_counts(minutes: float, known: bool) -> None:
    """One that began before the middle, and less than ten minutes before it."""
    used = utilisation(_used((NOON + timedelta(minutes=minutes) + BLOCK, 300, 0.0)), (4e6, 4e6))
    found = loss_rates(_blocks((NOON, 100, 90)), (), DISTRICT, [DAY.date()], used)
    assert (found.idle is not None) is known and found.busy is None


def test_an_outage_inside_another_ends_with_the_longer() -> None:
    """A long outage of the uplink goes on after a short one of the line."""
    spans = [Span(OfficeState.UPLINK_DOWN, NOON, NOON + 6 * BLOCK),
             Span(OfficeState.LINK_DOWN, NOON + 2 * BLOCK, NOON + 3 * BLOCK)]  # fmt: skip
    blocks = _blocks(*((NOON + n * BLOCK, 100, 50 if 0 <= n < 6 else 99) for n in range(-1, 8)))
    found = loss_rates(blocks, spans, DISTRICT, [DAY.date()])
    assert found.office is not None and (found.office.value, found.office.n) == (0.01, 3)
