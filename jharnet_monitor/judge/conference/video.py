"""What a viewer would have seen: when frames were rendered, freezes, and a video MOS. Pure.

A real client delays frames a little (playout delay), renders them in order, and waits for the
retransmission of lost packets. Freezes are counted as in W3C webrtc-stats (`freezeCount`,
`totalFreezesDuration`) and in Chromium.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

FREEZE_INCREASE = 0.150
FREEZE_FACTOR = 3.0
FREEZE_WINDOW = 30
"""Number of intervals over which the mean is taken."""
LATE_PICTURE = 1.0
"""Seconds without the first picture from which on the wait counts as a freeze."""
_MIN_INTERVALS = 5
_PAUSE = 5.0
"""Seconds from which webrtc-stats calls a gap a pause."""
_BASE_WINDOW = 3.0
"""Seconds over which the shortest transit time is kept: a client adapts when the path changes."""
_GIVE_UP = 3.0
"""Seconds after which a client stops waiting for a frame."""
_OWN_QUEUE = 0.015
"""Seconds by which a client that fills the line delays its own retransmissions (fitted to
Chromium, see `chromium_model`)."""


def playout_delay(round_trip: float, full: bool = False) -> float:
    """Seconds for which a client delays frames so that one retransmission arrives in time.

    A model: 0.9 of `round_trip` (seconds) up to 200 ms, plus a little for jitter. Chromium's mean
    buffer was 39, 140 and 209 ms at round trips of 40, 150 and 300 ms. On a line that the client
    itself fills (`full`) its own queue takes up part of the delay.

    >>> [round(playout_delay(ms / 1000), 3) for ms in (10, 40, 150, 300, 600)]
    [0.04, 0.044, 0.143, 0.208, 0.208]
    """
    delay = max(0.04, min(0.2, 0.9 * round_trip) + 0.008)
    return delay - _OWN_QUEUE if full else delay


@dataclass(frozen=True, slots=True)
class Frame:
    """One sent frame: when it was captured, and when its last packet arrived.

    `captured` is in seconds of the sender's clock, `complete` in seconds of the receiver's, and
    None if a packet of the frame never arrived.
    """

    captured: float
    complete: float | None
    key: bool = False


def render_times(frames: Sequence[Frame], delay: float) -> list[float]:
    """When each frame was rendered, ascending, in seconds of the receiver's clock.

    A frame is decoded from the one before it, so a late retransmission delays all later frames.
    After a frame that never completed, or later than `_GIVE_UP`, nothing is rendered until the next
    complete keyframe. `delay` is the playout delay in seconds.
    """
    times: list[float] = []
    transits: deque[tuple[float, float]] = deque()
    ready = -math.inf
    broken = True
    for frame in frames:
        if frame.complete is None:
            broken = True
            continue
        transit = frame.complete - frame.captured
        while transits and transits[-1][1] >= transit:
            transits.pop()
        transits.append((frame.captured, transit))
        while transits[0][0] < frame.captured - _BASE_WINDOW:
            transits.popleft()
        base = transits[0][1]
        if transit - base > _GIVE_UP:
            broken = True
        elif frame.key and broken:
            broken, ready = False, frame.complete
        if not broken:
            ready = max(ready, frame.complete)
            times.append(max(ready, frame.captured + base + delay, times[-1] if times else 0.0))
    return times


@dataclass(frozen=True, slots=True)
class Freezes:
    """Number of freezes within a window, and their total length in seconds."""

    count: int
    seconds: float


def detect_freezes(times: Sequence[float], start: float, end: float) -> Freezes:
    """Freezes within [start, end], including the gap that is still open at the end.

    `times` are the moments of rendering. An interval between two rendered frames is a freeze if it
    is at least max(3·mean, mean + 150 ms), the mean being over the last 30 intervals including this
    one (W3C webrtc-stats, `freezeCount`). Gaps of more than 5 s, which webrtc-stats counts as
    pauses, count as freezes here, however few pictures came; so does a first picture that comes
    later than `LATE_PICTURE`.

    >>> detect_freezes([0.033 * i for i in range(60)] + [3.0], 0.0, 3.0)
    Freezes(count=1, seconds=1.053)
    """
    recent: deque[float] = deque(maxlen=FREEZE_WINDOW)
    count = 0
    frozen = 0.0
    for index in range(1, len(times) + 1):
        if index == len(times) and end <= times[-1]:
            break
        here = times[index] if index < len(times) else end
        gap = here - times[index - 1]
        recent.append(gap)
        mean = sum(recent) / len(recent)
        within = min(here, end) - max(times[index - 1], start)
        if within > 0 and (
            gap > _PAUSE
            or (
                len(recent) >= _MIN_INTERVALS
                and gap >= max(FREEZE_FACTOR * mean, mean + FREEZE_INCREASE)
            )
        ):
            count += 1
            frozen += within
    if not times or times[0] >= end:
        return Freezes(1, end - start)
    if times[0] - start >= LATE_PICTURE:
        count, frozen = count + 1, frozen + times[0] - start
    return Freezes(count, round(frozen, 6))


def frames_per_second(times: Sequence[float], start: float, end: float) -> float:
    """Frames rendered per second within [start, end)."""
    return (bisect_left(times, end) - bisect_left(times, start)) / (end - start)


def sending_seconds(frames: Sequence[Frame], interval: float, start: float, end: float) -> float:
    """Seconds within [start, end) of the sender's clock in which it sent a frame each `interval`.

    The pauses of the sender are left out: between two frames that arrived there was none to send.
    Around a frame that did not arrive nothing is left out, for the line may have lost others.

    >>> frames = [Frame(number / 30, number / 30) for number in range(90) if not 40 <= number < 46]
    >>> round(sending_seconds(frames, 1 / 30, 0.0, 3.0), 3)
    2.8
    """
    paused = 0.0
    for before, after in pairwise(frames):
        due = before.captured + interval
        if before.complete is None or after.complete is None or after.captured - due < interval / 2:
            continue
        paused += max(0.0, min(after.captured, end) - max(due, start))
    return end - start - paused


_VGA_H264 = (6.743, 0.009998, 3.051, 168.1, 1.766, 1.130, 0.001834, 1.232, 53.25, 3.353, 6.025,
             80.752)  # fmt: skip
"""Coefficients v1 to v12 of ITU-T G.1070 (06/2018), Table B.4, no. 1."""


def g1070(kilobits: float, fps: float, loss: float) -> float:
    """Video quality Vq, 1 to 5, of H.264 at VGA (ITU-T G.1070, clause 11.3).

    `kilobits` is the coded rate in kbit/s, `loss` a ratio.

    >>> [[round(g1070(b, 25, p), 2) for p in (0, 0.01, 0.03)] for b in (256, 512, 1000)]
    [[2.71, 2.33, 1.81], [3.51, 2.86, 2.03], [3.9, 3.15, 2.18]]
    """
    v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12 = _VGA_H264
    best_fps = min(30.0, max(1.0, v1 + v2 * kilobits))
    best: float = v3 - v3 / (1 + (kilobits / v4) ** v5)
    breadth = v6 + v7 * kilobits
    coding = best * math.exp(-((math.log(fps) - math.log(best_fps)) ** 2) / (2 * breadth**2))
    robustness = v10 + v11 * math.exp(-fps / v8) + v12 * math.exp(-kilobits / v9)
    return 1 + coding * math.exp(-100 * loss / robustness)


def video_mos(codec: str, height: int, kilobits: float, fps: float, loss: float) -> float | None:
    """Vq by G.1070; None outside the model's range (H.264 up to VGA, 8 to 30 frames/s, up to 3 %
    loss).
    """
    if codec.lower() != "h264" or not 0 < height <= 480 or not 8 <= fps <= 30.5 or loss > 0.03:
        return None
    return g1070(kilobits, min(fps, 30.0), loss)
