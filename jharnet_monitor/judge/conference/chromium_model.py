"""What a real client would show on a line whose capacity a call has met. Pure.

The client is Chromium (VP8, at most 1.7 Mbit/s, frame rate before size), which lets its picture
follow the line. The figures are a fit to its calls over links of the lab
(`tests/bench/chromium_truth.json`, the half for tuning; its error stands in `rtc/README.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_LINE = 107_000.0
"""bit/s, as IP rate, that its sound and its smallest picture take together, each way."""
_SHARE, _BESIDE = 0.71, 30_000.0
"""Its picture gets this share of the line, less what its sound takes: it keeps the queue short."""
_HEIGHTS = ((420_000.0, 720), (200_000.0, 540), (100_000.0, 360), (0.0, 180))
"""bit/s of picture from which it is so many lines high."""
_MOST = 1_700_000.0
"""bit/s of picture that it sends at most."""
_GIVES_WAY = 0.09
"""Loss from which it takes the line for full: at 10 % it sent 0.15 to 0.5 Mbit/s."""
_SMALLER = 0.67
"""Part of our freezes that it had then, with its smaller picture."""
FRAMES_PER_SECOND = 30
_PAYLOAD = 1150
"""Bytes of picture in a packet."""
_MADE_UP_LESS = 0.28
"""Packets of sound that need not be made up where a gap begins: what is there is stretched."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What it shows: lines, and bit/s of video without headers."""

    height: int
    bits_per_second: float


def picture(capacity: float) -> Picture:
    """The picture to which a client settles on a line of so many bit/s (IP rate).

    >>> [picture(rate).height for rate in (0.13e6, 0.21e6, 0.5e6, 0.9e6, 1.2e6)]
    [180, 360, 540, 720, 720]
    >>> round(picture(1.2e6).bits_per_second)
    822000
    """
    rate = max(0.0, _SHARE * capacity - _BESIDE)
    return Picture(next(height for least, height in _HEIGHTS if rate >= least), rate)


def backs_off(loss: float) -> bool:
    """Whether so much loss makes it send less than an HD picture takes, on any line."""
    return loss > _GIVES_WAY


def exposure(capacity: float | None, loss: float, ours: float) -> float:
    """How many times as often its picture stands still as ours, which had `ours` packets a frame.

    Each packet more is one more that can be lost, and the picture then waits for its repeat.

    >>> round(exposure(None, 0.02, 4.85), 2)
    1.27
    """
    if backs_off(loss):
        return _SMALLER
    rate = _MOST if capacity is None else min(_MOST, picture(capacity).bits_per_second)
    packets = rate / 8 / FRAMES_PER_SECOND / _PAYLOAD
    return min(2.0, max(1.0, packets / ours)) if ours > 0 else 1.0


def frozen(ratio: float, times: float) -> float:
    """The share of time frozen where what freezes a picture comes so many times as often.

    Freezes that fall together count once.

    >>> round(frozen(0.02, 1.27), 4), round(frozen(0.46, 1.27), 3)
    (0.0253, 0.543)
    """
    return float(1.0 - (1.0 - min(1.0, ratio)) ** times)


def made_up(gaps: list[int]) -> float:
    """Packets of sound that a listener would not have heard, from the lengths of the gaps.

    >>> round(made_up([1, 1, 10]), 2)
    11.16
    """
    return sum(length - _MADE_UP_LESS for length in gaps)
