"""What if: the same line with another rate, loss or delay, more calls, another client. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jharnet_monitor.judge.twin.clients import REFERENCE, Client
from jharnet_monitor.judge.twin.line import LineModel

MOST_CLIENTS = 20
_RATES = (30e3, 1e9)
_TRIPS = (0.001, 5.0)
_NUMBER = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(\S*(?:\s*\S+)?)\s*$")
_UNITS: Mapping[str, Mapping[str, float]] = {
    "rate": {"k": 1e3, "M": 1e6, "kbit/s": 1e3, "Mbit/s": 1e6, "bit/s": 1.0},
    "loss": {"%": 0.01, "": 0.01},
    "rtt": {"ms": 1e-3, "s": 1.0},
}
_EXAMPLES = {"rate": "4M", "loss": "0%", "rtt": "50ms"}
_LONGEST = 40
"""Characters of a quantity."""
PARAMETERS = ("rate", "loss", "rtt", "clients", "client")


class BadChange(ValueError):
    """An invalid change; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Change:
    """The changes to a line; None keeps a value. SI units."""

    rate: float | None = None
    loss: float | None = None
    rtt: float | None = None
    clients: int = 1
    client: str = REFERENCE.name

    def applied(self, line: LineModel) -> LineModel:
        """The line after the change."""
        return line.changed(self.rate, self.loss, self.rtt, self.clients)

    def to_json(self) -> dict[str, Any]:
        """The change as plain data."""
        return asdict(self)


def parse_change(given: Mapping[str, str], clients: Mapping[str, Client]) -> Change:
    """Read a change from texts such as `4M`, `0%`, `50ms`; raises `BadChange`.

    >>> parse_change({"rate": "4M", "loss": "0"}, {})
    Change(rate=4000000.0, loss=0.0, rtt=None, clients=1, client='one-to-one')
    """
    for name in given:
        if name not in PARAMETERS:
            raise BadChange(f"unknown parameter `{name[:60]}`; use {', '.join(PARAMETERS)}")
    rate, loss, rtt = (_quantity(name, given.get(name)) for name in ("rate", "loss", "rtt"))
    if rate is not None and not _RATES[0] <= rate <= _RATES[1]:
        raise BadChange("rate must be from 30k to 1000M")
    if loss is not None and loss > 0.5:
        raise BadChange("loss must be from 0% to 50%")
    if rtt is not None and not _TRIPS[0] <= rtt <= _TRIPS[1]:
        raise BadChange("rtt must be from 1ms to 5s")
    count = given.get("clients", "1")
    if not re.fullmatch("[0-9]{1,4}", count) or not 1 <= int(count) <= MOST_CLIENTS:
        raise BadChange(f"clients must be a whole number from 1 to {MOST_CLIENTS}")
    name = given.get("client", REFERENCE.name)
    if name != REFERENCE.name and name not in clients:
        raise BadChange(f"no client `{name[:60]}`; there are {', '.join(clients)}")
    return Change(rate, loss, rtt, int(count), name)


def _quantity(name: str, text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    match = _NUMBER.match(text) if len(text) <= _LONGEST else None
    if match is None or match.group(2) not in _UNITS[name]:
        raise BadChange(f"{name} must be like `{_EXAMPLES[name]}`, not `{text[:_LONGEST]}`")
    return round(float(match.group(1)) * _UNITS[name][match.group(2)], 9)
