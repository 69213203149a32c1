"""The line as observed by one end of a call: a message, and the input of the line model. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

_MOST = 1e10
"""Larger numbers in a message are refused."""


@dataclass(frozen=True, slots=True)
class ObservedLine:
    """What the arrivals show of one direction; None for what they do not show. SI units."""

    rate: float | None
    """The bottleneck's rate; None if none was met."""
    at_least: float
    """What the line carries at least."""
    available: float | None
    """The rate that arrived while there was a queue; less than `rate` if there is other traffic."""
    spread: float
    """Standard deviation of the logarithm of `available` from one time to another."""
    queue: float | None
    """The longest queue before it dropped packets; None if it dropped none."""
    longest_queue: float
    policed: bool
    """Packets were dropped because of their rate although there was no queue."""
    bucket: float | None
    """Seconds of the rate that the policer let through at once."""
    jitter: float
    """Half the width of the distribution from which each packet's delay is drawn."""
    loss: float
    """Share of packets lost without a queue as the cause."""
    burst: float
    lost: int
    """Lost packets counted in `loss`; they determine its uncertainty."""
    packets: int
    gone: float | None
    """Mean seconds of an interruption; 0 without one, None from an end that reports no arrivals."""
    transfer_on: float
    """Seconds for which other traffic filled the line each time; 0 if it was not observed."""
    transfer_off: float
    every: float
    """Seconds from one interruption to the next; for a single one, the length of the call."""
    usual_queue: float | None = None
    """The median queue; None from an agent that does not report it."""
    others: float | None = None
    """bit/s of steady other traffic on the full line; None from an agent that does not report it.
    `rate` includes it."""

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read it from an untrusted message; raises `ValueError` that names the key."""
        if not isinstance(data, Mapping):
            raise ValueError("must be a mapping")
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = data.get(field.name)
            if field.type == "bool":
                if not isinstance(value, bool):
                    raise ValueError(f"{field.name} must be true or false")
            elif value is None and "None" in str(field.type):
                pass
            elif isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{field.name} must be a number")
            elif not 0 <= value <= _MOST:
                raise ValueError(f"{field.name} must be from 0 to {_MOST:g}")
            values[field.name] = value
        return cls(**values)
