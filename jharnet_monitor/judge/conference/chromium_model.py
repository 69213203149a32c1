"""What Chromium would send and show on a line whose capacity a test call has measured. Pure.

Our test call holds one fixed quality per step; a real client adapts its picture continuously. This
models Chromium with VP8, a video limit of 1.7 Mbit/s and a preference for frame rate over
resolution. The constants were fitted to Chromium calls over emulated links, on the tuning half of
`tests/bench/chromium_truth.json`; the other half measures the error of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

MIN_LINE_RATE = 107_000.0
"""bit/s (IP rate) that Chromium's audio and its smallest video need together, in each direction."""
_VIDEO_SHARE, _AUDIO_RATE = 0.71, 30_000.0
"""Video gets this share of the line's capacity, less the audio's bit/s; the rest keeps the queue
short."""
_HEIGHT_BY_RATE = ((420_000.0, 720), (200_000.0, 540), (100_000.0, 360), (0.0, 180))
"""Lowest video rate in bit/s at which Chromium sends each picture height."""
_MAX_VIDEO_RATE = 1_700_000.0
"""The most video in bit/s that it sends."""
_BACK_OFF_LOSS = 0.09
"""Loss ratio above which its congestion control backs off: at 10 % it sent 0.15 to 0.5 Mbit/s."""
_BACKED_OFF_SCALE = 0.67
"""Its freezes then, as a share of our test call's: its picture is smaller."""
FRAMES_PER_SECOND = 30
_VIDEO_PAYLOAD = 1150
"""Bytes of video per packet."""


@dataclass(frozen=True, slots=True)
class ClientVideo:
    """The video that a client sends: height in lines, and bit/s without packet headers."""

    height: int
    bits_per_second: float


def client_video(capacity: float) -> ClientVideo:
    """The video on which Chromium settles on a line of `capacity` bit/s (IP rate).

    >>> [client_video(rate).height for rate in (0.13e6, 0.21e6, 0.5e6, 0.9e6, 1.2e6)]
    [180, 360, 540, 720, 720]
    >>> round(client_video(1.2e6).bits_per_second)
    822000
    """
    rate = max(0.0, _VIDEO_SHARE * capacity - _AUDIO_RATE)
    return ClientVideo(next(height for least, height in _HEIGHT_BY_RATE if rate >= least), rate)


def backs_off(loss: float) -> bool:
    """Whether Chromium sends less than HD video at this loss ratio, on any line."""
    return loss > _BACK_OFF_LOSS


def freeze_scale(capacity: float | None, loss: float, packets_per_frame: float) -> float:
    """How often Chromium's picture freezes, relative to a test call of `packets_per_frame`.

    Each further packet in a frame is one more that can be lost, and the frame then waits for its
    retransmission. `capacity` is in bit/s, None if the test call did not fill the line.

    >>> round(freeze_scale(None, 0.02, 4.85), 2)
    1.27
    """
    if backs_off(loss):
        return _BACKED_OFF_SCALE
    rate = _MAX_VIDEO_RATE
    if capacity is not None:
        rate = min(rate, client_video(capacity).bits_per_second)
    packets = rate / 8 / FRAMES_PER_SECOND / _VIDEO_PAYLOAD
    return min(2.0, max(1.0, packets / packets_per_frame)) if packets_per_frame > 0 else 1.0


def scaled_freeze_ratio(freeze_ratio: float, scale: float) -> float:
    """The share of time frozen when freezes are `scale` times as frequent.

    Freezes that overlap count once.

    >>> round(scaled_freeze_ratio(0.02, 1.27), 4), round(scaled_freeze_ratio(0.46, 1.27), 3)
    (0.0253, 0.543)
    """
    return float(1.0 - (1.0 - min(1.0, freeze_ratio)) ** scale)
