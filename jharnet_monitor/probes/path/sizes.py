"""The largest packet size on the whole path, and where larger packets vanish silently. A router
that cannot forward a packet must report the size that fits (RFC 1191). If it does not, large
packets vanish: pages stop halfway and calls start without a picture, while every ping is answered.
Small packets sent together with large ones tell such a black hole from loss (RFC 8899).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.probes.path.prober import Prober, SentPacket
from jharnet_monitor.probes.path.sockets import AnswerKind

SMALLEST = 576
"""Every IPv4 host accepts this size (RFC 791)."""
LARGEST = 1500
_TRIES = 4
_MORE_TRIES = 8
"""For a size that did not pass: this many packets are hardly ever lost in a row."""
_STEPS = 8
_GAP_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class PathMtu:
    """The largest packet that reached the target, in IP bytes.

    `reported_by` is the router that reported it. If larger packets vanish silently, `lost_after` is
    the last hop that they reach, and `lost_before` the next hop that only smaller ones reach.
    """

    bytes: int
    reported_by: str | None = None
    lost_after: int | None = None
    lost_before: int | None = None

    def to_message(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "bytes": self.bytes, "told_by": self.reported_by,
            "lost_after": self.lost_after, "lost_before": self.lost_before,
        }  # fmt: skip


async def path_mtu(prober: Prober, end: int) -> PathMtu | None:
    """Find the path MTU; `end` is the target's hop. None if not even small packets are answered."""
    limit, reported_by = LARGEST, None
    for _ in range(_STEPS):
        passed, mtu, router = await _try(prober, end, limit, _TRIES)
        if not passed and mtu is None:
            passed, mtu, router = await _try(prober, end, limit, _MORE_TRIES)
        if passed:
            return PathMtu(limit, reported_by)
        if mtu is None or not SMALLEST <= mtu < limit:
            break
        limit, reported_by = mtu & ~1, router
    found = await _search(prober, end, limit)
    if found is None:
        return None
    after, before = await _vanishing(prober, end, found, limit)
    return PathMtu(found, reported_by, after, before)


async def _search(prober: Prober, end: int, too_large: int) -> int | None:
    """The largest even size below `too_large` that passes, by trying ever finer steps."""
    low, high = SMALLEST, too_large
    if not (await _try(prober, end, low, _TRIES))[0]:
        return None
    while high - low > 2:
        step = max(2, (high - low) // _STEPS & ~1)
        sizes = list(range(low + step, high, step))
        passed = await _pass(prober, end, sizes)
        best = max((size for size in sizes if size in passed), default=low)
        above = min((size for size in sizes if size > best), default=high)
        low, high = best, above
    return low


async def _vanishing(prober: Prober, end: int, fits: int, vanishes: int) -> tuple[int, int]:
    """The last hop that a too large packet reaches, and the next hop that a fitting one reaches."""
    reached = {True: {0}, False: {0, end}}
    for _ in range(_TRIES):
        sent: list[tuple[bool, SentPacket]] = []
        for ttl in range(1, end):
            for is_large, size in ((True, vanishes), (False, fits)):
                sent.append((is_large, prober.send(ttl, size)))
                await prober.pause(_GAP_SECONDS)
        await prober.settle([packet for _, packet in sent])
        for is_large, packet in sent:
            if packet.answer is not None and packet.answer.kind is not AnswerKind.TOO_BIG:
                reached[is_large].add(packet.ttl)
    after = max(reached[True])
    return after, min(ttl for ttl in reached[False] if ttl > after)


async def _try(
    prober: Prober, end: int, size: int, tries: int
) -> tuple[bool, int | None, str | None]:
    """Whether a size passes, else the size that would, and the router that reported it. No router
    if this host's own link is the limit.
    """
    sent = []
    for _ in range(tries):
        try:
            sent.append(prober.send(end, size))
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                prober.read()
                return False, prober.socket.link_mtu, None
            raise
        await prober.pause(_GAP_SECONDS)
    await prober.settle(sent)
    answers = [packet.answer for packet in sent if packet.answer is not None]
    if any(answer.kind is AnswerKind.END for answer in answers):
        return True, None, None
    for answer in answers:
        if answer.kind is AnswerKind.TOO_BIG:
            return False, answer.mtu, answer.source
    return False, None, None


async def _pass(prober: Prober, end: int, sizes: list[int]) -> set[int]:
    """The sizes of which at least one packet arrived."""
    sent = []
    for _ in range(_TRIES):
        for size in sizes:
            sent.append(prober.send(end, size))
            await prober.pause(_GAP_SECONDS)
    await prober.settle(sent)
    return {
        packet.size
        for packet in sent
        if packet.answer is not None and packet.answer.kind is AnswerKind.END
    }
