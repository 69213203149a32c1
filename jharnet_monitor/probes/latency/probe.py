"""The latency probe: echo requests to an office's router, continuously and on request.

`latency.monitor` measures continuously, `latency.run` once on request; both count and time in the
same way. The agent measures its own routes to its gateway and to the hub (`agent.self_monitor`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from jharnet_monitor.model import Measurement, Route
from jharnet_monitor.probes.base import ProbeContext
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.probes.dns import RESOLVE_SECONDS
from jharnet_monitor.probes.latency.metrics import FAMILIES
from jharnet_monitor.probes.probe import (
    CurrentRuns,
    DisturbedBy,
    Job,
    Probe,
    ProbeOptions,
    Remark,
    Series,
)

if TYPE_CHECKING:
    from jharnet_monitor.config import Config, Office

PACKETS = 20
PACKETS_PER_SECOND = 10.0
SHORTEST_FRESH_SECONDS = 60.0
PAGE_SETUP_SECONDS = 70.0
"""For a page to offer a data channel, for it to open, and for the page to report its lag."""
PAGE_FRESH_INTERVALS = 2.5


class LatencyOptions(ProbeOptions):
    """A series of echo requests, ten per second; with `path: page` of datagrams to the join page.

    `seconds`: over how long a page's datagrams are spread. More than two minutes show a firewall
    that ends UDP flows.
    """

    packets: Annotated[int, Field(ge=1, le=600)] | None = None
    path: Literal["jharnet", "page"] | None = None
    seconds: Annotated[float, Field(ge=1, le=600)] | None = None


def _fresh_for(config: Config, office: str) -> float:
    return max(3 * config.probes.latency.every, SHORTEST_FRESH_SECONDS)


def _time_limit(context: ProbeContext) -> float:
    packets = int(context.options.get("packets") or PACKETS)
    sending = float(context.options.get("seconds") or packets / PACKETS_PER_SECOND)
    if context.route is Route.PAGE:
        sending += PAGE_SETUP_SECONDS
    return RESOLVE_SECONDS + sending + context.config.probes.latency.timeout + 5.0


def _page_fresh_for(config: Config, office: str) -> float:
    return PAGE_FRESH_INTERVALS * (config.probes.latency.page_every or 86400.0)


def _jobs(config: Config, office: Office) -> Iterator[Job]:
    if (every := config.probes.latency.page_every) is not None:
        yield Job(options={"path": Route.PAGE.value}, every=every, in_browser=True)


def remarks(
    config: Config, run: Measurement, office: CurrentRuns, headquarters: CurrentRuns
) -> Iterator[Remark]:
    """That a firewall ends UDP flows."""
    age = run.conditions.get("udp_ended_after_seconds")
    if isinstance(age, int | float):
        yield Remark("transport.ended", {"age": (age, "seconds")})


LATENCY = Probe(
    name="latency",
    how="an echo request a second to every office, always",
    safeguards=(
        "kernel receive stamps; unaffected by clock changes; a busy host gives `no_data`, not loss"
    ),
    run=Deferred("jharnet_monitor.probes.latency.run:run"),
    time_limit=_time_limit,
    options=LatencyOptions,
    series=(
        Series(fresh_for=_fresh_for, disturbed_by=DisturbedBy.HEAVY),
        Series(
            route=Route.AGENT_HUB,
            fresh_for=_fresh_for,
            exported=False,
            disturbed_by=DisturbedBy.HEAVY,
        ),
        Series(route=Route.AGENT_GATEWAY, fresh_for=_fresh_for, exported=False),
        Series(
            route=Route.PAGE,
            fresh_for=_page_fresh_for,
            exported=False,
            disturbed_by=DisturbedBy.HEAVY,
        ),
        Series(
            route=Route.PAGE_HUB,
            fresh_for=_fresh_for,
            exported=False,
            disturbed_by=DisturbedBy.HEAVY,
        ),
    ),
    jobs=_jobs,
    needs_agent=lambda context: context.route is Route.PAGE,
    metrics=FAMILIES,
    remarks=remarks,
)
