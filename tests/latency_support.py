"""What the latency tests share: who listens, a clock that is set, a configuration of addresses."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from jharnet_monitor.config import Config
from jharnet_monitor.probes.latency.icmp import EchoSocket, PingNotAllowed
from jharnet_monitor.probes.latency.pinger import Echo, Stray
from jharnet_monitor.probes.latency.timestamps import Timebase


def may_ping() -> bool:
    """Whether this process may send echo requests at all."""
    try:
        EchoSocket(4).close()
    except PingNotAllowed:
        return False
    return True


pings = pytest.mark.skipif(not may_ping(), reason="needs net.ipv4.ping_group_range or root")


@dataclass
class Listener:
    """A listener that writes down what it hears."""

    echoes: list[Echo] = field(default_factory=list)
    strays: Counter[Stray] = field(default_factory=Counter)

    def settled(self, echo: Echo) -> None:
        self.echoes.append(echo)

    def stray(self, echo: Echo, kind: Stray) -> None:
        self.strays[kind] += 1

    @property
    def rtts(self) -> list[float]:
        return [echo.rtt for echo in self.echoes if echo.rtt is not None]


class SteppedClock(Timebase):
    """A wall clock that somebody sets by `step` seconds at the real moment `at`."""

    def __init__(self, step: float, at: float) -> None:
        self.step_ns, self.at_ns = round(step * 1e9), round(at * 1e9)

    def wall_ns(self) -> int:
        return self.stamp_ns(time.time_ns())

    def stamp_ns(self, stamp: int) -> int:
        return stamp + (self.step_ns if stamp >= self.at_ns else 0)


def settings_for(*offices: dict[str, str], gateway: str | None = None, **latency: Any) -> Config:
    """A configuration with offices `o0`, `o1` ... at these addresses."""
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
