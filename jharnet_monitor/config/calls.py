"""Conference tests and drills: when they are held, how, and what a grade asks for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from jharnet_monitor.config.fields import Number, TimeOfDay, Weekdays, at_least
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.units import Duration, Rate, Ratio
from jharnet_monitor.profiles import Profile

SHORTEST_DRILL, LONGEST_DRILL = 0.1, 60
"""Minutes, for a planned drill as for one by hand."""


class ConferenceProbe(Section):
    """Two-way WebRTC calls between hub and agent."""

    at: tuple[TimeOfDay, ...] = ("11:00", "15:00")
    """Times of day, each in quotes."""
    every: Annotated[Duration, AfterValidator(at_least(30, "30s"))] | None = None
    """Beside the times of day, or instead of them."""
    profile: Profile = Profile.P720
    """The highest quality that is tried."""
    codec: Literal["vp8", "h264"] = "vp8"
    """Of the picture: what browsers use by themselves, or what room systems speak."""
    seconds: Annotated[Number, Field(ge=3, le=600)] = 30.0
    """Length of a call."""


class PlannedDrill(Section):
    """A conference with every office at the same time, as the real one; none is planned at first.

    It draws on the budget of each office like any other test, and has headquarters' line alone.
    """

    at: tuple[TimeOfDay, ...] = ()
    """Times of day, each in quotes; none for never."""
    days: Weekdays = "wed"
    """Such as `wed` or `mon,thu`; only working days, and no public holidays."""
    profile: Profile = Profile.P720
    """What headquarters sends to every office and receives from it."""
    minutes: Annotated[Number, Field(ge=SHORTEST_DRILL, le=LONGEST_DRILL)] = 5.0
    """Length of the conference; the gallery after it takes a fifth of that, a minute at most."""


class CallCriteria(Section):
    """When a conference call counts as which grade, in its worse direction.

    The defaults are those under which Chromium (VP8) really shows that picture; concealed audio
    is what Microsoft's call quality dashboard calls poor.
    """

    concealed: Ratio = 0.07
    """More audio made up than this is no conference (grade 0)."""
    frozen: Ratio = 0.05
    """A picture that stands still for more of the time than this does not count (grade 1)."""
    frames: Annotated[Number, Field(ge=1, le=30)] = 8.0
    """Frames a second that a picture needs to count at all."""
    sd_frames: Annotated[Number, Field(ge=1, le=30)] = 12.0
    """Frames a second of SD (360 lines, grade 3)."""
    hd_frames: Annotated[Number, Field(ge=1, le=30)] = 20.0
    """Frames a second of HD (720 lines, grade 4)."""
    hd_rate: Rate = 650_000.0
    """Video that has to arrive for HD."""

    @model_validator(mode="after")
    def _in_order(self) -> CallCriteria:
        if not self.frames <= self.sd_frames <= self.hd_frames:
            raise ValueError("`frames`, `sd_frames` and `hd_frames` must rise in this order")
        return self
