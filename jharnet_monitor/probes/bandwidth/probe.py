"""The bandwidth probe: the rate that the line carries, over three routes.

`jharnet` (the default) is the throughput between agent and hub, `trains` a cheap estimate of the
line's capacity between full tests, `internet` the throughput to a speed-test server. Headquarters
tests its own Internet access, with the whole uplink to itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TYPE_CHECKING, Literal

from jharnet_monitor.judge.line.contract import falls_short
from jharnet_monitor.model import HEADQUARTERS, Measurement, Outcome, Route
from jharnet_monitor.probes.bandwidth.metrics import DISTRICT_FAMILIES, FAMILIES
from jharnet_monitor.probes.bandwidth.plan import SUSTAINING, TRAINS_COST, TRAINS_RESERVE, Plan
from jharnet_monitor.probes.base import ProbeContext
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.probes.internet import plan as internet_plan
from jharnet_monitor.probes.probe import Job, Probe, ProbeOptions, Series

if TYPE_CHECKING:
    from jharnet_monitor.config import Config, Office

TRAINS_SECONDS = 30.0
FRESH_INTERVALS = 2.5
"""A run describes the present until the next one is clearly overdue."""
HALF_WAY = 0.5
"""Packet trains and Internet tests run half-way between the full tests of two offices."""


class BandwidthOptions(ProbeOptions):
    """The route: hub to office, its capacity alone, or office to Internet.

    `sustained`: whether the long test follows always, never, or also when a week has passed
    (`due`); by default where none was made since the start, or the short one says "at least".
    """

    path: Literal["jharnet", "trains", "internet"] | None = None
    sustained: Literal["always", "due", "never"] | None = None


def _time_limit(context: ProbeContext) -> float:
    match context.route:
        case Route.INTERNET:
            return internet_plan.TIME_LIMIT_SECONDS
        case Route.TRAINS:
            return TRAINS_SECONDS
        case _:
            return Plan.of(context).time_limit


def _cost(context: ProbeContext) -> int:
    match context.route:
        case Route.INTERNET:
            return internet_plan.cost(context)
        case Route.TRAINS:
            return TRAINS_COST
        case _:
            plan = Plan.of(context)
            in_long_test = context.memory.get(SUSTAINING) is context.options
            long = in_long_test or context.options.get("sustained") == "always"
            return plan.cost + (plan.sustained_cost if long else 0)


def _reserve(context: ProbeContext) -> float:
    if context.at_headquarters:
        return inf
    if context.route is Route.TRAINS:
        return TRAINS_RESERVE
    plan = Plan.of(context)
    return max(plan.download.rate, plan.upload.rate)


def _jobs(config: Config, office: Office) -> Iterator[Job]:
    settings = config.probes.bandwidth
    internet = {"path": Route.INTERNET.value}
    if office.id == HEADQUARTERS:
        if settings.headquarters_every is not None:
            yield Job(options=internet, every=settings.headquarters_every, by_timetable=True)
        return
    yield Job(options={"sustained": "due"}, every=settings.every, by_timetable=True)
    for options, every in (
        ({"path": Route.TRAINS.value}, settings.trains_every),
        (internet, settings.internet_every),
    ):
        if every is not None:
            yield Job(options=options, every=every, by_timetable=True, offset=HALF_WAY)


def _retest_after(config: Config, office: Office, measurement: Measurement) -> float | None:
    """Repeat a full test below the contracted rate once, unless the configuration forbids it."""
    if measurement.outcome is not Outcome.OK or measurement.route is not Route.JHARNET:
        return None
    if "retest_of" in measurement.conditions:
        return None
    low = falls_short(measurement, office.link, config.thresholds.delivered)
    return config.probes.bandwidth.retest_after if low else None


def _fresh_for(config: Config, office: str) -> float:
    return FRESH_INTERVALS * config.probes.bandwidth.every


def _trains_fresh_for(config: Config, office: str) -> float:
    settings = config.probes.bandwidth
    return FRESH_INTERVALS * (settings.trains_every or settings.every)


def _internet_fresh_for(config: Config, office: str) -> float:
    settings = config.probes.bandwidth
    if office == HEADQUARTERS:
        return FRESH_INTERVALS * (settings.headquarters_every or 86400.0)
    return FRESH_INTERVALS * (settings.internet_every or settings.every)


BANDWIDTH = Probe(
    name="bandwidth",
    how=(
        "one TCP stream each way, stopped once the rate is stable; packet trains between "
        "tests; speedtest-cli for the Internet"
    ),
    safeguards=(
        "counted at the receiver, as IP rate; results that disagree with the agent's "
        "kernel counters are rejected"
    ),
    run=Deferred("jharnet_monitor.probes.bandwidth.run:run"),
    time_limit=_time_limit,
    options=BandwidthOptions,
    series=(
        Series(fresh_for=_fresh_for, listed=True, fills_line=True, budget_reserved=True),
        Series(route=Route.TRAINS, fresh_for=_trains_fresh_for),
        Series(route=Route.INTERNET, fresh_for=_internet_fresh_for, listed=True, fills_line=True),
    ),
    jobs=_jobs,
    at_headquarters=True,
    agent_tasks=("bandwidth", "internet"),
    needs_agent=lambda context: not context.at_headquarters,
    heavy=True,
    cost=_cost,
    reserve=_reserve,
    retest_after=_retest_after,
    never_pruned=True,
    metrics=FAMILIES,
    district_metrics=DISTRICT_FAMILIES,
    headline=(
        "download_bits_per_second",
        "upload_bits_per_second",
        "download_sustained_bits_per_second",
        "upload_sustained_bits_per_second",
    ),
)
