"""What the planned heavy probes put on an office's line in a day, against the byte budget."""

from __future__ import annotations

from collections.abc import Iterator

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config, Office
from jharnet_monitor.probes import PROBES, ProbeContext
from jharnet_monitor.probes.conference.plan import drill_bytes

RETESTS_A_DAY = 2
"""Of each test with the first claim: bytes for one in the busy hour and one at night are kept."""


def planned_bytes(config: Config, office: Office) -> float:
    """The most bytes that a day's planned runs, retests and drills may take, as they are charged.

    0 where no agent is expected: no heavy probe can run then.
    """
    if office.agent is None:
        return 0.0
    total = 0.0
    for probe in PROBES.values():
        for job in probe.planned(config, office):
            context = ProbeContext(config, office, SystemClock(), None, job.options)
            first = probe.series_of(context.route).first_claim
            runs = job.runs_a_day + (RETESTS_A_DAY if first else 0)
            total += runs * probe.cost(context)
    plan = config.probes.drill
    drill = drill_bytes(plan.profile, plan.minutes * 60, len(config.offices))
    return total + len(plan.at) * drill


def budget_warnings(config: Config) -> Iterator[str]:
    """One line where the budget cannot hold what is planned."""
    over = {o.id: planned_bytes(config, o) for o in config.offices}
    over = {office: planned for office, planned in over.items() if planned > config.budget}
    if over:
        names = ", ".join(over) if len(over) <= 3 else f"{len(over)} offices"
        yield (
            f"budget: the planned tests of {names} may take up to {max(over.values()) / 1e6:.0f} "
            f"MB a day, and the budget is {config.budget / 1e6:g} MB; those that do not fit will "
            "be no_data (raise it, or test less often)"
        )
