"""The routes of packets through the emulator: the pipes they pass and where they leave it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jharnet_monitor.lab.pipe import Pipe

GATEWAY = -1
"""The endpoint number of the provider's gateway: the emulator itself, without an interface."""

_MAX_ROUTES = 100_000

RouteFunction = Callable[[int, bytes], "tuple[tuple[int, ...], int] | None"]
"""Maps the endpoint a packet came from and its destination address to the numbers of the pipes it
passes and the endpoint it goes to; None if there is no route.

An endpoint is a number, of headquarters or an office, or `GATEWAY`."""


@dataclass(frozen=True, slots=True)
class PacketRoute:
    """The pipes a packet passes and the interface it is written to."""

    pipes: tuple[Pipe, ...]
    descriptor: int
    """The TUN interface it is written to; -1 for the gateway."""


class RouteTable:
    """The routes from all endpoints. Each is computed once and then cached."""

    def __init__(
        self, find_route: RouteFunction, pipes: Sequence[Pipe], interfaces: Sequence[int]
    ) -> None:
        """`pipes` and `interfaces` (TUN descriptors) are in the order of their numbers."""
        self._find_route = find_route
        self._pipes = pipes
        self._interfaces = interfaces
        # One cache per endpoint; index -1, the last one, is the gateway's.
        self._cache: list[dict[bytes, PacketRoute]] = [{} for _ in range(len(interfaces) + 1)]

    def find(self, endpoint: int, target: bytes) -> PacketRoute | None:
        """The route from an endpoint to an address of 4 or 16 bytes; None if there is none."""
        return self._cache[endpoint].get(target) or self._resolve(endpoint, target)

    def _resolve(self, endpoint: int, target: bytes) -> PacketRoute | None:
        found = self._find_route(endpoint, target)
        if found is None:
            return None
        pipes, goal = found
        descriptor = self._interfaces[goal] if goal != GATEWAY else -1
        route = PacketRoute(tuple(self._pipes[number] for number in pipes), descriptor)
        cache = self._cache[endpoint]
        if len(cache) >= _MAX_ROUTES:
            cache.clear()
        cache[target] = route
        return route
