"""The service probe: web services such as e-Office, as the offices and headquarters see them.

Each visit fetches one page, without the resources that the page loads, over a new connection. The
probe is light: it does not wait for a turn or a share of the uplink, because any desk loads pages
of at most `probes.service.most` bytes at any time. It only waits until no test of the monitor uses
the office's line, and is not made during a drill. Its bytes nevertheless count in the budget, also
in `check-config`.

In the conditions: `service`, `end` (`office` or `headquarters`), `requests` (pages with redirects),
`phase` in which a failed visit broke off, `proxied`, and `truncated` if the page is larger than was
read; there is then no `total_seconds`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jharnet_monitor.config.fields import Identifier
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.probes.probe import Probe, ProbeOptions
from jharnet_monitor.probes.service import plan
from jharnet_monitor.probes.service.metrics import FAMILIES
from jharnet_monitor.probes.service.remarks import remarks


class ServiceOptions(ProbeOptions):
    """Which of the configured services."""

    service: Annotated[Identifier, Field(max_length=40)]


SERVICE = Probe(
    name="service",
    how=("one page of e-Office, JharSewa, any address, from each office and from headquarters"),
    safeguards="a slow server is never charged to the line; without evidence nothing is blamed",
    run=Deferred("jharnet_monitor.probes.service.run:run"),
    time_limit=plan.time_limit,
    options=ServiceOptions,
    series=(plan.SERIES,),
    jobs=plan.jobs,
    at_headquarters=True,
    agent_tasks=("service",),
    needs_agent=lambda context: not context.at_headquarters,
    undisturbed=True,
    cost=plan.cost,
    measures_line=False,
    district_metrics=FAMILIES,
    remarks=remarks,
)
