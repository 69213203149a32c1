"""The twin's receiver: freezes by webrtc-stats, requests for packets and key frames, jitter buffer.

What is expected follows from the definitions: a freeze is a gap of at least the larger of three
times the mean of the last 30 gaps and that mean plus 150 ms, the gap itself being one of them.
"""

from __future__ import annotations

import numpy as np
import pytest

from jharnet_monitor.judge.twin.path import Path, Sent
from jharnet_monitor.judge.twin.picture import Picture, SentFrame

ALWAYS = (0.0, 1000.0)
TRANSIT, BACK, TRIP = 0.05, 0.03, 0.08


class _Receiver:
    """A receiver of one or more lanes to which frames are sent one by one."""

    def __init__(self, lanes: int = 1, window: tuple[float, float] = ALWAYS) -> None:
        self.each = np.ones(lanes)
        self.picture = Picture(lanes, window, np.random.default_rng(1))

    def frame(
        self, at: float, late: float = 0.0, lost: int = 0, of: int = 2, key: bool = False,
        height: float = 360.0,
    ) -> None:  # fmt: skip
        """Send a frame, of which `lost` packets do not arrive."""
        count = np.full(len(self.each), 1, np.int64)
        sent = Sent(count * lost, count * (of - lost), (at + TRANSIT + late) * self.each)
        self.picture.sent_frame(SentFrame(
            at * self.each, np.full(len(self.each), key), sent, 1000.0 * self.each,
            height * self.each, BACK * self.each,
        ))  # fmt: skip

    def show(self, now: float, trip: float = TRIP) -> None:
        """Show what is complete."""
        self.picture.show(now * self.each, trip * self.each, BACK * self.each)

    def stream(
        self, frames: int, interval: float, late: dict[int, float] | None = None, begin: float = 0.0
    ) -> None:
        """Frames at an even interval, some of them late, each shown when it is complete."""
        late = late or {}
        for number in range(frames):
            at = begin + number * interval
            self.frame(at, late.get(number, 0.0), key=number == 0)
            self.show(at + TRANSIT + max(interval, late.get(number, 0.0)))


@pytest.mark.parametrize(
    ("interval", "gap", "freezes"),
    [
        (1 / 30, 0.187, False), (1 / 30, 0.190, True),  # mean + 150 ms: 188.5 ms
        (0.1, 0.320, False), (0.1, 0.324, True),  # three times the mean: 322.2 ms
    ],
)  # fmt: skip
def test_a_freeze_is_a_gap_by_the_definition_of_webrtc_stats(
    interval: float, gap: float, freezes: bool
) -> None:
    """The limits follow from 29 even gaps and the one in question."""
    receiver = _Receiver()
    # A frame that is `late` appears that much after its even time, less the buffer of 40 ms.
    receiver.stream(80, interval, {60: gap - interval + 0.04})
    assert receiver.picture.frozen[0] == pytest.approx(gap if freezes else 0.0, abs=1e-6)
    assert receiver.picture.frames[0] == 80


@pytest.mark.parametrize(("gap", "freezes"), [(0.189, False), (0.192, True)])
def test_the_gaps_before_the_first_picture_count_as_those_of_30_a_second(
    gap: float, freezes: bool
) -> None:
    """Of 28 even ones, 90 ms before the first and g: g >= mean + 150 ms from 190.5 ms on."""
    receiver = _Receiver()
    receiver.frame(0.0, key=True)
    receiver.show(0.1)
    receiver.frame(gap)
    receiver.show(gap + 0.2)
    assert receiver.picture.frames[0] == 2
    assert receiver.picture.frozen[0] == pytest.approx(gap if freezes else 0.0, abs=1e-6)


def test_only_what_is_shown_in_the_window_counts() -> None:
    """Frames and bits from 1 s on and before 2 s; the height is that of the last one before 2 s."""
    receiver = _Receiver(window=(1.0, 2.0))
    for number in range(90):
        receiver.frame(number / 30, key=number == 0, height=360.0 if number < 57 else 720.0)
        receiver.show(number / 30 + 0.1)
        receiver.picture.arrived(number / 30 + 0.001, np.full(1, 500.0))
    # Shown 90 ms after capture: frames 28 to 57.
    assert receiver.picture.frames[0] == 30
    assert receiver.picture.bits[0] == 30 * 500
    assert receiver.picture.lines[0] == 720.0
    short = _Receiver(window=(0.0, 57.5 / 30 + 0.09 - 1 / 30))
    for number in range(90):
        short.frame(number / 30, key=number == 0, height=360.0 if number < 57 else 720.0)
        short.show(number / 30 + 0.1)
    assert short.picture.lines[0] == 360.0


