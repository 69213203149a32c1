"""Freezes as they are to be expected: what luck with repeats does not change."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from jharnet_monitor.judge.conference.video import (
    Freezes,
    detect_freezes,
    playout_delay,
    render_times,
)
from jharnet_monitor.rtc.receive.arrivals import ENDS, KEY, REPEATED, STARTS, Arrivals
from jharnet_monitor.rtc.stats.call_stats import frames_of
from jharnet_monitor.rtc.stats.freeze_resampling import DRAWS, Losses, Path, draws, mean, redrawn

FRAMES, PACKETS = 900, 5
ALL = range(FRAMES * PACKETS)


def arrivals(loss: float, round_trip: float, burst: int = 0) -> tuple[Arrivals, dict[int, int]]:
    """Thirty seconds of 720p in which every lost packet was repeated at once, by good luck.

    Packets are lost one by one, or `burst` of them in a row at even intervals.
    """
    video, chance = Arrivals(90_000), random.Random(5)
    for number in ALL:
        frame, part = divmod(number, PACKETS)
        sent = frame / 30 + part * 0.004
        lost = number % round(burst / loss) < burst if burst else chance.random() < loss
        video.sequence.append(number)
        video.timestamp.append(frame * 3000)
        video.at.append(sent + round_trip / 2 + (round_trip + 0.004 if lost else 0.0))
        video.size.append(1100)
        flags = STARTS * (part == 0) | ENDS * (part == PACKETS - 1) | KEY * (frame % 30 == 0)
        video.flags.append(flags | REPEATED * lost)
    return video, {number: number for number in ALL}


def frozen(loss: float, round_trip: float, back: float = 0.0, burst: int = 0) -> list[Freezes]:
    """By draw."""
    video, slots = arrivals(loss, round_trip, burst)
    path = Path(playout_delay(round_trip), round_trip, back)
    return [
        detect_freezes(render_times(frames_of(video, left, ALL, at), path.delay), 1.0, 29.0)
        for left, at in redrawn(video, slots, ALL, path, 30.0)
    ]


def test_nothing_is_drawn_where_nothing_was_lost() -> None:
    """A clean call is judged by what arrived, and by nothing else."""
    assert frozen(0.0, 0.2) == []


def test_good_luck_is_not_taken_for_a_good_line() -> None:
    """4 % at 200 ms: no repeat was lost, yet on average a picture stands still for 4 to 12 %.

    Chromium showed 9 and 11 % on such a line.
    """
    found = frozen(0.04, 0.2)
    assert len(found) == DRAWS
    assert 0.04 * 28 < mean(found).seconds < 0.12 * 28


def test_on_a_short_line_repeats_come_in_time_anyway() -> None:
    """2 % at 40 ms: a second repeat still comes before the picture stands."""
    assert mean(frozen(0.02, 0.04)).seconds < 0.1


def test_requests_can_be_lost_too() -> None:
    """Loss on the way back costs as much as on the way here."""
    assert mean(frozen(0.04, 0.2, back=0.04)).seconds > 1.4 * mean(frozen(0.04, 0.2)).seconds


def test_a_burst_is_repeated_as_one() -> None:
    """2.7 % in bursts of 12 at 60 ms: as many losses as scattered ones, and fewer freezes.

    Chromium's picture stood still for 0 and 0.8 %; were each repeat lost by itself, it would
    stand still for one burst in two.
    """
    assert mean(frozen(0.027, 0.06, back=0.027, burst=12)).seconds < 0.02 * 28


def test_bursts_are_as_long_as_they_were_and_no_more_is_lost() -> None:
    """The model keeps the share and the mean length that were counted."""
    lost = list(Losses(0.05, 4.0).drawn(400_000, random.Random(1)))
    begun = sum(here and not before for before, here in pairwise(lost))
    assert sum(lost) / len(lost) == pytest.approx(0.05, rel=0.05)
    assert sum(lost) / begun == pytest.approx(4.0, rel=0.05)


def test_a_call_is_always_judged_alike() -> None:
    """The draws are numbered, so that whoever judges the arrivals again finds the same."""
    assert frozen(0.04, 0.2) == frozen(0.04, 0.2)


@pytest.mark.parametrize(("seconds", "count"), [(10, DRAWS), (30, DRAWS), (300, 3)])
def test_a_long_call_needs_fewer_draws(seconds: float, count: int) -> None:
    """So that a drill is counted up in no more time than a call."""
    assert len(draws(seconds)) == count


def test_what_an_interruption_took_is_no_loss_of_repeats() -> None:
    """A second without the line at 300 ms: the picture stands for that and a round trip.

    Our repeats took turns within their share of the line, so that it stood again and again.
    """
    video, slots = arrivals(0.0, 0.3)
    gone = range(1500, 1650)
    for turn, number in enumerate(gone):
        video.at[number] = 1650 / PACKETS / 30 + 0.15 + 0.3 * (1 + turn // 20)
        video.flags[number] |= REPEATED
    path = Path(playout_delay(0.3), 0.3, 0.1)
    found = [
        detect_freezes(render_times(frames_of(video, left, ALL, at), path.delay), 1.0, 29.0)
        for left, at in redrawn(video, slots, ALL, path, 30.0)
    ]
    assert {each.count for each in found} == {1}
    assert mean(found).seconds == pytest.approx(1.1, abs=0.15)
