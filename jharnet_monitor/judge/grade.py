"""The conference grade: what a real client would show, for both ways at once. Pure.

4 HD (720p), 3 SD (360p), 2 low video (180p), 1 audio only, 0 no conference. The criteria are
those under which a Chromium call counts as that grade (30 s window, worse way decides); audio
concealed over 7 % is poor in Microsoft's call quality dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jharnet_monitor.judge.client import LEAST_LINE, gives_way


@dataclass(frozen=True, slots=True)
class Criteria:
    """Where a grade ends. Rates in bit/s, shares as ratios."""

    concealed: float = 0.07
    frozen: float = 0.05
    frames: float = 8.0
    sd_frames: float = 12.0
    hd_frames: float = 20.0
    hd_rate: float = 650_000.0


HD_HEIGHT, SD_HEIGHT, LOW_HEIGHT = 720, 360, 180
"""Lines of the picture: what the grades 4, 3 and 2 are."""


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a call: what its receiver saw at the rung that was held, and the picture
    that a client would show there (`judge.client`).
    """

    height: int
    frames_per_second: float
    freeze_ratio: float
    concealed_ratio: float
    video_bits_per_second: float
    video_loss_ratio: float
    round_trip: float
    stepped_down: bool = False
    """A higher rung was aborted because the link was full."""
    capacity: float | None = None
    """bit/s that came through then, as IP rate."""


class Limit(StrEnum):
    """What kept a call from a better grade."""

    NONE = "none"
    RATE = "rate"
    LOSS = "loss"
    DELAY = "delay"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The grade, what kept it from more, and the way that decided.

    The sentence for people is made of the words `call.grade.GRADE` and `call.limit.LIMIT`.
    """

    grade: int
    limited_by: Limit
    worse: str


LOSS_THAT_TELLS = 0.02
DELAY_THAT_TELLS = 0.4
"""Seconds of round trip from which the talk itself suffers (G.114: 400 ms one way at most)."""


def grade_way(way: Way, criteria: Criteria | None = None) -> int:
    """The grade of one direction.

    >>> grade_way(Way(720, 30, 0.0, 0.0, 1.3e6, 0.0, 0.04))
    4
    >>> grade_way(Way(720, 30, 0.08, 0.0, 1.3e6, 0.01, 0.35))
    1
    """
    limits = criteria or Criteria()
    if way.concealed_ratio > limits.concealed:
        return 0
    if way.capacity is not None and way.capacity < LEAST_LINE:
        return 0
    frozen = way.freeze_ratio > limits.frozen or way.frames_per_second < limits.frames
    if frozen or way.height < LOW_HEIGHT:
        return 1
    if (
        way.height >= HD_HEIGHT
        and way.frames_per_second >= limits.hd_frames
        and way.video_bits_per_second >= limits.hd_rate
        and not gives_way(way.video_loss_ratio)
    ):
        return 4
    if way.height >= SD_HEIGHT and way.frames_per_second >= limits.sd_frames:
        return 3
    return 2


def verdict(down: Way, up: Way, criteria: Criteria | None = None) -> Verdict:
    """The grade that holds both ways at once; the worse way decides, and says what limits it."""
    grades = {"down": grade_way(down, criteria), "up": grade_way(up, criteria)}
    worse = "down" if grades["down"] <= grades["up"] else "up"
    grade = grades[worse]
    limit = limited_by(down if worse == "down" else up, grade)
    return Verdict(grade, limit, worse)


def limited_by(way: Way, grade: int) -> Limit:
    """What kept a way from grade 4 (where it reached it: what would spoil it, if anything)."""
    if grade == 4:
        return Limit.DELAY if way.round_trip > DELAY_THAT_TELLS else Limit.NONE
    if grade <= 1 and way.freeze_ratio > 0.05 and way.video_loss_ratio < LOSS_THAT_TELLS:
        return Limit.RATE if way.stepped_down and way.round_trip < 0.2 else Limit.DELAY
    if way.video_loss_ratio >= LOSS_THAT_TELLS and not (way.stepped_down and grade >= 1):
        return Limit.LOSS
    return Limit.RATE if way.stepped_down else Limit.NONE
