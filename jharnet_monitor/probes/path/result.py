"""Turns the result of a trace, checked, into the conditions of a measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any

from jharnet_monitor.config.dscp import dscp_name
from jharnet_monitor.judge.path import (
    HopFigures,
    MarkArrivals,
    Marking,
    is_full,
    loss_stretch,
    mark_stretch,
    marking,
)
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.path.order import EXTENDED, MOST_HOPS, TraceOrder
from jharnet_monitor.probes.path.sizes import LARGEST, SMALLEST
from jharnet_monitor.probes.path.sockets import Protocol

_MOST_BYTES = 10_000_000
"""More than the longest trace puts on the line."""


class BadTrace(ValueError):
    """An agent's report that is impossible."""


def parse_trace(reported: object, order: TraceOrder) -> dict[str, Any]:
    """The conditions of one trace; raises `BadTrace`.

    `hops` are the routers in their order and the target, each with `address`, `sent`, `received`
    and `rtt_p50_seconds`; `protocol` is that of the packets, `reached` whether the target answered,
    `bytes_spent` what the trace put on the line.
    """
    if not isinstance(reported, Mapping):
        raise BadTrace("no trace")
    hops = [_hop(row, order) for row in _rows(reported.get("hops"), MOST_HOPS)]
    if reported.get("protocol") not in set(Protocol):
        raise BadTrace("no such protocol")
    found: dict[str, Any] = {
        "protocol": str(reported["protocol"]),
        "reached": reported.get("reached") is True,
        "hops": hops,
        "bytes_spent": _bytes(reported.get("bytes")),
    }
    other = [_address(one) for one in _rows(reported.get("other"), MOST_HOPS)]
    own = [hop["address"] for hop in hops]
    if any(a != b for a, b in zip(other, own, strict=False) if a and b):
        found["other_protocol"] = other
    found |= _mtu(reported.get("mtu"), len(hops))
    marks = _marks(reported.get("marks"), len(hops), order)
    return found | ({"marks": marks} if marks else {})


def _rows(reported: object, most: int) -> list[Any]:
    if not isinstance(reported, list) or len(reported) > most:
        raise BadTrace("too many hops")
    return reported


def _bytes(reported: object) -> int:
    if type(reported) is not int or not 0 <= reported <= _MOST_BYTES:
        raise BadTrace("no trace takes so many bytes")
    return reported


def _hop(row: object, order: TraceOrder) -> dict[str, Any]:
    if not isinstance(row, list) or len(row) != 5:
        raise BadTrace("a hop has five figures")
    _, address, sent, received, rtt = row
    if type(sent) is not int or type(received) is not int:
        raise BadTrace("packets are counted")
    if not 0 <= received <= sent <= order.rounds * EXTENDED:
        raise BadTrace("more answers than packets")
    hop: dict[str, Any] = {"address": _address(address), "sent": sent, "received": received}
    if rtt is not None:
        if type(rtt) not in (int, float) or not 0 <= rtt <= order.timeout:
            raise BadTrace("a round trip cannot be so long")
        hop["rtt_p50_seconds"] = float(rtt)
    return hop


def _address(reported: object) -> str | None:
    if reported is None:
        return None
    try:
        return str(IPv4Address(str(reported)))
    except ValueError as error:
        raise BadTrace("no such address") from error


def _mtu(reported: object, hops: int) -> dict[str, Any]:
    if not isinstance(reported, Mapping):
        return {}
    size = reported.get("bytes")
    if type(size) is not int or not SMALLEST <= size <= LARGEST:
        raise BadTrace("no such packet size")
    found: dict[str, Any] = {"mtu_bytes": size}
    if reported.get("told_by") is not None:
        found["mtu_told_by"] = _address(reported["told_by"])
    after, before = reported.get("lost_after"), reported.get("lost_before")
    if after is not None:
        if type(after) is not int or type(before) is not int or not 0 <= after < before <= hops:
            raise BadTrace("no such hops")
        found["mtu_black_hole"] = [after, before]
    return found


def _marks(reported: object, hops: int, order: TraceOrder) -> dict[str, list[int | None]]:
    found = {}
    for row in _rows(reported, len(order.marks)):
        if not isinstance(row, list) or len(row) != hops + 1 or row[0] not in order.marks:
            raise BadTrace("no such marks")
        mark, *seen = row
        if not all(one is None or (type(one) is int and 0 <= one < 64) for one in seen):
            raise BadTrace("a mark has six bits")
        found[dscp_name(mark)] = seen
    return found


def figures(conditions: Mapping[str, Any]) -> list[HopFigures]:
    """The hops of a trace, from its conditions."""
    return [
        HopFigures(hop["sent"], hop["received"], hop.get("rtt_p50_seconds"), hop["address"])
        for hop in conditions.get("hops", ())
    ]


def values(conditions: Mapping[str, Any], back: Mapping[str, Any] | None) -> dict[str, float]:
    """The quantities of a trace that reached its target; the packet size is that of both
    directions."""
    end = figures(conditions)[-1]
    found = {"hops": float(len(conditions["hops"]))}
    if end.sent and _shows_loss(conditions):
        found["loss_ratio"] = 1 - end.received / end.sent
    if end.rtt is not None:
        found["rtt_p50_seconds"] = end.rtt
    sizes = [one["mtu_bytes"] for one in (conditions, back or {}) if "mtu_bytes" in one]
    if sizes:
        found["mtu_bytes"] = float(min(sizes))
    return found


def _shows_loss(conditions: Mapping[str, Any]) -> bool:
    """Whether the trace shows the loss: a target answers all echo requests, but not all packets to
    a closed port."""
    return bool(conditions.get("protocol") == Protocol.ICMP and conditions.get("reached"))


def locate_faults(conditions: Mapping[str, Any], loss: float) -> dict[str, Any]:
    """Where the loss begins, and where marks are cleared, as `[after, before]` by hop."""
    found: dict[str, Any] = {}
    if _shows_loss(conditions) and (stretch := loss_stretch(figures(conditions), loss)):
        found["loss_between"] = list(stretch)
    cleared = {}
    for name, seen in conditions.get("marks", {}).items():
        sent = next((one for one in range(64) if dscp_name(one) == name), None)
        if sent is not None and (stretch := mark_stretch(sent, seen)):
            cleared[name] = list(stretch)
    return found | ({"mark_cleared_between": cleared} if cleared else {})


def markings(arrivals: Mapping[Direction, Mapping[int, MarkArrivals]]) -> dict[str, Any]:
    """What happens to each mark in each direction, and the directions in which the line was
    full."""
    found: dict[str, dict[str, str]] = {}
    full = []
    for direction, by_mark in arrivals.items():
        plain = by_mark.get(0)
        if plain is None:
            continue
        if is_full(by_mark):
            full.append(direction.value)
        for mark, one in by_mark.items():
            verdict: Marking | None = marking(one, plain) if mark else None
            if verdict is not None:
                found.setdefault(dscp_name(mark), {})[direction.value] = verdict.value
    return {"marking": found, "full": full} if found else {}


def addresses(conditions: Mapping[str, Any]) -> Sequence[str | None]:
    """The address that answered at each hop."""
    return [hop["address"] for hop in conditions.get("hops", ())]
