"""The order for a trace, limited by the agent whoever sends it, and where a trace can go."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jharnet_monitor.config.schema import PathProbe


MOST_HOPS = 24
EXTENDED = 3
"""If packets are lost, a trace is extended to this multiple: few packets do not locate the loss."""
EXTRA_SECONDS = 40.0
"""Extra time for finding the path, and for sizes and marks."""
_MOST_ROUNDS, _LEAST_SPACING = 600, 0.02
_MOST_MARKS = 4


@dataclass(frozen=True, slots=True)
class TraceOrder:
    """A trace of `rounds` packets to every hop, `spacing` seconds apart.

    A packet that is not answered within `timeout` seconds is lost. `marks` are the code points to
    test. At a loss ratio above `loss` the trace is extended.
    """

    rounds: int
    spacing: float
    timeout: float
    loss: float
    marks: tuple[int, ...] = ()

    @classmethod
    def of(cls, settings: PathProbe, loss: float) -> TraceOrder:
        """By the configuration."""
        return cls(settings.rounds, settings.spacing, settings.timeout, loss, tuple(settings.marks))

    @property
    def seconds(self) -> float:
        """How long the trace may take."""
        rounds = self.rounds * self.spacing * EXTENDED
        return rounds + EXTENDED * self.timeout + EXTRA_SECONDS

    def to_params(self) -> dict[str, Any]:
        """As the hub sends it to an agent."""
        return {**asdict(self), "marks": list(self.marks)}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> TraceOrder:
        """Parse it at the agent; raises `ValueError`. The target is always the agent's own hub."""
        rounds, marks = params.get("rounds"), params.get("marks")
        times = [params.get(name) for name in ("spacing", "timeout", "loss")]
        if type(rounds) is not int or not all(type(one) in (int, float) for one in times):
            raise ValueError("a trace needs its rounds and times")
        if not isinstance(marks, list) or not all(type(m) is int and 0 < m < 64 for m in marks):
            raise ValueError("marks are code points from 1 to 63")
        spacing, timeout, loss = map(float, times)  # type: ignore[arg-type]
        return cls(
            min(max(rounds, 1), _MOST_ROUNDS),
            max(spacing, _LEAST_SPACING),
            min(max(timeout, 0.1), 5.0),
            loss,
            tuple(marks[:_MOST_MARKS]),
        )


def flow_of(office: str) -> int:
    """The identifier and port of an office's traces: always the same, so that load balancing does
    not look like a change of the path.

    >>> flow_of("potka") == flow_of("potka"), 33_000 < flow_of("potka") < 53_500
    (True, True)
    """
    return 33_440 + zlib.crc32(office.encode()) % 20_000


def is_ipv4(address: str) -> bool:
    """Whether a trace can go there."""
    try:
        IPv4Address(address)
    except ValueError:
        return False
    return True
