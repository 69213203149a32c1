"""The line between two ends of a call as a model for the twin. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

UNLIMITED = 20e6
"""bit/s of a direction without a bottleneck: more than any client sends."""


@dataclass(frozen=True, slots=True)
class DirectionModel:
    """One direction of a line; rates in bit/s of IP packets, times in seconds, shares from 0 to 1.

    Packets meet, in this order: a queue of `queue` seconds before a bottleneck of `rate`, or with
    `bucket` a policer whose bucket holds that many seconds of the rate; loss; a delay that is drawn
    uniformly from `delay` ± `jitter`. They do not overtake each other.
    """

    rate: float = UNLIMITED
    queue: float = 0.2
    bucket: float = 0.0
    """0 without a policer."""
    delay: float = 0.02
    jitter: float = 0.0
    loss: float = 0.0
    burst: float = 1.0
    """Mean number of packets lost in a row."""
    others: float = 0.0
    """bit/s of steady other traffic."""
    transfer_on: float = 0.0
    """Seconds for which another TCP transfer runs each time; 0 without one."""
    transfer_off: float = 0.0
    """Seconds for which it pauses."""
    rate_doubt: float = 0.0
    """Standard deviation of the natural logarithm of `rate`; the next two likewise."""
    queue_doubt: float = 0.0
    loss_doubt: float = 0.0


@dataclass(frozen=True, slots=True)
class LineModel:
    """Both directions, and interruptions that affect both."""

    down: DirectionModel = field(default_factory=DirectionModel)
    up: DirectionModel = field(default_factory=DirectionModel)
    gone: float = 0.0
    """Seconds of each interruption; 0 without any."""
    every: float = 0.0
    """Seconds from the start of one interruption to the next."""

    @property
    def has_transfers(self) -> bool:
        """Whether transfers of others fill a direction at times."""
        return self.down.transfer_on > 0 or self.up.transfer_on > 0

    def to_json(self) -> dict[str, Any]:
        """The line as plain data, without what is at its default."""
        return {
            "down": _short(self.down), "up": _short(self.up),
            **({"gone": self.gone, "every": self.every} if self.gone else {}),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The line of `to_json`; raises `TypeError` for unknown keys.

        >>> LineModel.from_json({"down": {}, "up": {}, "gone": 1.0, "every": 9.0}).every
        9.0
        """
        return cls(
            DirectionModel(**data["down"]),
            DirectionModel(**data["up"]),
            data.get("gone", 0.0),
            data.get("every", 0.0),
        )

    def changed(
        self,
        rate: float | None = None,
        loss: float | None = None,
        round_trip: float | None = None,
        clients: int = 1,
    ) -> LineModel:
        """The line with another rate each way, loss or round trip, or shared by `clients` calls.

        Each of several simultaneous calls gets an equal share of what steady others leave of the
        bottleneck's rate, behind the same queue.

        >>> line = LineModel(DirectionModel(rate=2e6), DirectionModel(rate=1e6, others=3e5))
        >>> two = line.changed(rate=4e6, clients=2)
        >>> two.up.rate, two.up.others
        (2000000.0, 150000.0)
        """
        directions = []
        for direction in (self.down, self.up):
            new = direction
            if rate is not None:
                new = replace(new, rate=rate, rate_doubt=0.0)
            if loss is not None:
                new = replace(
                    new, loss=loss, burst=direction.burst if loss else 1.0, loss_doubt=0.0
                )
            if round_trip is not None:
                half = round_trip / 2
                new = replace(new, delay=half, jitter=min(new.jitter, half))
            directions.append(replace(new, rate=new.rate / clients, others=new.others / clients))
        return replace(self, down=directions[0], up=directions[1])


def _short(direction: DirectionModel) -> dict[str, float]:
    default = asdict(DirectionModel())
    return {
        key: _rounded(value) for key, value in asdict(direction).items() if value != default[key]
    }


def _rounded(value: float) -> float:
    """Six digits: all that the model can hold, and the same after writing and reading."""
    return float(f"{value:.6g}")
