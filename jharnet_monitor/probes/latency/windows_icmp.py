"""The echo socket of `icmp`, made of Windows' own functions, which need no privileges."""

from __future__ import annotations

from jharnet_monitor.probes.dns import SocketAddress
from jharnet_monitor.probes.latency.icmp import EchoReply, Family
from jharnet_monitor.windows_api import EchoRequests, EchoStatus, EchoThreads, IcmpFunctions

WAIT_SECONDS = 4.0
"""A later reply is not seen."""


class WindowsEchoSocket:
    """Echo requests to any number of IPv4 targets; raises `OSError` for IPv6."""

    identifier = 0
    """Windows chooses the ICMP identifiers and matches the replies."""
    privileged = False

    def __init__(self, family: Family, dscp: int = 0, requests: EchoRequests | None = None) -> None:
        if family != 4:
            raise OSError("this program sends no echo requests over IPv6 on Windows")
        self.family = family
        self._tos = dscp << 2
        self._threads = EchoThreads(requests or IcmpFunctions(WAIT_SECONDS))

    def send(self, sequence: int, payload: bytes, address: SocketAddress) -> None:
        """Send one echo request; raises `OSError` as `EchoThreads.send` does."""
        self._threads.send(sequence, address[0], payload, tos=self._tos)

    def receive(self) -> EchoReply | None:
        """The next echo reply; None if there is none yet."""
        while (found := self._threads.next()) is not None:
            sequence, answer, timestamp_ns = found
            if answer.status == EchoStatus.REPLY:
                return EchoReply(answer.source, sequence, answer.payload, timestamp_ns)
        return None

    def dropped(self) -> int:
        """0: Windows reports no dropped replies."""
        return 0

    def close(self) -> None:
        """Take no more requests; idempotent."""
        self._threads.close()