@pytest.mark.parametrize(("end", "frozen"), [(2.7, 0.0), (2.85, 0.75), (9.0, 6.9)])
def test_the_gap_at_the_end_counts_from_three_quarters_of_a_second_on(
    end: float, frozen: float
) -> None:
    """The last picture was shown at 2.1 s."""
    receiver = _Receiver(window=(1.0, end))
    receiver.frame(2.01, key=True)
    receiver.show(2.2)
    assert receiver.picture.frames[0] == 1
    before = float(receiver.picture.frozen[0])  # the gap before the first picture
    receiver.picture.close(0.75)
    assert receiver.picture.frozen[0] - before == pytest.approx(frozen, abs=1e-6)
    nothing = _Receiver(window=(1.0, 3.0))
    nothing.picture.close(0.75)
    assert nothing.picture.frozen[0] == 2.0


def _fast_path(lanes: int, loss: float = 0.0) -> Path:
    columns = {
        "rate": 8e6, "queue": 9.0, "bucket": 0.0, "delay": 0.02, "jitter": 0.0, "loss": loss,
        "burst": 1.0, "others": 0.0, "cross": 0.0, "transfer_on": 0.0, "transfer_off": 0.0,
        "gone": 0.0, "every": 0.0,
    }  # fmt: skip
    return Path({name: np.full(lanes, value) for name, value in columns.items()},
                np.random.default_rng(2))  # fmt: skip


