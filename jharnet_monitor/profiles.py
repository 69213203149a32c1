"""The profiles of a call, from audio only to 720p, and the rungs through which it steps down.

Rates are what a stream puts on the line as IP packets, so that they compare with a contract.
720p at 1.5 Mbit/s each way is what Zoom states for a group call, 500 kbit/s for 360p is Azure
Communication Services' and Jitsi's figure, 60-80 kbit/s for audio is Zoom's. The lean rungs
decide a grade: Chromium (VP8) shows 720p from 0.9 Mbit/s, 360p from 0.3 and 180p from 0.15.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

FRAMES_PER_SECOND = 30
AUDIO_FRAMES_PER_SECOND = 50
AUDIO_CLOCK_RATE = 48_000
"""Hz of the RTP timestamps of Opus (RFC 7587, 4.1)."""
AUDIO_BITS_PER_SECOND = 40_000
"""Opus payload; 20 ms a packet."""

_PACKET_OVERHEAD = 72
"""Bytes: IPv4 20, UDP 8, RTP 12 with 12 of extensions, VP8 descriptor 4, SRTP tag 16."""
_AUDIO_OVERHEAD = 64
_PACKET_PAYLOAD = 1296
AUDIO_LINE_RATE = AUDIO_BITS_PER_SECOND + AUDIO_FRAMES_PER_SECOND * _AUDIO_OVERHEAD * 8
"""bit/s of the audio stream as IP packets."""
_REPEATS_AND_REPORTS = 1.05
"""Retransmissions and RTCP reports, as a factor on the bytes of the media."""


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


HD_HEIGHT, SD_HEIGHT, LOW_HEIGHT = 720, 360, 180
"""Lines of the picture that the grades 4, 3 and 2 require."""
_GRADES = ((HD_HEIGHT, 4), (SD_HEIGHT, 3), (LOW_HEIGHT, 2), (0, 1))


class Profile(StrEnum):
    """The quality at which a call starts, from sound alone to HD."""

    AUDIO = "audio"
    P180 = "180p"
    P360 = "360p"
    P540 = "540p"
    P720 = "720p"

    @classmethod
    def named(cls, name: Any) -> Profile:
        """The profile of that name; raises a `ValueError` that lists them all."""
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(cls)
            raise ValueError(f"no profile `{str(name)[:60]}`; there are {known}") from None

    @property
    def rung(self) -> Rung:
        """Picture and rates.

        >>> Profile.P360.rung.height
        360
        """
        return rung(self)

    @property
    def required_grade(self) -> int:
        """The lowest grade that proves that a conference of this profile can be held.

        >>> [profile.required_grade for profile in Profile]
        [1, 2, 3, 4, 4]
        """
        return min(grade for height, grade in _GRADES if height >= self.rung.height)

    @property
    def best_grade(self) -> int:
        """The best grade that a call of this profile can show.

        >>> [profile.best_grade for profile in Profile]
        [1, 2, 3, 3, 4]
        """
        return best_grade(self.rung.height)


RUNGS: tuple[Rung, ...] = (
    Rung(Profile.AUDIO.value, 0, 0, 0),
    Rung(Profile.P180.value, 320, 180, 28_000),
    Rung("360p-least", 640, 360, 88_000),
    Rung("360p-lean", 640, 360, 170_000),
    Rung(Profile.P360.value, 640, 360, 400_000),
    Rung(Profile.P540.value, 960, 540, 520_000),
    Rung("720p-lean", 1280, 720, 680_000),
    Rung(Profile.P720.value, 1280, 720, 1_350_000),
)
"""From the least to the most demanding."""


def rung(name: str) -> Rung:
    """The rung of that name; raises `KeyError`.

    >>> round(rung("720p").line_rate / 1e6, 1)
    1.5
    """
    for step in RUNGS:
        if step.name == name:
            return step
    raise KeyError(name)


def best_grade(height: int) -> int:
    """The best grade that a call with a picture of this height, in lines, can show."""
    return next(grade for least, grade in _GRADES if height >= least)


def rungs_below(top: Rung) -> tuple[Rung, ...]:
    """The rungs up to and including `top`, from the least demanding."""
    return RUNGS[: RUNGS.index(top) + 1]


def call_bytes(down: Rung, up: Rung, seconds: float) -> int:
    """IP bytes of a call of these rungs, both ways together.

    >>> call_bytes(rung("720p"), rung("720p"), 30.0)
    11806515
    """
    return int((down.line_rate + up.line_rate) * seconds * _REPEATS_AND_REPORTS / 8)
