"""Faults of the line or the office's network that a router's interface counters show. Pure. A cable
or switch port that runs at half duplex or damages packets slows down every test with a PC behind
it. That is not a fault of the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jharnet_monitor.model import Direction

HALF, FULL = "half", "full"
"""Duplex of an interface, in conditions."""
LAN_DUPLEX, LAN_ERRORS = "lan_duplex", "lan_errors"
"""Conditions of a reading: the duplex, and whether too many packets were damaged."""
MOST_ERRORS = 0.001
"""A sound cable damages far fewer packets (IEEE 802.3 allows one in ten million)."""
MOST_DISCARDS = 0.01
"""A larger share means that the router's queue is often full."""
SLOWER = 0.95
"""An interface below this share of the contract cannot carry it."""
FEWEST_READINGS, FAULTY_SHARE = 12, 0.5
"""An hour of readings, of which at least half show the fault."""


class InterfaceFault(StrEnum):
    """A fault shown by a router's interface."""

    LAN_DUPLEX = "lan_duplex"
    LAN_ERRORS = "lan_errors"
    LINE_DUPLEX = "line_duplex"
    LINE_ERRORS = "line_errors"
    QUEUE_FULL = "queue_full"
    """The router had no room for what the office sent: its line was full."""
    TOO_SLOW = "too_slow"
    """The interface to the line is slower than the contract."""


def interface_faults(
    values: Mapping[str, float], conditions: Mapping[str, Any], contracted: float | None
) -> Iterator[InterfaceFault]:
    """The faults that one reading shows; `contracted` is in bit/s.

    >>> seen = {"lan_duplex": "half", "interface_bits_per_second": 2e6}
    >>> [fault.value for fault in interface_faults({"upload_error_ratio": 0.02}, seen, 4e6)]
    ['lan_duplex', 'line_errors', 'too_slow']
    """
    if conditions.get(LAN_DUPLEX) == HALF:
        yield InterfaceFault.LAN_DUPLEX
    if values.get("lan_error_ratio", 0.0) > MOST_ERRORS:
        yield InterfaceFault.LAN_ERRORS
    if conditions.get("duplex") == HALF:
        yield InterfaceFault.LINE_DUPLEX
    errors = [values.get(f"{way.transfer}_error_ratio", 0.0) for way in Direction]
    if max(errors) > MOST_ERRORS:
        yield InterfaceFault.LINE_ERRORS
    if values.get("upload_discard_ratio", 0.0) > MOST_DISCARDS:
        yield InterfaceFault.QUEUE_FULL
    speed = conditions.get("interface_bits_per_second")
    if contracted is not None and speed is not None and speed < SLOWER * contracted:
        yield InterfaceFault.TOO_SLOW


@dataclass(slots=True)
class LanReadings:
    """Counts readings of the office's own network, and those that show a fault."""

    seen: int = 0
    faulty: int = 0

    def add(self, conditions: Mapping[str, Any], count: int = 1) -> None:
        """Count readings with these conditions."""
        if LAN_DUPLEX in conditions or LAN_ERRORS in conditions:
            self.seen += count
            if conditions.get(LAN_DUPLEX) == HALF or conditions.get(LAN_ERRORS):
                self.faulty += count

    @property
    def is_faulty(self) -> bool:
        """Whether the office's own network has a fault most of the time."""
        return self.seen >= FEWEST_READINGS and self.faulty >= FAULTY_SHARE * self.seen
