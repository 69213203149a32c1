"""What a bandwidth test may take of the line, before it starts: rates, bytes, time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jharnet_monitor.judge.line.throughput import WINDOW_SECONDS, window_seconds
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.base import ProbeContext

TRAIN_PACKETS = 32
"""Packets of 1500 bytes in one train, at most."""
HEADROOM = 1.25
"""The stream may run this much faster than the contract: a line that gives more shows it."""
PACE_REACHED = 0.97
"""Of that: a stream so fast was held back by its own pace, and the line gives at least that."""
SETUP_SECONDS = 20.0
"""For either direction: the agent comes for it, and reports."""
OVERHEAD_BYTES = 60_000
"""Session, pings and reports of a whole test."""
TRAIN_BYTES = TRAIN_PACKETS * 1500
WINDOW_BYTES, MOST_CONNECTIONS = 750_000, 8
"""One connection opens its window this far while a test lasts; more under way needs more."""
SILENT_ROUND_TRIPS = 3
LONGEST_SECONDS, SLOW_ROUND_TRIPS = 1.5, 2.5
"""So much more of the line may a long one take: for what is under way, and for slow start."""
ROUND_TRIPS = 8
"""Slow start takes so many on a long line, before there is anything to measure."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a transfer may take: `rate` in bit/s, `seconds`, and IP bytes both ways.

    Over `connections` in parallel, which share the rate; judged in windows of `window` seconds, and
    given up after `silence` seconds without anything delivered.
    """

    rate: float
    seconds: float
    most_bytes: int
    connections: int = 1
    window: float = WINDOW_SECONDS
    silence: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of each direction."""

    download: Limits
    upload: Limits

    @classmethod
    def of(cls, context: ProbeContext) -> Plan:
        """By the contract, with headroom, within what was granted of the uplink.

        Without a contract the line is unknown: the test reserves what the uplink has to give.
        """
        link, uplink = context.office.link, context.config.hub.uplink.contracted
        granted = min(context.granted, uplink)
        seconds = context.config.probes.bandwidth.seconds
        rates = [granted if link is None else link.rate(each) * HEADROOM for each in Direction]
        return cls(*(_limits(min(rate, granted), seconds) for rate in rates))

    def for_line(self, idle_rtt: float) -> Plan:
        """With time for a long line, connections for a fat one, and no more bytes than promised."""
        seconds = max(self.download.seconds, 1.0 + ROUND_TRIPS * idle_rtt)

        def stretched(limits: Limits) -> Limits:
            under_way = limits.rate * idle_rtt / 8
            connections = min(MOST_CONNECTIONS, 1 + int(under_way / WINDOW_BYTES))
            filled = limits.rate / HEADROOM * (limits.seconds + SLOW_ROUND_TRIPS * idle_rtt) / 8
            return replace(
                limits,
                seconds=seconds,
                most_bytes=min(limits.most_bytes, int(filled)),
                connections=connections,
                window=window_seconds(idle_rtt),
                silence=max(limits.silence, SILENT_ROUND_TRIPS * idle_rtt),
            )

        return Plan(stretched(self.download), stretched(self.upload))

    def of_direction(self, direction: Direction) -> Limits:
        """The limits of that direction."""
        return self.download if direction is Direction.DOWN else self.upload

    @property
    def cost(self) -> int:
        """The most bytes that the test puts on the office's line, both ways together."""
        both = self.download.most_bytes + self.upload.most_bytes
        return both + OVERHEAD_BYTES + 2 * TRAIN_BYTES

    @property
    def time_limit(self) -> float:
        """Seconds after which the test has hung, on whatever line."""
        return 2 * (self.download.seconds + SETUP_SECONDS) + SETUP_SECONDS


def _limits(rate: float, seconds: float) -> Limits:
    return Limits(rate, seconds, int(rate / HEADROOM * (seconds + LONGEST_SECONDS) / 8))


TRAINS_COST = OVERHEAD_BYTES // 4 + 2 * TRAIN_BYTES
"""Bytes of a run of packet trains alone, both ways together."""
TRAINS_RESERVE = 500_000.0
"""Bit/s of the uplink for such a run: two bursts that are over before a queue notices."""
