"""The conference grade: which quality a real client would show in both directions at once. Pure.

4 HD (720p), 3 SD (360p), 2 low-quality video (180p), 1 audio only, 0 no conference. A Chromium call
on the same line would meet the same criteria over a window of 30 s; the worse direction decides.
More than 7 % of concealed audio counts as poor in Microsoft's Call Quality Dashboard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from jharnet_monitor.judge.conference.chromium_model import MIN_LINE_RATE, backs_off
from jharnet_monitor.model import Direction, Measurement, Outcome
from jharnet_monitor.profiles import HD_HEIGHT, LOW_HEIGHT, SD_HEIGHT, best_grade


@dataclass(frozen=True, slots=True)
class Criteria:
    """Limits of the grades; ratios from 0 to 1, rates in bit/s, frames per second."""

    concealed: float = 0.07
    """Concealed audio: above this there is no conference (0)."""
    frozen: float = 0.05
    """Share of time frozen: above this the grade is audio only (1)."""
    frames: float = 8.0
    """Frames per second: below this the grade is audio only (1)."""
    sd_frames: float = 12.0
    hd_frames: float = 20.0
    hd_rate: float = 650_000.0
    """Video rate that HD needs."""


@dataclass(frozen=True, slots=True)
class DirectionQuality:
    """One direction of a call: what its receiver measured on the last rung, and the picture that
    Chromium would show there (`chromium_model`).
    """

    height: int
    frames_per_second: float
    freeze_ratio: float
    concealed_ratio: float
    video_bits_per_second: float
    video_loss_ratio: float
    round_trip: float
    """Seconds."""
    stepped_down: bool = False
    """A higher rung was abandoned because it filled the line."""
    capacity: float | None = None
    """IP rate in bit/s that came through then; None if no rung filled the line."""
    loss_stays: bool = False
    """A lower rung lost as much: the line loses packets at any rate."""
    requested_height: int = HD_HEIGHT
    """Picture height of the call's profile, in lines."""


class GradeLimit(StrEnum):
    """What kept a call from a better grade."""

    NONE = "none"
    RATE = "rate"
    LOSS = "loss"
    DELAY = "delay"
    HOST = "host"
    UNKNOWN = "unknown"
    """Nothing measured on the line explains it, for example a camera of 7 frames/s."""


@dataclass(frozen=True, slots=True)
class GradeVerdict:
    """The grade, what kept it from a better one, and the direction that decided.

    The texts for people are `call.grade.GRADE` and `call.limit.LIMIT`.
    """

    grade: int
    limited_by: GradeLimit
    worse: Direction


LIMITING_LOSS = 0.02
LIMITING_RTT = 0.4
"""Seconds of round trip above which conversation itself suffers (ITU-T G.114: at most 400 ms one
way)."""
_MINOR_SHARE = 0.5
"""Share of either limit from which it is named if nothing else explains the grade."""
_HARMLESS_LOSS, _HARMLESS_RTT = 0.05, 0.2
"""Up to this loss ratio and round trip in seconds, Chromium's picture does not freeze on a line
with enough capacity. If it freezes on a full line, the cause is that the line is full."""
_BARELY_ENOUGH_RATE = 1.25 * MIN_LINE_RATE
"""bit/s up to which even the smallest video fills the line, so that the loss comes from that."""


def grade_direction(quality: DirectionQuality, criteria: Criteria | None = None) -> int:
    """The grade of one direction.

    >>> grade_direction(DirectionQuality(720, 30, 0.0, 0.0, 1.3e6, 0.0, 0.04))
    4
    >>> grade_direction(DirectionQuality(720, 30, 0.08, 0.0, 1.3e6, 0.01, 0.35))
    1
    """
    limits = criteria or Criteria()
    if quality.concealed_ratio > limits.concealed:
        return 0
    if quality.capacity is not None and quality.capacity < MIN_LINE_RATE:
        return 0
    frozen = quality.freeze_ratio > limits.frozen or quality.frames_per_second < limits.frames
    if frozen or quality.height < LOW_HEIGHT:
        return 1
    if (
        quality.height >= HD_HEIGHT
        and quality.frames_per_second >= limits.hd_frames
        and quality.video_bits_per_second >= limits.hd_rate
        and not backs_off(quality.video_loss_ratio)
    ):
        return 4
    if quality.height >= SD_HEIGHT and quality.frames_per_second >= limits.sd_frames:
        return 3
    return 2


