"""Freezes resampled over the outcome of retransmissions."""

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
from jharnet_monitor.rtc.receive.arrivals import (
    FRAME_END,
    FRAME_START,
    KEYFRAME,
    RETRANSMITTED,
    Arrivals,
)
from jharnet_monitor.rtc.stats.call_stats import assemble_frames
from jharnet_monitor.rtc.stats.freeze_resampling import (
    SAMPLES,
    GilbertLoss,
    PathModel,
    mean_freezes,
    resample_retransmissions,
    sample_seeds,
)

FRAMES, PACKETS = 900, 5
ALL = range(FRAMES * PACKETS)


def arrivals(loss: float, round_trip: float, burst: int = 0) -> tuple[Arrivals, dict[int, int]]:
    """Thirty seconds of 720p in which every lost packet was retransmitted at once and arrived.

    Packets are lost independently, or `burst` of them in a row at regular intervals.
    """
    video, generator = Arrivals(90_000), random.Random(5)
    for number in ALL:
        frame, part = divmod(number, PACKETS)
        sent_at = frame / 30 + part * 0.004
        lost = number % round(burst / loss) < burst if burst else generator.random() < loss
        video.sequence.append(number)
        video.timestamp.append(frame * 3000)
        video.at.append(sent_at + round_trip / 2 + (round_trip + 0.004 if lost else 0.0))
        video.size.append(1100)
        flags = (
            FRAME_START * (part == 0)
            | FRAME_END * (part == PACKETS - 1)
            | KEYFRAME * (frame % 30 == 0)
        )
        video.flags.append(flags | RETRANSMITTED * lost)
    return video, {number: number for number in ALL}


def freezes_by_sample(
    video: Arrivals, rows: dict[int, int], round_trip: float, reverse_loss: float
) -> list[Freezes]:
    """The freezes of each sample between second 1 and second 29."""
    path = PathModel(playout_delay(round_trip), round_trip, reverse_loss)
    return [
        detect_freezes(
            render_times(assemble_frames(video, remaining, ALL, at), path.playout_delay), 1.0, 29.0
        )
        for remaining, at in resample_retransmissions(video, rows, ALL, path, 30.0)
    ]


def resampled(
    loss: float, round_trip: float, reverse_loss: float = 0.0, burst: int = 0
) -> list[Freezes]:
    """The freezes of each sample on a link of this loss and round trip."""
    video, rows = arrivals(loss, round_trip, burst)
    return freezes_by_sample(video, rows, round_trip, reverse_loss)


def test_without_loss_there_are_no_samples() -> None:
    """A call without loss is judged by its arrivals alone."""
    assert resampled(0.0, 0.2) == []


def test_expected_freezes_exceed_those_of_a_lucky_call() -> None:
    """4 % loss at 200 ms without a lost retransmission: 4 to 12 % of the time is frozen on average.

    Chromium's picture was frozen for 9 and 11 % on such a link.
    """
    samples = resampled(0.04, 0.2)
    assert len(samples) == SAMPLES
    assert 0.04 * 28 < mean_freezes(samples).seconds < 0.12 * 28


def test_short_round_trips_leave_time_for_a_second_retransmission() -> None:
    """2 % loss at 40 ms: a second retransmission still arrives before the picture freezes."""
    assert mean_freezes(resampled(0.02, 0.04)).seconds < 0.1


def test_lost_requests_add_freezes() -> None:
    """Loss in the reverse direction costs as much as loss in the forward direction."""
    with_reverse_loss = mean_freezes(resampled(0.04, 0.2, reverse_loss=0.04))
    assert with_reverse_loss.seconds > 1.4 * mean_freezes(resampled(0.04, 0.2)).seconds


def test_a_burst_is_retransmitted_as_a_whole() -> None:
    """2.7 % loss in bursts of 12 at 60 ms freezes less than as much scattered loss.

    Chromium's picture was frozen for 0 and 0.8 %; with independent losses of retransmissions, one
    burst in two would freeze it.
    """
    samples = resampled(0.027, 0.06, reverse_loss=0.027, burst=12)
    assert mean_freezes(samples).seconds < 0.02 * 28


def test_gilbert_loss_keeps_ratio_and_burst_length() -> None:
    """A long sample has the loss ratio and the mean burst length of the model."""
    lost = list(GilbertLoss(0.05, 4.0).sample(400_000, random.Random(1)))
    bursts = sum(now and not before for before, now in pairwise(lost))
    assert sum(lost) / len(lost) == pytest.approx(0.05, rel=0.05)
    assert sum(lost) / bursts == pytest.approx(4.0, rel=0.05)


def test_samples_are_reproducible() -> None:
    """The samples have fixed seeds, so that judging the same arrivals again gives the same."""
    assert resampled(0.04, 0.2) == resampled(0.04, 0.2)


@pytest.mark.parametrize(("seconds", "count"), [(10, SAMPLES), (30, SAMPLES), (300, 3)])
def test_a_long_call_needs_fewer_samples(seconds: float, count: int) -> None:
    """A drill of five minutes takes no longer to judge than a call of 30 s."""
    assert len(sample_seeds(seconds)) == count


def test_losses_of_an_interruption_do_not_predict_lost_retransmissions() -> None:
    """After a second without the link at 300 ms, the picture is frozen for that and a round trip.

    Our own retransmissions are limited to a share of the rate and would freeze it again and again.
    """
    video, rows = arrivals(0.0, 0.3)
    interrupted = range(1500, 1650)
    for position, number in enumerate(interrupted):
        video.at[number] = 1650 / PACKETS / 30 + 0.15 + 0.3 * (1 + position // 20)
        video.flags[number] |= RETRANSMITTED
    samples = freezes_by_sample(video, rows, 0.3, reverse_loss=0.1)
    assert {sample.count for sample in samples} == {1}
    assert mean_freezes(samples).seconds == pytest.approx(1.1, abs=0.15)
