"""The assessment of an office's line as plain JSON, as claimed by the report and the dossier.

Figures are in SI base units, rounded to nine digits so that they are the same on every machine.
"""

from __future__ import annotations

import math
from typing import Any

from jharnet_monitor.judge.line.assess import WAYS, Assessment
from jharnet_monitor.judge.line.need import Need
from jharnet_monitor.judge.line.traffic import is_sufficient
from jharnet_monitor.judge.statistics.intervals import Interval

_DIGITS = 9


def judged(assessment: Assessment) -> dict[str, Any]:
    """The figures of the assessment, and its verdict."""
    line, found = assessment.line, assessment.judgement
    return {
        "days": line.days,
        "delivered": {
            way: {
                "basis": None if delivered.basis is None else delivered.basis.value,
                **interval(delivered.median),
                "contracted": contracted,
                "p5": interval(delivered.p5),
            }
            for way, delivered, contracted in zip(
                WAYS, assessment.delivered, line.contracted, strict=True
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
            way: interval(one if is_sufficient(one) else None)
            for way, one in zip(WAYS, line.other, strict=True)
        },
        "need": {way: _need(need) for way, need in zip(WAYS, found.needs, strict=True)},
        "verdict": found.main.value,
        "verdicts": [verdict.value for verdict in found.verdicts],
        "doubts": [doubt.value for doubt in found.doubts],
        "slab": found.slab,
    }


def _need(need: Need) -> dict[str, Any]:
    """The need of a direction; without `high` it is a lower bound."""
    return {
        "value": rounded(need.value),
        "low": rounded(need.low),
        "high": rounded(need.high),
        "measured": need.measured,
        "at_least": need.at_least,
    }


def interval(found: Interval | None) -> dict[str, Any]:
    """A figure with its interval; `high` is None if there is no upper bound."""
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
    """A figure rounded to nine digits; None if it is unknown or infinite."""
    if value is None or math.isinf(value):
        return None
    return float(f"{value:.{_DIGITS}g}")
