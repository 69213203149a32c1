"""Traffic for a lab: paced UDP, its receiver, and echo probes with the kernel's own time stamps."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import pytest

from jharnet_monitor.lab import HEADQUARTERS, Lab, linux
from jharnet_monitor.lab.namespaces import inside

SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33
LARGE_BUFFER = 16_000_000
UDP_HEADERS = 28
"""IPv4 and UDP: what a datagram is longer on the line than its payload."""

_CONTROL = 64

needs_lab = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and /dev/net/tun"
)


def udp_socket(lab: Lab, where: str, port: int = 0, buffer: int = LARGE_BUFFER) -> socket.socket:
    """A UDP socket at that place of the lab."""
    return udp_socket_in(lab.namespace(where), port, buffer)


def udp_socket_in(namespace: str, port: int = 0, buffer: int = LARGE_BUFFER) -> socket.socket:
    """A UDP socket with the kernel's receive time stamps, and room for so many bytes unread."""
    with inside(namespace):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
    udp.bind(("", port))
    return udp


@dataclass(frozen=True, slots=True)
class Stream:
    """UDP at a steady pace: IP packets of `size` bytes, `rate` bit/s of them."""

    source: socket.socket
    target: tuple[str, int]
    rate: float
    size: int = 1400

    @property
    def gap(self) -> float:
        """Seconds from packet to packet."""
        return self.size * 8 / self.rate


def send_streams(streams: Sequence[Stream], seconds: float, priority: int = 0) -> None:
    """Send all of them, interleaved; with a priority as a real-time process."""
    if priority:
        linux.become_realtime(priority)
    start = time.monotonic()
    following = [start + s.gap * number / len(streams) for number, s in enumerate(streams)]
    payloads = [bytes(s.size - UDP_HEADERS) for s in streams]
    end = start + seconds
    while (moment := min(following)) < end:
        number = following.index(moment)
        if (pause := moment - time.monotonic()) > 0:
            time.sleep(pause)
        stream = streams[number]
        stream.source.sendto(payloads[number], stream.target)
        following[number] += stream.gap


@contextlib.contextmanager
def streams_beside(streams: Sequence[Stream], seconds: float, priority: int = 0) -> Iterator[None]:
    """The same in a process of its own, which is ended at the end."""
    sender = get_context("fork").Process(target=_send_alone, args=(streams, seconds, priority))
    sender.start()
    try:
        yield
    finally:
        sender.kill()
        sender.join()


def _send_alone(streams: Sequence[Stream], seconds: float, priority: int) -> None:
    """Let go of all that was open when this process began: it would keep others' ports taken."""
    needed = {0, 1, 2, *(stream.source.fileno() for stream in streams)}
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers, not paths
        if number not in needed:
            with contextlib.suppress(OSError):
                os.close(number)
    send_streams(streams, seconds, priority)


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """So many processes that want a whole core each."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def kernel_time(control: Sequence[tuple[int, int, bytes]]) -> float:
    """When the kernel received a packet: wall-clock seconds, from its control messages."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return float(seconds + nanoseconds * 1e-9)
    raise ValueError("no time stamp")


@dataclass
class Arrivals:
    """What a UDP receiver counted."""

    moments: list[float] = field(default_factory=list)
    bytes: int = 0

    def rate(self) -> float:
        """bit/s of IP, from the first packet's end to the last one's."""
        size = self.bytes / len(self.moments)
        return (self.bytes - size) * 8 / (self.moments[-1] - self.moments[0])


def receive(udp: socket.socket, silence: float) -> Arrivals:
    """Take datagrams until none came for so long."""
    udp.settimeout(silence)
    arrivals = Arrivals()
    with contextlib.suppress(TimeoutError):
        while True:
            data, control, _, _ = udp.recvmsg(65536, _CONTROL)
            arrivals.moments.append(kernel_time(control))
            arrivals.bytes += len(data) + UDP_HEADERS
    return arrivals


@dataclass(frozen=True, slots=True)
class Echo:
    """One answered probe."""

    target: str
    sequence: int
    rtt: float


class Prober:
    """Echo probes from headquarters over one unprivileged socket."""

    def __init__(self, lab: Lab) -> None:
        with lab.entered(HEADQUARTERS):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind(("", 0))
        self._socket.setblocking(False)
        self.echo_id = self._socket.getsockname()[1]
        self._sent: dict[tuple[str, int], float] = {}

    def probe(self, targets: Sequence[str], rounds: int, gap: float, wait: float) -> list[Echo]:
        """A probe to a target every `gap` seconds; `wait` seconds for the last answers."""
        answered: list[Echo] = []
        following = time.monotonic()
        for sequence in range(rounds):
            for target in targets:
                following += gap
                while (pause := following - time.monotonic()) > 0:
                    answered += self._collect(pause)
                packet = struct.pack("!BBHHH", 8, 0, 0, 0, sequence) + bytes(48)
                self._sent[target, sequence] = time.time()
                self._socket.sendto(packet, (target, 0))
        end = time.monotonic() + wait
        while (pause := end - time.monotonic()) > 0:
            answered += self._collect(pause)
        return answered

    def _collect(self, patience: float) -> list[Echo]:
        if not select.select([self._socket], [], [], patience)[0]:
            return []
        data, control, _, address = self._socket.recvmsg(2048, _CONTROL)
        sequence = struct.unpack_from("!H", data, 6)[0]
        sent = self._sent.pop((address[0], sequence), None)
        if sent is None:
            return []
        return [Echo(address[0], sequence, kernel_time(control) - sent)]


def wait_until(what: Callable[[], bool], patience: float = 10.0) -> None:
    """Raises if it does not become true in time."""
    deadline = time.monotonic() + patience
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not happen in time")
        time.sleep(0.05)
