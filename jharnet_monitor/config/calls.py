"""Conference tests and drills: schedule, profile, and the criteria of each grade."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from jharnet_monitor.config.fields import Number, TimeOfDay, Weekdays, at_least
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.units import Duration, Rate, Ratio
from jharnet_monitor.profiles import Profile

SHORTEST_DRILL, LONGEST_DRILL = 0.1, 60
"""Minutes, for planned and manual drills."""


class ConferenceProbe(Section):
    """Two-way WebRTC calls between hub and agent."""

    at: tuple[TimeOfDay, ...] = ("11:00", "15:00")
    """Times of day, each in quotes."""
    every: Annotated[Duration, AfterValidator(at_least(30, "30s"))] | None = None
    """Beside the times of day, or instead of them."""
    profile: Profile = Profile.P720
    """The highest quality that is tried."""
    codec: Literal["vp8", "h264"] = "vp8"
    """Video codec: browsers use `vp8` by default, room systems `h264`."""
    seconds: Annotated[Number, Field(ge=3, le=600)] = 30.0
    """Length of a call, in seconds."""


class PlannedDrill(Section):
    """A conference with all offices at the same time, like a real one; by default none is planned.

    It uses the budget of each office like any other test, and has headquarters' line to itself.
    """

    at: tuple[TimeOfDay, ...] = ()
    """Times of day, each in quotes; empty for never."""
    days: Weekdays = "wed"
    """Such as `wed` or `mon,thu`; only working days, and no public holidays."""
    profile: Profile = Profile.P720
    """What headquarters sends to every office and receives from it."""
    minutes: Annotated[Number, Field(ge=SHORTEST_DRILL, le=LONGEST_DRILL)] = 5.0
    """Length of the conference; the gallery after it takes a fifth of that, at most a minute."""


class CallCriteria(Section):
    """The criteria for the grade of a conference call, applied to its worse direction.

    With the defaults, the grade is the picture that Chromium (VP8) shows; the limit for concealed
    audio is that of a poor call in Microsoft's call quality dashboard.
    """

    concealed: Ratio = 0.07
    """With a larger share of concealed audio the call is no conference (grade 0)."""
    frozen: Ratio = 0.05
    """A picture that is frozen for a larger share of the time does not count (grade 1)."""
    frames: Annotated[Number, Field(ge=1, le=30)] = 8.0
    """Frames per second that a picture needs to count at all."""
    sd_frames: Annotated[Number, Field(ge=1, le=30)] = 12.0
    """Frames per second for SD (360 lines, grade 3)."""
    hd_frames: Annotated[Number, Field(ge=1, le=30)] = 20.0
    """Frames per second for HD (720 lines, grade 4)."""
    hd_rate: Rate = 650_000.0
    """Video rate that has to arrive for HD."""

    @model_validator(mode="after")
    def _in_order(self) -> CallCriteria:
        if not self.frames <= self.sd_frames <= self.hd_frames:
            raise ValueError("`frames`, `sd_frames` and `hd_frames` must rise in this order")
        return self
