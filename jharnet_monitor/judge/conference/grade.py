"""The conference grade: what a real client would show, for both ways at once. Pure.

4 HD (720p), 3 SD (360p), 2 low video (180p), 1 audio only, 0 no conference. The criteria are
those under which a Chromium call counts as that grade (30 s window, worse way decides); audio
concealed over 7 % is poor in Microsoft's call quality dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from jharnet_monitor.judge.conference.chromium_model import LEAST_LINE, backs_off
from jharnet_monitor.model import Direction
from jharnet_monitor.profiles import HD_HEIGHT, LOW_HEIGHT, SD_HEIGHT, best_grade


@dataclass(frozen=True, slots=True)
class Criteria:
    """Where a grade ends. Rates in bit/s, shares as ratios."""

    concealed: float = 0.07
    frozen: float = 0.05
    frames: float = 8.0
    sd_frames: float = 12.0
    hd_frames: float = 20.0
    hd_rate: float = 650_000.0


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a call: what its receiver saw at the rung that was held, and the picture
    that a client would show there (`judge.conference.chromium_model`).
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
    loss_stays: bool = False
    """A lower rung lost as much: the line loses packets at any rate."""
    asked: int = HD_HEIGHT
    """Lines of the picture that the call was to have: the profile's."""


class Limit(StrEnum):
    """What kept a call from a better grade."""

    NONE = "none"
    RATE = "rate"
    LOSS = "loss"
    DELAY = "delay"
    HOST = "host"
    UNKNOWN = "unknown"
    """Nothing that was measured of the line: a camera of 7 frames/s, say."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The grade, what kept it from more, and the way that decided.

    The sentence for people is made of the words `call.grade.GRADE` and `call.limit.LIMIT`.
    """

    grade: int
    limited_by: Limit
    worse: Direction


LOSS_THAT_TELLS = 0.02
DELAY_THAT_TELLS = 0.4
"""Seconds of round trip from which the talk itself suffers (G.114: 400 ms one way at most)."""
_TELLS_LITTLE = 0.5
"""Part of either from which it is named for want of anything else."""
_LOSS_ALONE, _DELAY_ALONE = 0.05, 0.2
"""Up to this loss, where repeats come within so many seconds, Chromium's picture does not freeze
on a line that is wide enough: if it does on a full one, it is because that is full."""
_CROWDED = 1.25 * LEAST_LINE
"""bit/s up to which the least picture fills the line, and what is lost is lost to that."""


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
        and not backs_off(way.video_loss_ratio)
    ):
        return 4
    if way.height >= SD_HEIGHT and way.frames_per_second >= limits.sd_frames:
        return 3
    return 2


def verdict(down: Way, up: Way, criteria: Criteria | None = None) -> Verdict:
    """The grade that holds both ways at once; the worse way decides, and says what limits it."""
    ways = {Direction.DOWN: down, Direction.UP: up}
    grades = {direction: grade_way(way, criteria) for direction, way in ways.items()}
    worse = min(grades, key=grades.__getitem__)
    limit = limited_by(ways[worse], grades[worse], criteria)
    return Verdict(grades[worse], limit, worse)


def limited_by(way: Way, grade: int, criteria: Criteria | None = None) -> Limit:
    """What kept a way that got this grade from a better one: what would help.

    Where it got the best that its profile allows: what would spoil it, if anything.

    >>> limited_by(Way(720, 30, 0.12, 0.02, 1.3e6, 0.1, 0.06), 1)
    <Limit.LOSS: 'loss'>
    >>> limited_by(Way(180, 30, 0.0, 0.1, 5e4, 0.08, 0.04, stepped_down=True, capacity=115e3), 0)
    <Limit.RATE: 'rate'>
    """
    limits = criteria or Criteria()
    if grade >= best_grade(way.asked):
        return Limit.DELAY if way.round_trip > DELAY_THAT_TELLS else Limit.NONE
    if way.stepped_down and _rate_decides(way, grade, limits):
        return Limit.RATE
    # A player waits for 97 of 100 packets of sound: if more is made up, it was lost.
    if way.video_loss_ratio >= LOSS_THAT_TELLS or way.concealed_ratio > limits.concealed:
        return Limit.LOSS
    loss, delay = way.video_loss_ratio / LOSS_THAT_TELLS, way.round_trip / DELAY_THAT_TELLS
    if way.freeze_ratio <= limits.frozen and max(loss, delay) < _TELLS_LITTLE:
        return Limit.UNKNOWN
    return Limit.LOSS if loss > delay else Limit.DELAY


def _rate_decides(way: Way, grade: int, criteria: Criteria) -> bool:
    """Whether a line that a rung filled is first of all too narrow."""
    if way.capacity is not None and way.capacity < LEAST_LINE:
        return True
    if way.loss_stays or (way.capacity is None and backs_off(way.video_loss_ratio)):
        return False  # a browser takes so much loss for a full line
    steady = replace(
        way,
        freeze_ratio=0.0,
        frames_per_second=criteria.hd_frames,
        concealed_ratio=0.0,
        video_loss_ratio=0.0,
    )
    if grade_way(steady, criteria) <= grade:
        return True
    if way.capacity is not None and way.capacity < _CROWDED:
        return True
    return way.video_loss_ratio < _LOSS_ALONE and way.round_trip < _DELAY_ALONE
