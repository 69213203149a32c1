"""The limits of a bandwidth test, set before it starts: rates, bytes and time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from jharnet_monitor.judge.line.throughput import WINDOW_SECONDS, window_seconds
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.base import ProbeContext

TRAIN_PACKETS = 32
"""Packets of 1500 bytes in the longest train."""
HEADROOM = 1.25
"""The stream is paced at this multiple of the contracted rate, so that a faster line shows."""
SETUP_SECONDS = 20.0
"""For each direction: until the agent has sent its requests, and for its report."""
OVERHEAD_BYTES = 60_000
"""Session messages, pings and reports of a whole test."""
TRAIN_BYTES = TRAIN_PACKETS * 1500
WINDOW_BYTES, MAX_CONNECTIONS = 750_000, 8
"""TCP window that one connection reaches during a test; more data in flight needs more of them."""
SILENT_ROUND_TRIPS = 4
EXTRA_SECONDS, EXTRA_ROUND_TRIPS = 1.5, 2.5
"""A test is charged for this much more time of the line: data in flight, and slow start."""
PACED_SECONDS = 3.5
"""The paced streams of a direction cost at most this time of the pace."""
SUSTAINED_SECONDS = 10.5
"""Duration of the long test of a direction, without its light start."""
SUSTAINING = "sustaining"
"""Key of a probe's memory: the options of the run that began a long test last, whose bytes are
charged if that run ends badly. No other run has the same object."""
PROXY_WINDOW_SECONDS, PROXY_SECONDS = 1.0, 1.0
"""Least length of a window, and additional time, where a proxy passes the data on."""
ROUND_TRIPS = 8
"""Slow start takes this many round trips on a long line before the rate can be measured."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a transfer: `rate` in bit/s, `seconds`, and IP bytes in both directions.

    `connections` run in parallel and share the rate. The rate is judged in windows of `window`
    seconds; the transfer is given up after `silence` seconds without any delivery.
    """

    rate: float
    seconds: float
    max_bytes: int
    connections: int = 1
    window: float = WINDOW_SECONDS
    silence: float = 1.5
    by_proxy: bool = False
    """Whether a proxy passes the data on, so that the hub's connection is not that of the line."""

    @property
    def paced_bytes(self) -> int:
        """IP bytes of the paced streams, at most."""
        return int(self.rate * PACED_SECONDS / 8)

    @property
    def sustained_bytes(self) -> int:
        """IP bytes of the long test, at most."""
        return int(self.rate * (SUSTAINED_SECONDS + 0.5) / 8)


@dataclass(frozen=True, slots=True)
class Plan:
    """The limits of both directions."""

    download: Limits
    upload: Limits

    @classmethod
    def of(cls, context: ProbeContext) -> Plan:
        """By the contracted rates with headroom, within what was granted of the uplink.

        Without a contract the line is unknown: the test reserves the whole granted rate.
        """
        link, uplink = context.office.link, context.config.hub.uplink.contracted
        granted = min(context.granted, uplink)
        seconds = context.config.probes.bandwidth.seconds
        rates = [granted if link is None else link.rate(each) * HEADROOM for each in Direction]
        return cls(*(_limits(min(rate, granted), seconds) for rate in rates))

    def for_rtt(self, idle_rtt: float) -> Plan:
        """The plan for a line with this idle RTT in seconds, never with more bytes.

        A long line gets more time, one with a large bandwidth-delay product more connections.
        """
        seconds = max(self.download.seconds, 1.0 + ROUND_TRIPS * idle_rtt)

        def adapted(limits: Limits) -> Limits:
            in_flight = limits.rate * idle_rtt / 8
            connections = min(MAX_CONNECTIONS, 1 + int(in_flight / WINDOW_BYTES))
            filled = limits.rate / HEADROOM * (limits.seconds + EXTRA_ROUND_TRIPS * idle_rtt) / 8
            return replace(
                limits,
                seconds=seconds,
                max_bytes=min(limits.max_bytes, int(filled)),
                connections=connections,
                window=window_seconds(idle_rtt),
                silence=max(limits.silence, SILENT_ROUND_TRIPS * idle_rtt),
            )

        return Plan(adapted(self.download), adapted(self.upload))

    def for_proxy(self) -> Plan:
        """The plan where a proxy passes the data on, in pieces: the windows are longer."""

        def adapted(limits: Limits) -> Limits:
            return replace(
                limits,
                seconds=limits.seconds + PROXY_SECONDS,
                window=max(limits.window, PROXY_WINDOW_SECONDS),
                by_proxy=True,
            )

        return Plan(replace(adapted(self.download), silence=inf), adapted(self.upload))

    def limits(self, direction: Direction) -> Limits:
        """The limits of one direction."""
        return self.download if direction is Direction.DOWN else self.upload

    @property
    def cost(self) -> int:
        """The largest number of IP bytes that the test puts on the line, in both directions."""
        both = self.download.max_bytes + self.upload.max_bytes
        paced = self.download.paced_bytes + self.upload.paced_bytes
        return both + paced + OVERHEAD_BYTES + 2 * TRAIN_BYTES

    @property
    def sustained_cost(self) -> int:
        """The same of the long tests of both directions."""
        return self.download.sustained_bytes + self.upload.sustained_bytes

    @property
    def time_limit(self) -> float:
        """Seconds after which the test must be over on any line."""
        each = self.download.seconds + 4 * PACED_SECONDS + SUSTAINED_SECONDS + 3 * SETUP_SECONDS
        return 2 * each + SETUP_SECONDS


def _limits(rate: float, seconds: float) -> Limits:
    return Limits(rate, seconds, int(rate / HEADROOM * (seconds + EXTRA_SECONDS) / 8))


TRAINS_COST = OVERHEAD_BYTES // 4 + 2 * TRAIN_BYTES
"""IP bytes of a run of packet trains alone, in both directions."""
TRAINS_RESERVE = 500_000.0
"""bit/s of the uplink for such a run: two bursts, too short to fill a queue."""
