"""A free UDP port of the hub's range, for a probe that the agent takes part in."""

from __future__ import annotations

import random
import socket

TRIES = 50


def bind_free_port(host: str, ports: tuple[int, int]) -> socket.socket | None:
    """A socket on a free port of the range, both ends included; None if none is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    choices = list(range(ports[0], ports[1] + 1))
    random.shuffle(choices)
    for port in choices[:TRIES]:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind((host, port))
        except OSError:
            sock.close()
        else:
            return sock
    return None
