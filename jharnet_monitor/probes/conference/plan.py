"""When conference calls are held, and what one takes of the line: rungs, rates, bytes, time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jharnet_monitor.model import Cause, Route
from jharnet_monitor.probes.base import NoData, ProbeContext
from jharnet_monitor.probes.conference.gallery import gallery_options, gallery_seconds
from jharnet_monitor.probes.probe import Job
from jharnet_monitor.profiles import (
    HD_HEIGHT,
    Profile,
    Rung,
    best_grade,
    call_bytes,
    rung,
    rungs_below,
)

if TYPE_CHECKING:
    from jharnet_monitor.config import Config

WAY_SECONDS = 40.0
"""Until a way is known not to carry a call."""
OVERHEAD_SECONDS = 73.0
"""Set-up, overtime of a call that changed its rung, and the exchange of reports."""
TWIN_SECONDS = 120.0
"""Limit of one question to the twin, in real time; on an idle computer it takes three."""


def jobs(config: Config) -> Iterator[Job]:
    """The planned calls, the same for each office."""
    settings = config.probes.conference
    if settings.every is not None:
        yield Job(every=settings.every)
    for at in settings.at:
        yield Job(at=at)


def profile(context: ProbeContext) -> Rung:
    """The highest rung that the call may try; raises `NoData` for an unknown profile."""
    name = context.options.get("profile", context.config.probes.conference.profile)
    try:
        return Profile.named(name).rung
    except ValueError as error:
        raise NoData(Cause.NOT_CONFIGURED, str(error)) from None


def tries_less(context: ProbeContext) -> bool:
    """Whether the best grade of the profile is less than that of the planned calls. (A drill of a
    lower profile is judged by what it asks.)
    """
    planned = context.config.probes.conference.profile.best_grade
    return context.route is Route.JHARNET and best_grade(profile(context).height) < planned


def granted(context: ProbeContext) -> Rung:
    """The highest rung up to the profile that fits into what was granted of the uplink."""
    for step in reversed(rungs_below(profile(context))):
        if step.line_rate <= context.granted * (1 + 1e-9):
            return step
    raise NoData(
        Cause.UPLINK_BUSY, f"{context.granted:.0f} bit/s of the uplink are too few for a call"
    )


def seconds(context: ProbeContext) -> float:
    """How long the call lasts."""
    return float(context.options.get("seconds", context.config.probes.conference.seconds))


def upward(context: ProbeContext, top: Rung) -> Rung:
    """The rung that the office sends: the one that it receives, or a lower one from the options."""
    own = rung(str(context.options.get("up", top.name)))
    return min(own, top, key=lambda step: step.line_rate)


def cost(context: ProbeContext) -> int:
    """Bytes that one call puts on the office's line, both ways together."""
    top = profile(context)
    return call_bytes(top, upward(context, top), seconds(context))


def reserve(context: ProbeContext) -> float:
    """bit/s that one call takes of the uplink, each way at the same time."""
    return profile(context).line_rate


def asks_twin(context: ProbeContext, top: Rung) -> bool:
    """Whether the twin is asked about the line of a call that started at `top`; not in a drill,
    whose calls share one line."""
    use_twin: bool = context.options.get("twin", "watch" not in context.options)
    return use_twin and top.height >= HD_HEIGHT


def time_limit(context: ProbeContext) -> float:
    """Seconds after which a call is given up, with the time for each way that is tried.

    The call is over when the twin is asked, twice at most. A busy hub may need that time: a call
    that was held must not end as one that the network prevented.
    """
    relay = context.config.probes.conference.relay
    ways = 1 if relay is None else 1 + len(relay.urls)
    held = 1.5 * seconds(context) + OVERHEAD_SECONDS + (ways - 1) * WAY_SECONDS
    return held + (2 * TWIN_SECONDS if asks_twin(context, profile(context)) else 0.0)


def drill_bytes(profile: Profile, seconds: float, offices: int) -> int:
    """What a drill with this number of offices costs the budget of each.

    `seconds` is the length of the conference; the gallery after it is counted as well.

    >>> [round(drill_bytes(Profile.P720, 300.0, offices) / 1e6) for offices in (1, 11)]
    [118, 134]
    """
    top, tiles = profile.rung, gallery_options(offices)
    conference = call_bytes(top, top, seconds)
    if tiles is None or profile is Profile.AUDIO:
        return conference
    down = rung(tiles["profile"])
    own = min(rung(tiles["up"]), down, key=lambda step: step.line_rate)
    return conference + call_bytes(down, own, gallery_seconds(seconds))
