"""The result of a visit, and the checked reading made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import Failed, NoData, Reading
from jharnet_monitor.probes.service.order import MOST_REDIRECTS, VisitOrder
from jharnet_monitor.probes.service.stopwatch import Phase, Stopwatch

FAILURES = frozenset({
    Cause.CERTIFICATE_INVALID, Cause.CONNECTION_FAILED, Cause.HTTP_ERROR, Cause.INTERRUPTED,
    Cause.NAME_NOT_RESOLVED, Cause.PROXY_FAILED, Cause.REDIRECTED, Cause.TIMEOUT, Cause.TLS_ERROR,
    Cause.WRONG_PAGE,
})  # fmt: skip
"""Causes for which a visit fails because of the network or the service."""
SPARE_SECONDS, SPARE_BYTES = 1.0, 65_536
"""What a visit may take beyond its limits before it stops."""
MOST_OVERHEAD_BYTES = 100_000
CENTURY_SECONDS = 100 * 366 * 86400.0
_TIMED = {
    Phase.DNS: "dns_seconds",
    Phase.CONNECT: "connect_seconds",
    Phase.TLS: "tls_seconds",
    Phase.FIRST_BYTE: "first_byte_seconds",
}
"""The phases that are quantities; what is left of `total_seconds` is the page's transfer."""


@dataclass(slots=True)
class VisitResult:
    """One visit; a phase that was not reached is not in `seconds`."""

    seconds: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    bytes: int = 0
    """Of the page's body, as they came over the line."""
    spent: int = 0
    """Of the line, both ways, estimated."""
    requests: int = 0
    status: int | None = None
    certificate_expires: float | None = None
    """In seconds since 1970."""
    truncated: bool = False
    proxied: bool = False
    cause: Cause | None = None
    phase: Phase | None = None
    """The phase in which it broke off."""
    detail: str = ""

    def take(self, watch: Stopwatch) -> None:
        """Copy the times of a stopped watch, without the incomplete phase."""
        self.seconds = {
            phase.value: took for phase, took in watch.seconds.items() if phase is not self.phase
        }
        self.total = watch.total
        self.certificate_expires = watch.certificate_expires

    def to_message(self) -> dict[str, Any]:
        """As an agent sends it to the hub."""
        return asdict(self)


def reading_of(
    report: Mapping[str, Any], order: VisitOrder, end: str, now: float, elapsed: float
) -> Reading:
    """The reading of a result; raises `Failed`, or `NoData` for an impossible result. `now` is in
    seconds since 1970, `elapsed` the seconds after which the hub had the result. The expiry of a
    certificate is compared with the hub's clock, not the office's.
    """
    longest = min(order.seconds, elapsed) + SPARE_SECONDS
    total = number_of(report, "total", longest)
    seconds = report.get("seconds")
    if not isinstance(seconds, Mapping) or not set(seconds) <= set(Phase):
        raise NoData(Cause.BAD_REPORT, "no such phases")
    phases = {phase: number_of(seconds, phase, longest) for phase in Phase if phase in seconds}
    if sum(phases.values()) > total + 1e-3:
        raise NoData(Cause.BAD_REPORT, "the phases are longer than the whole")
    size = number_of(report, "bytes", order.most + SPARE_BYTES)
    spent = number_of(report, "spent", 2 * order.most + SPARE_BYTES + MOST_OVERHEAD_BYTES)
    requests = number_of(report, "requests", MOST_REDIRECTS + 1)
    conditions: dict[str, Any] = {"end": end, "bytes_spent": int(spent), "requests": int(requests)}
    conditions |= {flag: True for flag in ("proxied", "truncated") if report.get(flag) is True}
    values = {_TIMED[phase]: took for phase, took in phases.items() if phase in _TIMED}
    if report.get("status") is not None:
        values["status_code"] = number_of(report, "status", 599, least=100)
    if report.get("certificate_expires") is not None:
        expires = number_of(report, "certificate_expires", now + CENTURY_SECONDS)
        values["certificate_expiry_seconds"] = expires - now
    cause = _cause(report)
    if cause is None:
        if not {Phase.FIRST_BYTE, Phase.TRANSFER} <= set(phases):
            raise NoData(Cause.BAD_REPORT, "neither a page nor an error")
        values["bytes"] = size
        if "truncated" not in conditions:  # else the time of the whole page is unknown
            values["total_seconds"] = total
        return Reading(values, conditions)
    if report.get("phase") in set(Phase):
        conditions["phase"] = str(report["phase"])
    detail = "".join(c for c in str(report.get("detail", ""))[:100] if c.isprintable())
    if cause is Cause.HOST_OVERLOADED:
        raise NoData(cause, detail, conditions=conditions)
    raise Failed(cause, detail, values=values, conditions=conditions)


def _cause(report: Mapping[str, Any]) -> Cause | None:
    """Why the visit failed; raises `NoData` for an unknown cause."""
    cause = report.get("cause")
    if cause is None:
        return None
    for known in (*FAILURES, Cause.HOST_OVERLOADED):
        if cause == known.value:
            return known
    raise NoData(Cause.BAD_REPORT, "no such cause")


def number_of(report: Mapping[str, Any], name: str, most: float, least: float = 0.0) -> float:
    """A number of a report within its bounds; raises `NoData`."""
    value = report.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NoData(Cause.BAD_REPORT, f"{name} is no number")
    if not least <= value <= most:
        raise NoData(Cause.BAD_REPORT, f"{name} cannot be {value:g}")
    return float(value)
