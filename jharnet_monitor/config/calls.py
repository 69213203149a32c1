"""Conference tests and drills: schedule, profile, and the criteria of each grade."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from jharnet_monitor.config.fields import (
    Dscp,
    FilePath,
    Identifier,
    Number,
    TimeOfDay,
    TurnAddress,
    Weekdays,
    at_least,
)
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.units import Duration, Rate, Ratio
from jharnet_monitor.profiles import Profile

SHORTEST_DRILL, LONGEST_DRILL = 0.1, 60
"""Minutes, for planned and manual drills."""


class CallClient(Section):
    """A kind of client for what-if, with its published or measured figures."""

    name: Identifier = Field(examples=["district-room"])
    """Name used to select it."""
    video: Rate = Field(examples=["4 Mbit/s"])
    """The most video that it sends."""
    height: Annotated[int, Field(ge=180, le=1080)] = 720
    """Lines of its largest picture."""


class CallRelay(Section):
    """A TURN server at headquarters (RFC 8656), such as coturn with `use-auth-secret`.

    Where no UDP comes through, a call with a browser is repeated over it, as real clients do.
    """

    urls: tuple[TurnAddress, ...] = Field(
        min_length=1, max_length=4, examples=['["turns:hub.example.in:443?transport=tcp"]']
    )
    """Its addresses, each a transport, in the order in which they are tried: `turn:HOST:PORT` or
    `turns:HOST:PORT` (TLS), with `?transport=udp` or `?transport=tcp`. Firefox uses `turns:` only
    if HOST is a name."""
    secret_file: FilePath = Field(examples=["secrets/turn"])
    """File with the secret that the server shares with the hub (coturn: `static-auth-secret`).
    Pages get credentials for a quarter of an hour."""


class ConferenceProbe(Section):
    """Two-way WebRTC calls between hub and agent."""

    at: tuple[TimeOfDay, ...] = ("12:15", "15:00")
    """Times of day, each in quotes."""
    every: Annotated[Duration, AfterValidator(at_least(30, "30s"))] | None = None
    """Interval, in addition to the times of day or instead of them."""
    profile: Profile = Profile.P720
    """Highest quality that is tested."""
    codec: Literal["vp8", "h264"] = "vp8"
    """Video codec: browsers use `vp8` by default, room systems `h264`."""
    seconds: Annotated[Number, Field(ge=3, le=600)] = 30.0
    """Length of a call, in seconds."""
    clients: tuple[CallClient, ...] = ()
    """More clients for what-if, in addition to `one-to-one`, `group`, `room` and `audio`."""
    dscp: Dscp = 0
    """Mark (DSCP, RFC 2474) of a call's packets from hub and agent, such as `AF41` for interactive
    video (RFC 8837). Voice and picture share one port and therefore one mark. A browser does not
    mark its packets."""
    relay: CallRelay | None = None
    """The TURN server for offices whose line lets no UDP through."""


class PlannedDrill(Section):
    """A conference with all offices at once, like a real one; by default none is planned.

    It counts against the budget of each office, and no other test uses headquarters' line
    meanwhile."""

    at: tuple[TimeOfDay, ...] = ()
    """Times of day, each in quotes; empty for never."""
    days: Weekdays = "wed"
    """Such as `wed` or `mon,thu`; held only on working days that are not public holidays."""
    profile: Profile = Profile.P720
    """What headquarters sends to every office and receives from it."""
    minutes: Annotated[Number, Field(ge=SHORTEST_DRILL, le=LONGEST_DRILL)] = 5.0
    """Length of the conference; the gallery after it takes a fifth of that, at most a minute."""
    at_once: Annotated[int, Field(ge=1)] | None = None
    """Most calls at a time, also of a drill that is started by hand; null for all at once. A hub
    with few cores can hold few. The offices then follow one another, which takes longer, and only
    their own lines are judged: headquarters' line never carries all calls."""


class CallCriteria(Section):
    """The criteria for the grade of a conference call, applied to its worse direction.

    With the defaults, the grade is the picture that Chromium (VP8) shows; the limit for concealed
    audio is that of a poor call in Microsoft's call quality dashboard.
    """

    concealed: Ratio = 0.07
    """With a larger share of concealed audio the call gets grade 0, no conference."""
    frozen: Ratio = 0.05
    """If the picture is frozen for a larger share of the time, the call gets grade 1, audio
    only."""
    frames: Annotated[Number, Field(ge=1, le=30)] = 8.0
    """Frames per second below which a picture does not count."""
    sd_frames: Annotated[Number, Field(ge=1, le=30)] = 12.0
    """Frames per second for SD (360 lines, grade 3)."""
    hd_frames: Annotated[Number, Field(ge=1, le=30)] = 20.0
    """Frames per second for HD (720 lines, grade 4)."""
    hd_rate: Rate = 650_000.0
    """Video rate that must arrive for HD."""

    @model_validator(mode="after")
    def _in_order(self) -> CallCriteria:
        if not self.frames <= self.sd_frames <= self.hd_frames:
            raise ValueError("`frames`, `sd_frames` and `hd_frames` must be in rising order")
        return self
