"""Sends the packets of a trace, times their answers and matches them."""

from __future__ import annotations

from dataclasses import dataclass

from jharnet_monitor.clock import Clock
from jharnet_monitor.probes.latency.timestamps import TOLERANCE_NS, Timebase
from jharnet_monitor.probes.path.sockets import Answer, TraceSocket
from jharnet_monitor.probes.path.windows_socket import WindowsTraceSocket

AnyTraceSocket = TraceSocket | WindowsTraceSocket

POLL_SECONDS = 0.02
"""The kernel stamps what arrives, so that nothing depends on when it is read."""
_NUMBERS = 1 << 16


@dataclass(slots=True)
class SentPacket:
    """A packet and its answer, if there is one yet. `rtt` is in seconds.

    It is also None if the computer's clock was set while the packet was in flight.
    """

    ttl: int
    size: int
    sent_ns: int
    offset_ns: int
    answer: Answer | None = None
    rtt: float | None = None


class Prober:
    """The packets of one flow. `bytes` counts what they put on the line, with their answers."""

    def __init__(self, sock: AnyTraceSocket, clock: Clock, timeout: float) -> None:
        self.socket = sock
        self.bytes = 0
        self._clock = clock
        self._timeout_ns = round(timeout * 1e9)
        self._time = Timebase()
        self._sent: dict[int, SentPacket] = {}
        self._number = 0

    def send(self, ttl: int, size: int, dscp: int = 0) -> SentPacket:
        """Send a packet; raises `OSError` if it was not sent."""
        self._number = (self._number + 1) % _NUMBERS
        packet = SentPacket(ttl, size, 0, self._time.offset_ns())
        packet.sent_ns = self._time.monotonic_ns()
        self.socket.send(self._number, ttl, size, dscp)
        self._sent[self._number] = packet
        self.bytes += size
        return packet

    @property
    def number(self) -> int:
        """The number of the last packet sent."""
        return self._number

    def read(self) -> None:
        """Match the answers that have arrived; a second or late answer is ignored."""
        offset = self._time.offset_ns()
        for answer in self.socket.receive():
            packet = self._sent.pop(answer.number, None)
            if packet is None:
                continue
            self.bytes += min(packet.size, 576)
            rtt_ns = None
            if answer.timestamp_ns is not None:
                if abs(offset - packet.offset_ns) <= TOLERANCE_NS:
                    rtt_ns = max(1, answer.timestamp_ns - offset - packet.sent_ns)
                if rtt_ns is not None and rtt_ns > self._timeout_ns:
                    continue
            packet.answer = answer
            packet.rtt = None if rtt_ns is None else rtt_ns / 1e9

    async def pause(self, seconds: float) -> None:
        """Let time pass and read what arrives."""
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(left, POLL_SECONDS))
            self.read()

    async def settle(self, packets: list[SentPacket]) -> None:
        """Wait until all of these are answered, or must be lost."""
        end = self._clock.monotonic() + self._timeout_ns / 1e9
        self.read()
        while self._clock.monotonic() < end and any(p.answer is None for p in packets):
            await self._clock.sleep(POLL_SECONDS)
            self.read()

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
