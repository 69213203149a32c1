"""Traffic for a lab: paced UDP, its receiver, and echo probes with kernel timestamps."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median

import pytest

from jharnet_monitor.lab import HEADQUARTERS, Lab, linux
from jharnet_monitor.lab.namespaces import inside

SO_TIMESTAMPNS, SO_RCVBUFFORCE = 35, 33
LARGE_BUFFER = 16_000_000
UDP_HEADERS = 28
"""Bytes of the IPv4 and UDP headers."""

_CONTROL = 64

needs_lab = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and /dev/net/tun"
)


def udp_socket(lab: Lab, where: str, port: int = 0, buffer: int = LARGE_BUFFER) -> socket.socket:
    """A UDP socket at a place of the lab."""
    return udp_socket_in(lab.namespace(where), port, buffer)


def udp_socket_in(namespace: str, port: int = 0, buffer: int = LARGE_BUFFER) -> socket.socket:
    """A UDP socket with kernel receive timestamps and a receive buffer of `buffer` bytes."""
    with inside(namespace):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
    udp.bind(("", port))
    return udp


@dataclass(frozen=True, slots=True)
class Stream:
    """UDP at a constant rate: IP packets of `size` bytes, `rate` bit/s in total."""

    source: socket.socket
    target: tuple[str, int]
    rate: float
    size: int = 1400

    @property
    def gap(self) -> float:
        """Seconds between packets."""
        return self.size * 8 / self.rate


def send_streams(streams: Sequence[Stream], seconds: float, priority: int = 0) -> None:
    """Send all streams, interleaved; with a priority as a real-time process."""
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
def simultaneous_streams(
    streams: Sequence[Stream], seconds: float, priority: int = 0
) -> Iterator[BaseProcess]:
    """Send all streams in another process, the context's value, while the context is active."""
    sender = get_context("fork").Process(target=_send_alone, args=(streams, seconds, priority))
    sender.start()
    try:
        yield sender
    finally:
        sender.kill()
        sender.join()


def _send_alone(streams: Sequence[Stream], seconds: float, priority: int) -> None:
    keep_only(stream.source.fileno() for stream in streams)
    send_streams(streams, seconds, priority)


def keep_only(descriptors: Iterable[int] = ()) -> None:
    """Close all inherited descriptors but these: they would keep ports occupied."""
    needed = {0, 1, 2, *descriptors}
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers, not paths
        if number not in needed:
            with contextlib.suppress(OSError):
                os.close(number)


@contextlib.contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Run `count` processes that each use a whole core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def kernel_time(control: Sequence[tuple[int, int, bytes]]) -> float:
    """When the kernel received a packet (wall-clock seconds), from its control messages."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return float(seconds + nanoseconds * 1e-9)
    raise ValueError("no time stamp")


@dataclass
class Arrivals:
    """The datagrams that a UDP receiver got."""

    moments: list[float] = field(default_factory=list)
    bytes: int = 0

    def rate(self) -> float:
        """IP bit/s from the end of the first packet to the end of the last."""
        size = self.bytes / len(self.moments)
        return (self.bytes - size) * 8 / (self.moments[-1] - self.moments[0])

    def median_rate(self, window: int) -> float:
        """IP bit/s: the median of the rates of all `window` packets in a row.

        A pause of the emulator, or of the sender while the link's queue is short, changes only the
        windows in which it falls.
        """
        size = self.bytes / len(self.moments)
        spans = zip(self.moments, self.moments[window:], strict=False)
        return median(window * size * 8 / (end - start) for start, end in spans)


def receive(udp: socket.socket, silence: float, sender: BaseProcess | None = None) -> Arrivals:
    """Receive datagrams until none has arrived for `silence` seconds, since the sender has ended.

    A sender may be silent for longer than that, if it gets no CPU.
    """
    udp.settimeout(silence)
    arrivals = Arrivals()
    while True:
        sends = sender is not None and sender.is_alive()
        try:
            data, control, _, _ = udp.recvmsg(65536, _CONTROL)
        except TimeoutError:
            if sends:
                continue
            return arrivals
        arrivals.moments.append(kernel_time(control))
        arrivals.bytes += len(data) + UDP_HEADERS


@dataclass(frozen=True, slots=True)
class Echo:
    """One answered probe."""

    target: str
    sequence: int
    rtt: float


class Prober:
    """Sends echo requests from headquarters over one unprivileged socket."""

    def __init__(self, lab: Lab) -> None:
        with lab.inside(HEADQUARTERS):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind(("", 0))
        self._socket.setblocking(False)
        self.echo_id = self._socket.getsockname()[1]
        self._sent: dict[tuple[str, int], float] = {}

    def probe(self, targets: Sequence[str], rounds: int, gap: float, wait: float) -> list[Echo]:
        """Send a request every `gap` seconds; wait up to `wait` seconds for the last replies."""
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
        while len(answered) < rounds * len(targets) and (pause := end - time.monotonic()) > 0:
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
    """Wait until `what()` is true; raises `TimeoutError` after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not become true in time")
        time.sleep(0.05)