def _repeats(
    receiver: _Receiver, path: Path, until: float, allowed: bool = True
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """How many packets each lane repeats in every millisecond."""
    found, each = [], receiver.each
    for number in range(round(until * 1000)):
        now = number / 1000 * each
        count, _, bits = receiver.picture.retransmit(
            now, TRIP * each, path, 4e6 * each, np.full(len(each), allowed)
        )
        assert (bits == count * 8000).all()
        found.append(count)
    return found


def test_a_lost_packet_is_requested_at_once_and_repeats_at_the_pace() -> None:
    """Noticed with the next packet (50 ms), requested over 30 ms; 2 of 1 ms at 4 Mbit/s take 4 ms,
    and 20 ms to arrive: 104 ms."""
    receiver = _Receiver()
    receiver.frame(0.0, lost=2, of=3, key=True)
    counts = _repeats(receiver, _fast_path(1), 0.2)
    assert [number for number, count in enumerate(counts) if count[0]] == [80]
    assert counts[80][0] == 2
    receiver.show(0.1039)
    assert receiver.picture.frames[0] == 0
    receiver.show(0.1041)
    assert receiver.picture.frames[0] == 1


def test_a_frame_that_is_lost_as_a_whole_is_noticed_with_the_next() -> None:
    """A frame (33 ms) later, and both delays of the opposite direction: 93 ms."""
    receiver = _Receiver()
    receiver.frame(0.0, lost=2, of=2)
    counts = _repeats(receiver, _fast_path(1), 0.2)
    assert [number for number, count in enumerate(counts) if count[0]] == [94]
    assert counts[94][0] == 2


def test_a_packet_that_is_lost_again_is_requested_ten_times_at_most() -> None:
    """Once a round trip of 80 ms and up to 20 ms more; half of the requests come too early, and
    take one round trip more."""
    receiver = _Receiver(300)
    receiver.frame(0.0, lost=1, key=True)
    counts = np.array(_repeats(receiver, _fast_path(300, loss=1.0), 3.0)) > 0
    assert counts.sum(axis=0).tolist() == [10] * 300
    waits = np.concatenate([np.diff(np.flatnonzero(lane)) for lane in counts.T])
    early = (waits >= 80) & (waits <= 101)
    twice = (waits >= 160) & (waits <= 181)
    assert (early | twice).all()
    assert twice.mean() == pytest.approx(0.5, abs=0.03)
    assert waits[early].mean() == pytest.approx(90.5, abs=0.8)


def test_what_the_limiter_refuses_stays_missing_and_is_requested_again() -> None:
    """Nothing is sent meanwhile, and the tries do not count."""
    receiver = _Receiver()
    receiver.frame(0.0, lost=1, key=True)
    refused = _repeats(receiver, _fast_path(1), 2.0, allowed=False)
    assert sum(int(count[0]) for count in refused) == 0
    path = _fast_path(1)
    now, each = 2.5, np.ones(1)
    sent = receiver.picture.retransmit(now * each, TRIP * each, path, 4e6 * each, each > 0)
    assert (int(sent[0][0]), int(sent[1][0])) == (1, 0)


@pytest.mark.parametrize(
    ("trip", "late", "waits"),
    [(0.02, 0.0, 0.040), (0.1, 0.0, 0.098), (1.0, 0.0, 0.208), (0.1, 0.5, 0.5)],
)
def test_the_buffer_waits_for_retransmissions_once_some_were_needed(
    trip: float, late: float, waits: float
) -> None:
    """0.9 round trips, at most 200 ms, and 8 ms more; at least 40 ms."""
    receiver = _Receiver()
    receiver.stream(20, 1 / 30)
    receiver.frame(1.0, late, lost=1)
    receiver.picture._missing[:] = 0
    receiver.show(1.0 + TRANSIT + late, trip)
    # The fastest frame may have become slower by 0.2 ms a frame, but none did.
    assert receiver.picture._shown_at[0] == pytest.approx(1.0 + TRANSIT + waits)


def test_the_buffer_grows_with_the_noise_of_the_delay() -> None:
    """Every other frame 100 ms late: the noise tends to half of that, the buffer to 2.33 times."""
    receiver = _Receiver()
    for number in range(600):
        at = number * 0.2
        receiver.frame(at, 0.1 * (number % 2), key=number == 0)
        receiver.show(at + 0.199)
    excess = 0.05  # on average
    delay = 0.012 + 2.33 * excess
    shown = receiver.picture._shown_at[0] - 599 * 0.2 - TRANSIT
    assert shown == pytest.approx(delay, rel=0.05)


def test_after_three_seconds_without_a_picture_a_key_frame_is_requested() -> None:
    """The request travels for 30 ms; what comes before that key frame is not shown."""
    receiver = _Receiver()
    receiver.frame(0.0, key=True)
    receiver.show(0.1)  # shown at 0.09
    receiver.frame(0.2, lost=1)
    receiver.show(3.08)
    assert np.isinf(receiver.picture.keyframe_requested_at[0])
    receiver.show(3.10)
    assert receiver.picture.keyframe_requested_at[0] == pytest.approx(3.13)
    receiver.frame(3.2)
    receiver.show(3.3)
    assert receiver.picture.frames[0] == 1
    receiver.frame(3.4, key=True)
    receiver.show(3.5)  # skips to it
    receiver.show(3.5)
    assert receiver.picture.frames[0] == 2
    receiver.show(6.05)
    assert receiver.picture.keyframe_requested_at[0] == pytest.approx(3.13)


def test_a_request_for_a_key_frame_is_repeated_after_three_seconds() -> None:
    """And nothing is requested while nothing is outstanding."""
    receiver = _Receiver()
    receiver.frame(0.0, key=True)
    receiver.show(0.1)
    receiver.show(50.0)
    assert np.isinf(receiver.picture.keyframe_requested_at[0])
    receiver.frame(50.0, lost=1)
    for now, requested in ((50.1, 50.13), (53.0, 50.13), (53.2, 53.23)):
        receiver.show(now)
        assert receiver.picture.keyframe_requested_at[0] == pytest.approx(requested)


def test_at_most_three_frames_appear_at_one_event() -> None:
    """A backlog of five takes two events."""
    receiver = _Receiver()
    for number in range(5):
        receiver.frame(number / 30, key=number == 0)
    receiver.show(1.0)
    assert receiver.picture.frames[0] == 3
    receiver.show(1.0)
    assert receiver.picture.frames[0] == 5


def test_a_receiver_that_falls_too_far_behind_waits_for_a_key_frame() -> None:
    """128 frames are remembered; when the oldest is overwritten, the picture goes on at a key."""
    receiver = _Receiver()
    receiver.frame(0.0, lost=1, key=True)
    for number in range(1, 127):
        receiver.frame(number / 1000, key=number == 100)
    receiver.show(0.3)
    assert receiver.picture.frames[0] == 0
    receiver.frame(0.128)
    receiver.frame(0.129)
    for _ in range(12):
        receiver.show(0.3)
    assert receiver.picture.frames[0] == 29  # from the key frame, the 101st, to the 129th
