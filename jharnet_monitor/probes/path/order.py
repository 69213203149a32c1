"""What is asked of a trace, within limits of its own whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jharnet_monitor.config.schema import PathProbe


MOST_HOPS = 24
EXTENDED = 3
"""Where packets are lost, a trace goes on for so many times as long: few packets tell no place."""
SECONDS_BESIDE = 40.0
"""For finding the way, for sizes and marks, whatever the rounds take."""
_MOST_ROUNDS, _LEAST_SPACING = 600, 0.02
_MOST_MARKS = 4


@dataclass(frozen=True, slots=True)
class TraceOrder:
    """A trace of `rounds` packets to every hop, `spacing` seconds apart.

    A packet that is not answered within `timeout` seconds is lost. `marks` are the code points of
    which it is asked where they arrive. From `loss` on the trace is extended.
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
        return rounds + EXTENDED * self.timeout + SECONDS_BESIDE

    def to_params(self) -> dict[str, Any]:
        """As the hub sends it to an agent."""
        return {**asdict(self), "marks": list(self.marks)}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> TraceOrder:
        """As an agent reads it; raises `ValueError`. The target is the agent's own hub, always."""
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
