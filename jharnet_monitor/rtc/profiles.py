"""The rungs of a call: picture height and bit rate, from audio only to 720p.

Rates are what a stream puts on the line as IP packets, so that they compare with a contract.
720p at 1.5 Mbit/s each way is what Zoom states for a group call, 500 kbit/s for 360p is Azure
Communication Services' and Jitsi's figure, 60-80 kbit/s for audio is Zoom's. The lean rungs
decide a grade: Chromium (VP8) shows 720p from 0.9 Mbit/s, 360p from 0.3 and 180p from 0.15.
"""

from __future__ import annotations

from dataclasses import dataclass

FRAMES_PER_SECOND = 30
AUDIO_FRAMES_PER_SECOND = 50
AUDIO_BITS_PER_SECOND = 40_000
"""Opus payload; 20 ms a packet."""

_PACKET_OVERHEAD = 72
"""Bytes: IPv4 20, UDP 8, RTP 12 with 12 of extensions, VP8 descriptor 4, SRTP tag 16."""
_AUDIO_OVERHEAD = 64
_PACKET_PAYLOAD = 1296
AUDIO_LINE_RATE = AUDIO_BITS_PER_SECOND + AUDIO_FRAMES_PER_SECOND * _AUDIO_OVERHEAD * 8
"""bit/s of the audio stream as IP packets."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder: `height` 0 means audio only; `video` is the encoder's bit/s."""

    name: str
    width: int
    height: int
    video: int

    @property
    def video_line_rate(self) -> float:
        """bit/s of the video stream as IP packets."""
        if not self.video:
            return 0.0
        frame = self.video / 8 / FRAMES_PER_SECOND
        packets = FRAMES_PER_SECOND * max(1.0, frame / _PACKET_PAYLOAD + 0.5)
        return self.video + packets * _PACKET_OVERHEAD * 8

    @property
    def line_rate(self) -> float:
        """bit/s of video and audio as IP packets, each way."""
        return self.video_line_rate + AUDIO_LINE_RATE


RUNGS: tuple[Rung, ...] = (
    Rung("audio", 0, 0, 0),
    Rung("180p", 320, 180, 28_000),
    Rung("360p-least", 640, 360, 88_000),
    Rung("360p-lean", 640, 360, 170_000),
    Rung("360p", 640, 360, 400_000),
    Rung("540p", 960, 540, 520_000),
    Rung("720p-lean", 1280, 720, 680_000),
    Rung("720p", 1280, 720, 1_350_000),
)
"""From the least to the most demanding."""

PROFILES: tuple[str, ...] = ("audio", "180p", "360p", "540p", "720p")
"""The rungs at which a call can be told to start."""


def rung(name: str) -> Rung:
    """The rung of that name; raises `KeyError`.

    >>> round(rung("720p").line_rate / 1e6, 1)
    1.5
    """
    for step in RUNGS:
        if step.name == name:
            return step
    raise KeyError(name)


def rungs_below(top: Rung) -> tuple[Rung, ...]:
    """The rungs up to and including `top`, from the least demanding."""
    return RUNGS[: RUNGS.index(top) + 1]
