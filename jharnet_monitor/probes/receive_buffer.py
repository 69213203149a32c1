"""Room in the kernel for what arrives while a program is busy."""

from __future__ import annotations

import socket

_SO_RCVBUFFORCE = 33


def enlarge_receive_buffer(sock: socket.socket, size: int) -> None:
    """Let the kernel keep `size` bytes, or as much as `net.core.rmem_max` allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:  # only root passes that limit, and only on Linux
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
