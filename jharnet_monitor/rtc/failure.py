"""Why a call did not come about, and the first thing that can be missing: a route."""

from __future__ import annotations

import socket

from jharnet_monitor.model import Cause


class CallFailed(Exception):
    """A call without a result. `by_network` tells `failed` from `no_data`."""

    def __init__(self, cause: Cause, detail: str, *, by_network: bool = True) -> None:
        super().__init__(f"{cause.value}: {detail}")
        self.cause, self.detail, self.by_network = cause, detail, by_network


def route_address(host: str, port: int = 9) -> str:
    """The local address from which packets to `host` leave; raises `CallFailed(NO_ROUTE)`."""
    try:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise CallFailed(Cause.NO_ROUTE, f"no route to {host} ({error.strerror})") from error