def grade_call(
    down: DirectionQuality, up: DirectionQuality, criteria: Criteria | None = None
) -> GradeVerdict:
    """The grade that both directions reach; the worse one decides, also what limits the call."""
    qualities = {Direction.DOWN: down, Direction.UP: up}
    grades = {
        direction: grade_direction(quality, criteria) for direction, quality in qualities.items()
    }
    worse = min(grades, key=grades.__getitem__)
    limit = limited_by(qualities[worse], grades[worse], criteria)
    return GradeVerdict(grades[worse], limit, worse)


def grade_of(call: Measurement) -> int | None:
    """The grade of one call: 0 if the network made it impossible, None if it was not tested, or
    tried less than the planned calls.
    """
    if call.outcome is Outcome.NO_DATA or not call.is_conclusive:
        return None
    grade = call.values.get("grade")
    if grade is None:
        return 0 if call.outcome is Outcome.FAILED else None
    return int(grade)


def limited_by(
    quality: DirectionQuality, grade: int, criteria: Criteria | None = None
) -> GradeLimit:
    """What kept a direction of this grade from a better one, that is, what would help.

    If the grade is the best that the profile allows: what would spoil the call, if anything.

    >>> limited_by(DirectionQuality(720, 30, 0.12, 0.02, 1.3e6, 0.1, 0.06), 1)
    <GradeLimit.LOSS: 'loss'>
    >>> narrow = DirectionQuality(180, 30, 0.0, 0.1, 5e4, 0.08, 0.04, True, capacity=115e3)
    >>> limited_by(narrow, 0)
    <GradeLimit.RATE: 'rate'>
    """
    limits = criteria or Criteria()
    if grade >= best_grade(quality.requested_height):
        return GradeLimit.DELAY if quality.round_trip > LIMITING_RTT else GradeLimit.NONE
    if quality.stepped_down and _limited_by_rate(quality, grade, limits):
        return GradeLimit.RATE
    # Late audio is concealed only until the buffer has grown; more than the limit is loss.
    if quality.video_loss_ratio >= LIMITING_LOSS or quality.concealed_ratio > limits.concealed:
        return GradeLimit.LOSS
    loss, delay = quality.video_loss_ratio / LIMITING_LOSS, quality.round_trip / LIMITING_RTT
    if quality.freeze_ratio <= limits.frozen and max(loss, delay) < _MINOR_SHARE:
        return GradeLimit.UNKNOWN
    return GradeLimit.LOSS if loss > delay else GradeLimit.DELAY


def without_gaps(quality: DirectionQuality, criteria: Criteria) -> DirectionQuality:
    """The direction as it would have been without freezes, missing frames and gaps of the voice."""
    frames = max(quality.frames_per_second, criteria.hd_frames)
    return replace(quality, freeze_ratio=0.0, frames_per_second=frames, concealed_ratio=0.0)


def _limited_by_rate(quality: DirectionQuality, grade: int, criteria: Criteria) -> bool:
    """Whether too little capacity, rather than loss or delay, explains the grade on a line that a
    rung filled.
    """
    if quality.capacity is not None and quality.capacity < MIN_LINE_RATE:
        return True
    if quality.loss_stays or (quality.capacity is None and backs_off(quality.video_loss_ratio)):
        return False  # a browser backs off at such loss as if the line were full
    undisturbed = replace(without_gaps(quality, criteria), video_loss_ratio=0.0)
    if grade_direction(undisturbed, criteria) <= grade:
        return True
    if quality.capacity is not None and quality.capacity < _BARELY_ENOUGH_RATE:
        return True
    return quality.video_loss_ratio < _HARMLESS_LOSS and quality.round_trip < _HARMLESS_RTT
