"""Names and owners of routers, from the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jharnet_monitor.config.schema import HopName


class NamedHop(NamedTuple):
    """A router's name and owner; its address if it has no name, "" if it never answered."""

    name: str
    owner: str | None = None

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.name, self.owner)))


class HopNames:
    """Looks up hops; the first matching entry is used."""

    def __init__(self, entries: Sequence[HopName]) -> None:
        self._entries = [(ip_network(one.address), one) for one in entries]

    def of_address(self, address: str | None) -> NamedHop:
        """The router at an address."""
        if address is None:
            return NamedHop("")
        for network, entry in self._entries:
            if ip_address(address) in network:
                return NamedHop(entry.name, entry.owner)
        return NamedHop(address)

    def of(self, trace: Mapping[str, Any], number: int) -> NamedHop:
        """Hop `number` of a trace; 0 is the start."""
        hops = trace.get("hops", ())
        return self.of_address(hops[number - 1]["address"] if 0 < number <= len(hops) else None)
