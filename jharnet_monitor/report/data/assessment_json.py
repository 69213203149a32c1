"""The judgement on an office's line as plain JSON: what the weekly report and the dossier claim.

Figures are SI base units, to nine digits, so that they are the same on every machine.
"""

from __future__ import annotations

import math
from typing import Any

from jharnet_monitor.judge.line.assess import Assessment
from jharnet_monitor.judge.line.need import Need
from jharnet_monitor.judge.line.traffic import is_sufficient
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import Direction

_DIGITS = 9


def judged(assessment: Assessment) -> dict[str, Any]:
    """What a line was judged by, and what would help it."""
    line, found = assessment.line, assessment.judgement
    return {
        "days": line.days,
        "delivered": {
            direction: {
                "basis": None if delivered.basis is None else delivered.basis.value,
                **interval(delivered.median),
                "contracted": contracted,
                "p5": interval(delivered.p5),
            }
            for direction, delivered, contracted in zip(
                Direction, assessment.delivered, line.contracted, strict=True
            )
        },
        "loss": interval(line.loss),
        "down": {
            "link_down": rounded(line.link_down),
            "power_down": rounded(line.power_down),
            "lan_down": rounded(line.lan_down),
            "unreachable": rounded(line.unexplained),
        },
        "other": {
            direction: interval(one if is_sufficient(one) else None)
            for direction, one in zip(Direction, line.other, strict=True)
        },
        "need": {
            direction: _need(need) for direction, need in zip(Direction, found.needs, strict=True)
        },
        "verdict": found.main.value,
        "verdicts": [verdict.value for verdict in found.verdicts],
        "doubts": [doubt.value for doubt in found.doubts],
        "slab": found.slab,
    }


def _need(need: Need) -> dict[str, Any]:
    """What a way has to carry; without `high` it is that or more."""
    return {
        "value": rounded(need.value),
        "low": rounded(need.low),
        "high": rounded(need.high),
        "measured": need.measured,
        "at_least": need.at_least,
    }


def interval(found: Interval | None) -> dict[str, Any]:
    """A figure with its interval; one without an upper bound has `low` alone."""
    if found is None:
        return {"value": None, "low": None, "high": None, "n": 0, "days": 0}
    return {
        "value": rounded(found.value),
        "low": rounded(found.low),
        "high": rounded(found.high),
        "n": found.n,
        "days": found.days,
    }


def rounded(value: float | None) -> float | None:
    """A figure to nine digits; None for what is not known or has no bound."""
    if value is None or math.isinf(value):
        return None
    return float(f"{value:.{_DIGITS}g}")
