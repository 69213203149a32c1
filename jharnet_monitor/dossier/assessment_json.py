"""The assessment of an office's line as JSON in `claims.json`, written and read.

Figures are in SI base units, rounded to nine digits so that they are the same on every machine. An
unknown figure is null, and so is a bound that does not exist.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date
from typing import Any

from jharnet_monitor.judge.line.cures import Cure, Cures
from jharnet_monitor.judge.line.delivered import Basis, DeliveredRate
from jharnet_monitor.judge.line.facts import Line, LineDirection
from jharnet_monitor.judge.line.grounds import (
    Condition,
    Doubt,
    Ground,
    LineVerdict,
    NeedRange,
    Note,
    VerdictReason,
)
from jharnet_monitor.judge.line.loss import LossRates
from jharnet_monitor.judge.line.need import Need
from jharnet_monitor.judge.line.verdict import Assessment
from jharnet_monitor.judge.outages.downtime import Downtime, Outages
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.judge.statistics.rounding import to_digits
from jharnet_monitor.judge.twin.stored_whatif import LineChange
from jharnet_monitor.model import Direction

_LOSS = ("office", "night", "idle", "busy", "calls", "trains", "trains_night")
_BY_DAY = ("full", "left", "carried", "capacity")
_DOWNTIME = ("known", "link", "power", "lan", "unexplained")


def assessment_to_json(found: Assessment) -> dict[str, Any]:
    """The figures of the assessment, and its verdict."""
    sides = dict(zip(Direction, found.directions, strict=True))
    return {
        "days": found.line.days,
        "calls_suffice": found.line.calls_suffice,
        "delivered": {direction: _delivered_to_json(side) for direction, side in sides.items()},
        "loss": {
            "worst_day": rounded(found.line.loss.worst_day),
            **{name: interval_to_json(getattr(found.line.loss, name)) for name in _LOSS},
        },
        "outages": _outages_to_json(found.line.outages),
        "by_day": {
            name: {way: interval_to_json(getattr(side, name)) for way, side in sides.items()}
            for name in _BY_DAY
        },
        "other": {direction: interval_to_json(side.other) for direction, side in sides.items()},
        "need": {direction: _need_to_json(side.need) for direction, side in sides.items()},
        "verdict": found.verdict.value,
        "verdicts": [verdict.value for verdict in found.verdicts],
        "doubts": [doubt.value for doubt in found.doubts],
        "notes": [note.value for note in found.notes],
        "grounds": [
            {
                "verdict": ground.verdict.value,
                "reason": None if ground.reason is None else ground.reason.value,
                "condition": ground.condition.value,
            }
            for ground in found.grounds
        ],
        "slab": found.slab,
        "holds": None
        if found.holds is None
        else {"low": rounded(found.holds.low), "high": rounded(found.holds.high)},
        **({"cures": _cures_to_json(found.line.cures)} if found.line.cures.answers else {}),
    }


def assessment_from_json(data: Mapping[str, Any]) -> Assessment:
    """Read what `assessment_to_json` has written."""
    down, up = (
        LineDirection(
            contracted=data["delivered"][direction]["contracted"],
            delivered=_delivered_from_json(data["delivered"][direction]),
            need=_need_from_json(data["need"][direction]),
            other=interval_from_json(data["other"][direction]),
            **{name: interval_from_json(data["by_day"][name][direction]) for name in _BY_DAY},
        )
        for direction in Direction
    )
    loss = {name: interval_from_json(data["loss"][name]) for name in _LOSS}
    return Assessment(
        line=Line(
            down=down,
            up=up,
            loss=LossRates(worst_day=data["loss"]["worst_day"], **loss),
            outages=_outages_from_json(data["outages"]),
            days=data["days"],
            calls_suffice=data["calls_suffice"],
            cures=_cures_from_json(data["cures"]) if "cures" in data else Cures(),
        ),
        verdicts=tuple(LineVerdict(name) for name in data["verdicts"]),
        doubts=tuple(Doubt(name) for name in data["doubts"]),
        notes=tuple(Note(name) for name in data["notes"]),
        grounds=tuple(_ground_from_json(ground) for ground in data["grounds"]),
        slab=data["slab"],
        holds=None if data["holds"] is None else NeedRange(**data["holds"]),
    )


def _ground_from_json(data: Mapping[str, Any]) -> Ground:
    reason = None if data["reason"] is None else VerdictReason(data["reason"])
    return Ground(LineVerdict(data["verdict"]), reason, Condition(data["condition"]))


def _cures_to_json(found: Cures) -> dict[str, Any]:
    """What simulated calls say; left out where there is nothing, as in dossiers before they did."""
    answers = [
        {
            **one.change.to_json(),
            "calls": one.calls,
            "grade": one.grade,
            "share": rounded(one.share),
        }
        for one in found.answers
    ]
    return {"calls": found.calls, "required": found.required, "answers": answers}


def _cures_from_json(data: Mapping[str, Any]) -> Cures:
    answers = (
        Cure(LineChange(one["rate"], one["loss"]), one["calls"], one["grade"], one["share"])
        for one in data["answers"]
    )  # fmt: skip
    return Cures(data["calls"], tuple(answers), data["required"])


def _outages_to_json(found: Outages) -> dict[str, Any]:
    return {
        "total": {name: rounded(getattr(found.total, name)) for name in _DOWNTIME},
        "office": {name: rounded(getattr(found.office, name)) for name in _DOWNTIME},
        "incident": rounded(found.incident),
        "nights": found.nights,
        "off_seconds": rounded(found.off_seconds),
        "shared": found.shared,
        "shared_seconds": rounded(found.shared_seconds),
    }


def _outages_from_json(data: Mapping[str, Any]) -> Outages:
    total, office = (Downtime(**data[name]) for name in ("total", "office"))
    return Outages(**{**data, "total": total, "office": office})


def _delivered_to_json(side: LineDirection) -> dict[str, Any]:
    delivered = side.delivered
    return {
        "basis": None if delivered.basis is None else delivered.basis.value,
        **interval_to_json(delivered.median),
        "contracted": side.contracted,
        "p5": interval_to_json(delivered.p5),
        "short": interval_to_json(delivered.short),
        "since": None if delivered.since is None else delivered.since.isoformat(),
        "policed": delivered.policed,
        "by_loss": delivered.by_loss,
    }


def _delivered_from_json(data: Mapping[str, Any]) -> DeliveredRate:
    return DeliveredRate(
        median=interval_from_json(data),
        p5=interval_from_json(data["p5"]),
        basis=None if data["basis"] is None else Basis(data["basis"]),
        since=None if data["since"] is None else date.fromisoformat(data["since"]),
        short=interval_from_json(data["short"]),
        policed=data["policed"],
        by_loss=data["by_loss"],
    )


def _need_to_json(need: Need) -> dict[str, Any]:
    """The need of a direction; without `high` it is a lower bound."""
    return {
        "value": rounded(need.value),
        "low": rounded(need.low),
        "high": rounded(need.high),
        "measured": need.measured,
        "at_least": need.at_least,
    }


def _need_from_json(data: Mapping[str, Any]) -> Need:
    high = math.inf if data["high"] is None else data["high"]
    return Need(data["value"], data["low"], high, data["measured"], data["at_least"])


def interval_to_json(found: Interval | None) -> dict[str, Any]:
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


def interval_from_json(data: Mapping[str, Any]) -> Interval | None:
    """Read what `interval_to_json` has written."""
    if data["value"] is None:
        return None
    return Interval(data["value"], data["low"], data["high"], data["n"], data["days"])


def rounded(value: float | None) -> float | None:
    """A figure rounded to nine digits; None if it is unknown or infinite."""
    return None if value is None or math.isinf(value) else to_digits(value)
