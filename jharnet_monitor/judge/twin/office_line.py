"""The line of an office: what a call showed of it, completed by other probes' measurements. Pure.

A call of half a minute does not meet everything. It shows nothing of a rate that is higher than
what it sends, of a token bucket that outlasts it, or of others' traffic beside which there is room.
Speed tests, packet trains, echo requests and the router's counters measure these, at other times.
So each measurement has an age, and the older it is, the more uncertain. What the call met itself is
changed only by a measurement that agrees with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from math import exp, hypot, log, sqrt
from statistics import NormalDist
from typing import Any, Self

from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.measured_rates import (
    AGREE,
    DAY,
    LATENCY,
    ROUTER,
    SPEED_TEST,
    TRAINS,
    Known,
    MeasuredRate,
    age,
    depth_of,
    of_whole_line,
    others_of,
    rates,
)
from jharnet_monitor.model import (
    LONG_TESTS,
    Direction,
    Measurement,
    Outcome,
    format_utc,
    parse_utc,
)

_OLDEST = {
    SPEED_TEST: 7 * DAY, TRAINS: 2 * DAY, LATENCY: 600.0, ROUTER: 900.0,
    **dict.fromkeys(LONG_TESTS.values(), 15 * DAY),
}  # fmt: skip
"""Seconds after which a measurement says nothing of the line any more. A long speed test is due
each week, echo requests each minute, the router's counters every five minutes."""
_KEPT = re.compile(
    "path|(idle_rtt|rtt_p50)_seconds|loss_ratio"
    "|(down|up)load_((sustained_)?bits_per_second(_low|_high)?|capacity_bits_per_second"
    "|loaded_rtt_seconds|limited_by|bucket_bytes|queue_seconds|capacity_uncertainty|capacity_at_least)"
)
"""Quantities and conditions on which the line can depend, and the route, which names the test."""
_MOST = 1e12
"""Larger numbers in a stored line are refused."""
_LEAST_COMBINED = 0.03
"""Uncertainty of a rate, whatever agrees on it."""
_UNKNOWN_DEPTH, _ASSUMED_QUEUE, _LEAST_QUEUE = 1.0, 0.2, 0.02
"""`queue_doubt` of a depth that the call did not meet, and what is assumed then, in seconds; the
shortest queue."""
_LEAST_OTHERS, _OTHERS_SHARE = 15e3, 0.05
"""Less traffic of others, in bit/s or as a share of the rate, is none."""
_FILLED = 0.8
"""Share of a policer's rate from which it dropped packets of a call that came through with that."""
_SURELY_BELOW = 3.0
"""Standard deviations from which a lower bound of the rate says nothing new, or everything."""
_SHORTER = 0.9
"""A round trip of echo requests below this share of the call's was longer in the call because of a
queue."""


