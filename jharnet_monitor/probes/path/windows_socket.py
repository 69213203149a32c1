"""The socket of a trace by ICMP, made of Windows' own functions, which need no privileges.

Windows offers no UDP errors to programs without privileges, and sends no marks that its policy does
not allow. It reports that a packet was too large, but not which size would pass.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from jharnet_monitor.probes.path.sockets import HEADER_BYTES, Answer, AnswerKind, Protocol
from jharnet_monitor.windows_api import EchoRequests, EchoStatus, EchoThreads, IcmpFunctions

WAIT_SECONDS = 5.0
_HOPS = (
    EchoStatus.EXPIRED, EchoStatus.NET_UNREACHABLE, EchoStatus.HOST_UNREACHABLE,
    EchoStatus.PROTOCOL_UNREACHABLE, EchoStatus.PORT_UNREACHABLE,
)  # fmt: skip


class WindowsTraceSocket:
    """Echo requests with a time to live to one IPv4 address.

    Raises `OSError` for a protocol other than ICMP.
    """

    identifier = 0
    link_mtu: int | None = None
    finds_mtu = False

    def __init__(
        self, protocol: Protocol, target: str, requests: EchoRequests | None = None
    ) -> None:
        if protocol is not Protocol.ICMP:
            raise OSError("Windows shows no answers to UDP packets")
        self.protocol = protocol
        self.target = target
        self._threads = EchoThreads(requests or IcmpFunctions(WAIT_SECONDS))

    def send(self, number: int, ttl: int, size: int, dscp: int = 0) -> None:
        """Send a packet of `size` IP bytes; raises `OSError` as `EchoThreads.send` does."""
        pair = struct.pack("!HH", number, 0xFFFF - number)
        payload = pair + bytes(size - HEADER_BYTES - len(pair))
        self._threads.send(number, self.target, payload, ttl, dscp << 2)

    def receive(self) -> Iterator[Answer]:
        """The answers that have arrived."""
        while (found := self._threads.next()) is not None:
            number, answer, timestamp_ns = found
            if answer.status == EchoStatus.REPLY or answer.source == self.target:
                yield Answer(number, answer.source, AnswerKind.END, timestamp_ns)
            elif answer.status in _HOPS:
                yield Answer(number, answer.source, AnswerKind.HOP, timestamp_ns)
            elif answer.status == EchoStatus.TOO_BIG:
                yield Answer(number, answer.source, AnswerKind.TOO_BIG, timestamp_ns)

    def close(self) -> None:
        """Take no more packets; idempotent."""
        self._threads.close()
