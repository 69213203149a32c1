"""Which way a packet takes through the cloud: the pipes it passes, and where it comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jharnet_monitor.lab.pipe import Pipe

GATEWAY = -1
"""The provider's side of the lines: no interface, it answers echo requests itself."""

_MAX_ROUTES = 100_000

Router = Callable[[int, bytes], "tuple[tuple[int, ...], int] | None"]
"""From the end a packet came from, and its target, to the pipes it passes and the end it goes to.

An end is its number among the emulator's, or `GATEWAY`."""


@dataclass(frozen=True, slots=True)
class Route:
    """The pipes a packet passes, and the descriptor it is written to at last (-1: the gateway)."""

    pipes: tuple[Pipe, ...]
    descriptor: int


class Routes:
    """The routes from every end; each is asked of the router once, and then remembered."""

    def __init__(self, router: Router, pipes: Sequence[Pipe], ends: Sequence[int]) -> None:
        """Pipes and ends (descriptors) in the order that the router numbers them."""
        self._router = router
        self._pipes = pipes
        self._ends = ends
        self._known: list[dict[bytes, Route]] = [{} for _ in range(len(ends) + 1)]  # last: gateway

    def find(self, end: int, target: bytes) -> Route | None:
        """The route from an end to an address; None where none leads."""
        return self._known[end].get(target) or self._ask(end, target)

    def _ask(self, end: int, target: bytes) -> Route | None:
        found = self._router(end, target)
        if found is None:
            return None
        pipes, goal = found
        descriptor = self._ends[goal] if goal != GATEWAY else -1
        route = Route(tuple(self._pipes[number] for number in pipes), descriptor)
        known = self._known[end]
        if len(known) >= _MAX_ROUTES:
            known.clear()
        known[target] = route
        return route