@dataclass(frozen=True, slots=True)
class CallLine:
    """What a call alone shows of the line."""

    line: LineModel
    met: frozenset[Direction] = frozenset()
    """Directions whose bottleneck the call itself filled; of others it at most guessed the rate."""
    carried: Mapping[Direction, float] = field(default_factory=dict)
    """What came through in the busiest seconds, in bit/s: the line carries at least that."""

    def to_json(self) -> dict[str, Any]:
        """The call's line as plain data."""
        return {
            "line": self.line.to_json(),
            "met": sorted(way.value for way in self.met),
            "carried": {way.value: round(rate) for way, rate in self.carried.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read `to_json`; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
        carried = {Direction(way): float(rate) for way, rate in data["carried"].items()}
        met = frozenset(map(Direction, data["met"]))
        return cls(checked_line(data["line"]), met, carried)


def checked_line(data: Mapping[str, Any]) -> LineModel:
    """A stored line; raises `ValueError`, `KeyError` or `TypeError` for what is none."""
    line = LineModel.from_json(data)
    for way in (line.down, line.up):
        for name, value in asdict(way).items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name} must be a number")
            if not 0 <= value <= _MOST or (name == "rate" and value == 0):
                raise ValueError(f"{name} must be from 0 to {_MOST:g}")
    return line


@dataclass(frozen=True, slots=True)
class LineSource:
    """A measurement that was asked, and what it gave: `down.rate`, `up.bucket`, `delay`."""

    series: str
    measurement: Measurement
    gave: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it on which the line can depend, as plain data."""
        one = self.measurement
        return {
            "series": self.series, "id": one.id, "started_at": format_utc(one.started_at),
            "gave": list(self.gave), "values": kept(one.values),
            "conditions": kept(one.conditions),
        }  # fmt: skip


def kept(data: Mapping[str, Any]) -> dict[str, Any]:
    """The values or conditions of a measurement on which a line can depend."""
    return {name: data[name] for name in sorted(data) if _KEPT.fullmatch(name)}


def measured(source: Mapping[str, Any]) -> Measurement:
    """The measurement of `LineSource.to_json`, with what is kept there; raises `ValueError`,
    `KeyError` or `TypeError` for anything else."""
    return Measurement(
        "", source["series"].partition("/")[0], parse_utc(source["started_at"]), 0.0, Outcome.OK,
        id=source["id"], values=dict(source["values"]), conditions=dict(source["conditions"]),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OfficeLine:
    """The line of an office at the time of a call."""

    line: LineModel
    at: datetime
    call: CallLine
    sources: tuple[LineSource, ...] = ()

    @property
    def is_completed(self) -> bool:
        """Whether any measurement gave something, or the line is that of the call alone."""
        return any(source.gave for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """On what the line rests, as plain data: the condition `line_evidence`."""
        return {
            "at": format_utc(self.at), "call": self.call.to_json(),
            "measured": [source.to_json() for source in self.sources],
        }  # fmt: skip


def derived(data: Mapping[str, Any]) -> OfficeLine:
    """The line that follows from the condition `line_evidence`; raises `ValueError`, `KeyError` or
    `TypeError` for bad data."""
    recent = {source["series"]: measured(source) for source in data["measured"]}
    return office_line(CallLine.from_json(data["call"]), recent, parse_utc(data["at"]))


def office_line(call: CallLine, recent: Mapping[str, Measurement], at: datetime) -> OfficeLine:
    """The line of a call that began `at`, completed by the newest measurements before it, by
    series."""
    # As it is stored, so that it can be derived again.
    call = CallLine.from_json(call.to_json())
    known = {series: one for series, one in recent.items() if _is_usable(series, age(one, at), one)}
    gave: list[tuple[str, str]] = []
    ways = {}
    for way, model in zip(Direction, (call.line.down, call.line.up), strict=True):
        new, found = _way(model, way, call, known, at)
        ways[way] = new
        gave += [(series, f"{way}.{what}") for series, what in found]
    line = replace(call.line, down=ways[Direction.DOWN], up=ways[Direction.UP])
    line, shorter = _with_shorter_delay(line, known.get(LATENCY) if call.met else None)
    gave += [(LATENCY, "delay")] if shorter else []
    sources = tuple(
        LineSource(series, known[series], tuple(name for given, name in gave if given == series))
        for series in sorted(known)
    )
    return OfficeLine(line, at, call, sources)


def _is_usable(series: str, age: float, one: Measurement) -> bool:
    return 0 <= age <= _OLDEST.get(series, -1.0) and not one.conditions.get("under_load")


def _way(
    model: DirectionModel, way: Direction, call: CallLine,
    known: Known, at: datetime,
) -> tuple[DirectionModel, list[tuple[str, str]]]:  # fmt: skip
    """One direction, completed, and what gave what."""
    gave: list[tuple[str, str]] = []
    carried, met = call.carried.get(way, 0.0), way in call.met
    others = 0.0 if met or model.others or model.transfer_on else others_of(way, known)
    found = next(rates(way, known, at, carried), None)
    if found is not None:
        whole, others = of_whole_line(found, others, way, known)
        rated = _rated(model, whole, met=met)
        if rated != model:
            gave.append((found.series, "rate"))
            gave += [(TRAINS, "rate")] if whole.rate != found.rate else []
        model = rated
        if found.bucket and not met:
            model = replace(model, bucket=found.bucket)
            gave.append((found.series, "bucket"))
            if model.loss and carried >= _FILLED * found.rate:
                own = _without_policed_loss(model, known)
                gave += [(found.series, "loss")] if own != model else []
                model = own
    queued = _with_depth(model, depth_of(way, known, at))
    if queued is not None:
        model, series = queued
        gave.append((series, "queue"))
    others = min(others, model.rate - carried)
    if others >= max(_LEAST_OTHERS, _OTHERS_SHARE * model.rate):
        model = replace(model, others=others)
        gave.append((ROUTER, "others"))
    if gave and not met and not (found and found.burst):
        model = _not_below(model, carried + model.others)
    return model, gave


def _with_depth(
    model: DirectionModel, measured_depth: tuple[str, float, float]
) -> tuple[DirectionModel, str] | None:
    """The direction with a measured depth of its queue, and what measured it; None where the call
    saw the queue overflow, or one as deep."""
    series, depth, doubt = measured_depth
    if model.bucket or model.queue_doubt != _UNKNOWN_DEPTH:
        return None
    seen = model.queue > _ASSUMED_QUEUE  # by the call, without any overflow: it is deeper
    if depth <= model.queue and (seen or series not in LONG_TESTS.values()):
        return None
    return replace(model, queue=max(_LEAST_QUEUE, depth), queue_doubt=doubt), series


def _without_policed_loss(model: DirectionModel, known: Known) -> DirectionModel:
    """The direction of a policer that the call took for loss: its own loss is at most what echo
    requests lost, which are too few for a policer to drop."""
    pinged = known[LATENCY].values.get("loss_ratio", 0.0) if LATENCY in known else 0.0
    if pinged >= model.loss:
        return model
    burst = model.burst if pinged else 1.0
    return replace(model, loss=pinged, burst=burst, loss_doubt=model.loss_doubt if pinged else 0.0)


def _not_below(model: DirectionModel, least: float) -> DirectionModel:
    """The direction whose uncertain rate is at least `least`, which it carried: the mean and the
    standard deviation of the logarithm's normal distribution above it."""
    if not model.rate_doubt or least <= 0:
        return model
    normal, cut = NormalDist(), log(least / model.rate) / model.rate_doubt
    if cut < -_SURELY_BELOW:
        return model
    if cut > _SURELY_BELOW:  # the limit of what follows, which is too small to compute
        hazard, share = cut + 1 / cut, 1 / cut**2
    else:
        hazard = normal.pdf(cut) / (1 - normal.cdf(cut))
        share = max(0.0, 1 + cut * hazard - hazard**2)
    return replace(
        model,
        rate=model.rate * exp(hazard * model.rate_doubt),
        rate_doubt=max(_LEAST_COMBINED, model.rate_doubt * sqrt(share)),
    )


def _rated(model: DirectionModel, found: MeasuredRate, *, met: bool) -> DirectionModel:
    """The direction with the rate that follows from the call and the measurement."""
    guessed = model.rate_doubt > 0  # else the call saw no bottleneck at all
    if found.bound:
        higher = not guessed and found.rate > model.rate
        return replace(model, rate=found.rate) if higher else model
    if not guessed:
        return replace(model, rate=found.rate, rate_doubt=max(found.doubt, _LEAST_COMBINED))
    difference = log(found.rate / model.rate)
    if abs(difference) <= AGREE * hypot(found.doubt, model.rate_doubt):
        weights = found.doubt**-2, model.rate_doubt**-2
        share = weights[0] / sum(weights)
        doubt = max(sum(weights) ** -0.5, _LEAST_COMBINED)
        return replace(model, rate=model.rate * exp(share * difference), rate_doubt=doubt)
    if met:
        return model  # the line was another one while the call lasted
    return replace(model, rate=found.rate, rate_doubt=hypot(found.doubt, difference / 2))


def _with_shorter_delay(line: LineModel, pings: Measurement | None) -> tuple[LineModel, bool]:
    """The line with the round trip of echo requests, if the call's had a queue in it."""
    trip = None if pings is None else pings.values.get("rtt_p50_seconds")
    own = line.down.delay + line.up.delay
    if trip is None or not 0 < trip < _SHORTER * own:
        return line, False

    def shorter(way: DirectionModel) -> DirectionModel:
        delay = way.delay * trip / own
        return replace(way, delay=delay, jitter=min(way.jitter, delay))

    return replace(line, down=shorter(line.down), up=shorter(line.up)), True
