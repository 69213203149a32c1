"""Shared by the latency tests: a listener, a clock that is set, and a configuration."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from jharnet_monitor.config import Config
from jharnet_monitor.probes.latency.icmp import EchoSocket, PingNotAllowed
from jharnet_monitor.probes.latency.pinger import Echo, UnexpectedReply
from jharnet_monitor.probes.latency.timestamps import Timebase


def may_ping() -> bool:
    """Whether this process may send echo requests."""
    try:
        EchoSocket(4).close()
    except PingNotAllowed:
        return False
    return True


pings = pytest.mark.skipif(not may_ping(), reason="needs net.ipv4.ping_group_range or root")


@dataclass
class Listener:
    """A listener that records all outcomes."""

    echoes: list[Echo] = field(default_factory=list)
    unexpected_replies: Counter[UnexpectedReply] = field(default_factory=Counter)

    def settled(self, echo: Echo) -> None:
        self.echoes.append(echo)

    def unexpected(self, echo: Echo, kind: UnexpectedReply) -> None:
        self.unexpected_replies[kind] += 1

    @property
    def rtts(self) -> list[float]:
        return [echo.rtt for echo in self.echoes if echo.rtt is not None]


class SteppedClock(Timebase):
    """A wall clock that is set forward by `step` seconds at the real time `at`."""

    def __init__(self, step: float, at: float) -> None:
        self.step_ns, self.at_ns = round(step * 1e9), round(at * 1e9)

    def wall_ns(self) -> int:
        return self.timestamp_ns(time.time_ns())

    def timestamp_ns(self, timestamp: int) -> int:
        return timestamp + (self.step_ns if timestamp >= self.at_ns else 0)


def settings_for(*offices: dict[str, str], gateway: str | None = None, **latency: Any) -> Config:
    """A configuration with offices `o0`, `o1` … at these addresses."""
    uplink = {"contracted": "34 Mbit/s", "gateway": gateway}
    return Config.model_validate(
        {
            "district": {"id": "d", "name": "D", "name_hi": "D"},
            "hub": {"tls": False, "uplink": uplink},
            "probes": {"latency": latency},
            "offices": [
                {"id": f"o{n}", "name": "O", "name_hi": "O", **addresses}
                for n, addresses in enumerate(offices)
            ],
        }
    )
