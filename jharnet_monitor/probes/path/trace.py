"""One trace: the hops of the path by ICMP and UDP, their answers, and the sizes and marks that
pass."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData, do_nothing
from jharnet_monitor.probes.path.order import EXTENDED, MOST_HOPS, TraceOrder
from jharnet_monitor.probes.path.prober import AnyTraceSocket, Prober, SentPacket
from jharnet_monitor.probes.path.sizes import PathMtu, path_mtu
from jharnet_monitor.probes.path.sockets import (
    AnswerKind,
    Protocol,
    QuoteListener,
    TraceSocket,
)
from jharnet_monitor.probes.path.windows_socket import WindowsTraceSocket

SIZE = 64
"""Bytes of a packet to a hop."""
_GAP_SECONDS = 0.01
_FIND_TRIES, _SPARE_HOPS = 3, 2
"""Packets to each hop until the path is known, and hops tried behind the last that answered."""
_MARK_TRIES = 3
_LAST_SECONDS = 0.5


@dataclass(slots=True)
class HopTally:
    """The outcomes of the packets whose time to live ended at one hop."""

    ttl: int
    sent: int = 0
    rtts: list[float] = field(default_factory=list)
    received: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    found: str | None = None
    """The address that answered during the search for the path."""
    is_end: bool = False

    def count(self, packet: SentPacket) -> None:
        """Count a packet that was answered or is lost."""
        self.sent += 1
        if packet.answer is None:
            return
        self.received += 1
        self.sources[packet.answer.source] += 1
        self.is_end |= packet.answer.kind is AnswerKind.END
        if packet.rtt is not None:
            self.rtts.append(packet.rtt)

    @property
    def address(self) -> str | None:
        """The address that answered most often; None if none did."""
        return self.sources.most_common(1)[0][0] if self.sources else self.found


@dataclass(slots=True)
class TraceResult:
    """One trace from one end to the other."""

    target: str
    protocol: Protocol
    flow: int = 0
    """Identifier or source port of its packets; not the wanted one where that was taken."""
    reached: bool = False
    hops: list[HopTally] = field(default_factory=list)
    other: list[str | None] = field(default_factory=list)
    """The path of the other protocol, by hop."""
    mtu: PathMtu | None = None
    marks: dict[int, list[int | None]] = field(default_factory=dict)
    """By sent code point: the code point with which each hop received it; empty without
    CAP_NET_RAW."""
    bytes: int = 0

    def to_message(self) -> dict[str, Any]:
        """As an agent sends it to the hub."""
        return {
            "protocol": self.protocol.value,
            "reached": self.reached,
            "hops": [
                [hop.ttl, hop.address, hop.sent, hop.received,
                 median(hop.rtts) if hop.rtts else None]
                for hop in self.hops
            ],
            "other": self.other,
            "mtu": None if self.mtu is None else self.mtu.to_message(),
            "marks": [[mark, *seen] for mark, seen in self.marks.items()],
            "bytes": self.bytes,
        }  # fmt: skip


async def trace(
    target: str,
    order: TraceOrder,
    flow: int,
    clock: Clock,
    before_rounds: Callable[[], Awaitable[None]] = do_nothing,
) -> TraceResult:
    """Trace the path to an IPv4 address; raises `NoData` if nothing could be sent.

    `before_rounds` is called when only the rounds remain; not if the search has not met the target,
    as sizes and marks then come last.
    """
    with _probers(target, order, flow, clock) as probers:
        routes = await asyncio.gather(*map(_find, probers))
        found = list(zip(routes, probers, strict=True))
        best, prober = max(found, key=lambda one: (one[0].reached, one[0].last))
        result = TraceResult(target, prober.socket.protocol, prober.socket.identifier)
        result.other = [
            route.addresses.get(ttl)
            for route, other in found
            if other is not prober
            for ttl in range(1, route.last + 1)
        ]
        udp = next((p for p in probers if p.socket.protocol is Protocol.UDP), None)
        if best.end is not None:
            result.mtu = await _probe_sizes(prober, best.end)
            result.marks = await _probe_marks(udp, best.end, order.marks)
            await before_rounds()
        await _probe_hops(result, prober, best, order)
        end = len(result.hops)
        if end != best.end:  # only the rounds have shown the path as it is
            result.mtu = await _probe_sizes(prober, end) if result.reached else None
            result.marks = await _probe_marks(udp, end, order.marks)
        elif not result.reached:
            result.mtu = None
        result.bytes = sum(one.bytes for one in probers)
        return result


@contextmanager
def _probers(target: str, order: TraceOrder, flow: int, clock: Clock) -> Iterator[list[Prober]]:
    """One for each protocol that this process may use."""
    with ExitStack() as stack:
        probers, why = [], ""
        for protocol in Protocol:
            try:
                prober = Prober(_open(protocol, target, flow), clock, order.timeout)
            except OSError as error:
                why = str(error)
                continue
            stack.callback(prober.close)
            probers.append(prober)
        if not probers:
            raise NoData(Cause.NOT_SENT, why)
        yield probers


def _open(protocol: Protocol, target: str, flow: int) -> AnyTraceSocket:
    if sys.platform == "win32":
        return WindowsTraceSocket(protocol, target)
    return TraceSocket(protocol, target, flow)


@dataclass(slots=True)
class _FoundRoute:
    """The path as far as it is known: the address that answers at each hop."""

    addresses: dict[int, str] = field(default_factory=dict)
    end: int | None = None

    @property
    def reached(self) -> bool:
        """Whether the target answered."""
        return self.end is not None

    @property
    def last(self) -> int:
        """The last hop worth probing."""
        if self.end is not None:
            return self.end
        return min(MOST_HOPS, max(self.addresses, default=0) + _SPARE_HOPS)


async def _find(prober: Prober) -> _FoundRoute:
    """Find the addresses that answer, up to the target."""
    route = _FoundRoute()
    for _ in range(_FIND_TRIES):
        sent = []
        for ttl in range(1, (route.last if route.addresses or route.end else MOST_HOPS) + 1):
            sent.append(_send(prober, ttl, SIZE))
            await prober.pause(_GAP_SECONDS)
        await prober.settle(sent)
        for packet in sent:
            answer = packet.answer
            if answer is None:
                continue
            if answer.kind is AnswerKind.END:
                route.end = min(route.end or MOST_HOPS, packet.ttl)
            else:
                route.addresses[packet.ttl] = answer.source
    if route.end is not None:
        route.addresses = {t: a for t, a in route.addresses.items() if t < route.end}
        route.addresses[route.end] = prober.socket.target
    return route


async def _probe_hops(
    result: TraceResult, prober: Prober, route: _FoundRoute, order: TraceOrder
) -> None:
    """Send a packet to every hop in each round; more rounds if the target misses some."""
    tallies = {
        ttl: HopTally(ttl, found=route.addresses.get(ttl)) for ttl in range(1, route.last + 1)
    }
    for extension in range(EXTENDED):
        sent: list[SentPacket] = []
        for _ in range(order.rounds):
            gap = min(_GAP_SECONDS, order.spacing / len(tallies)) if tallies else 0.0
            for ttl in tallies:
                sent.append(_send(prober, ttl, SIZE))
                await prober.pause(gap)
            await prober.pause(max(0.0, order.spacing - gap * len(tallies)))
        await prober.settle(sent)
        for packet in sent:
            tallies[packet.ttl].count(packet)
        if not extension and not _has_loss(tallies, order):
            break
    end = min((ttl for ttl, tally in tallies.items() if tally.is_end), default=None)
    result.reached = end is not None
    result.hops = [tally for ttl, tally in tallies.items() if end is None or ttl <= end]


def _has_loss(tallies: dict[int, HopTally], order: TraceOrder) -> bool:
    """Whether the target answers, and enough is lost to look for the place."""
    end = next((tally for tally in tallies.values() if tally.is_end), None)
    return end is not None and end.sent - end.received > order.loss * end.sent / 2


async def _probe_sizes(prober: Prober, end: int) -> PathMtu | None:
    """The largest packet that passes, where the system lets this process find it."""
    if prober.socket.finds_mtu:
        with contextlib.suppress(OSError):
            return await path_mtu(prober, end)
    return None


async def _probe_marks(
    prober: Prober | None, hops: int, marks: Sequence[int]
) -> dict[int, list[int | None]]:
    """The mark with which a packet reached each hop; empty without the right to read quotes."""
    if prober is None or not marks or not hops:
        return {}
    try:
        listener = QuoteListener(prober.socket.target, prober.socket.identifier)
    except OSError:
        return {}
    sent_marks: dict[int, tuple[int, int]] = {}
    seen: dict[tuple[int, int], Counter[int]] = {}
    try:
        for mark, ttl in _MARK_TRIES * [(m, t) for m in marks for t in range(1, hops + 1)]:
            _send(prober, ttl, SIZE, mark)
            sent_marks[prober.number] = (mark, ttl)
            await prober.pause(_GAP_SECONDS)
        await prober.pause(_LAST_SECONDS)
        for number, arrived in listener.receive():
            if number in sent_marks:
                seen.setdefault(sent_marks[number], Counter())[arrived] += 1
    finally:
        listener.close()
    return {
        mark: [
            seen[mark, ttl].most_common(1)[0][0] if (mark, ttl) in seen else None
            for ttl in range(1, hops + 1)
        ]
        for mark in marks
    }


def _send(prober: Prober, ttl: int, size: int, dscp: int = 0) -> SentPacket:
    """Send a packet; raises `NoData` if this host cannot."""
    try:
        return prober.send(ttl, size, dscp)
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error))
        raise NoData(Cause.NOT_SENT, name) from error
