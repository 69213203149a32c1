"""The conference probe: a real two-way WebRTC call between headquarters and the office's agent.

Opus and VP8 (or H.264) both ways, judged on what arrived. The call starts at the configured
profile; a rung that overloads the link is aborted at once, and the judged window is that of the
last rung.

Values are of that window. `…_loss_ratio` is the first-pass loss: the share of media packets whose
first transmission never arrived. In the conditions, `…_residual_loss_ratio` is what was still
missing after retransmissions, and `…_wire_sent`, `…_wire_received`, `…_wire_loss_ratio` count all
datagrams of the whole call, including set-up, retransmissions and reports, until the office reports
the call: what a counter on the path sees of the UDP flow between `hub_port` and `agent_port`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from jharnet_monitor.model import Route
from jharnet_monitor.probes.conference import plan
from jharnet_monitor.probes.conference.metrics import DISTRICT_FAMILIES, FAMILIES
from jharnet_monitor.probes.conference.remarks import remarks
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.probes.probe import Probe, ProbeOptions, Series
from jharnet_monitor.profiles import Profile

if TYPE_CHECKING:
    from jharnet_monitor.config import Config

TWICE_A_DAY_SECONDS = 26 * 3600.0
"""At two times of day there are up to 20 h between two calls."""


class ConferenceOptions(ProbeOptions):
    """The profile, the length and the codec of a call."""

    profile: Annotated[Profile, Field(strict=False)] | None = None
    seconds: Annotated[float, Field(ge=3, le=600)] | None = None
    codec: Literal["vp8", "h264"] | None = None


def _fresh_for(config: Config, office: str) -> float:
    every = config.probes.conference.every
    return 2.5 * every if every else TWICE_A_DAY_SECONDS


CONFERENCE = Probe(
    name="conference",
    how="a real two-way WebRTC call (Opus, VP8 or H.264)",
    safeguards=(
        "judged on what arrived, both ways at once; held against a real Chromium on 141 links"
    ),
    run=Deferred("jharnet_monitor.probes.conference.run:run"),
    time_limit=plan.time_limit,
    options=ConferenceOptions,
    series=(
        Series(fresh_for=_fresh_for, listed=True, fills_line=True),
        Series(route=Route.DRILL, fresh_for=_fresh_for, exported=False, fills_line=True),
        Series(route=Route.GALLERY, fresh_for=_fresh_for, exported=False, fills_line=True),
    ),
    jobs=lambda config, office: plan.jobs(config),
    agent_tasks=("conference",),
    needs_agent=lambda context: True,
    heavy=True,
    exclusive=True,
    cost=plan.cost,
    reserve=plan.reserve,
    never_pruned=True,
    metrics=FAMILIES,
    district_metrics=DISTRICT_FAMILIES,
    headline=("grade",),
    remarks=remarks,
)
