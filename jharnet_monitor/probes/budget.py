"""The bytes that planned heavy probes put on an office's line in a day, and the daily budget."""

from __future__ import annotations

from collections.abc import Iterator

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.units import format_quantity
from jharnet_monitor.probes import PROBES, ProbeContext
from jharnet_monitor.probes.conference.plan import drill_bytes

RETESTS_A_DAY = 2
"""Reserved for each series with `budget_reserved`: one in the busy hour and one at night."""


def planned_bytes(config: Config, office: Office) -> float:
    """The most bytes that a day's planned runs, retests and drills may be charged. 0 without a
    configured agent, since no heavy probe can run then.
    """
    if office.agent is None:
        return 0.0
    total = 0.0
    for probe in PROBES.values():
        for job in probe.planned(config, office):
            context = ProbeContext(config, office, SystemClock(), None, job.options)
            reserved = probe.series_of(context.route).budget_reserved
            runs = job.runs_a_day + (RETESTS_A_DAY if reserved else 0)
            total += runs * probe.cost(context)
    plan = config.probes.drill
    drill = drill_bytes(plan.profile, plan.minutes * 60, len(config.offices))
    return total + len(plan.at) * drill


def budget_warnings(config: Config) -> Iterator[str]:
    """One line if the budget is too small for what is planned."""
    over = {o.id: planned_bytes(config, o) for o in config.offices}
    over = {office: planned for office, planned in over.items() if planned > config.budget}
    if over:
        budget = format_quantity(config.budget, "size", " ")
        names = ", ".join(over) if len(over) <= 3 else f"{len(over)} offices"
        yield (
            f"budget: the planned tests of {names} may take up to {max(over.values()) / 1e6:.0f} "
            f"MB a day, and the budget is {budget}; those that do not fit will "
            "be no_data (raise it, or test less often)"
        )
