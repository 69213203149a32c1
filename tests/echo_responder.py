"""A responder to echo requests: a TUN interface whose answers a test defines.

It runs in an unnamed network namespace that belongs to one thread and disappears with it, so
nothing is left behind. Needs root.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from jharnet_monitor.lab.linux import open_tun
from jharnet_monitor.probes.latency.icmp import checksum

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_NETWORKS = ("10.77.0.0/16", "fd77::/64")

Answers = Callable[[bytes], list[tuple[float, bytes]]]
"""From an echo request (an IP packet) to its answers: (seconds to wait, IP packet)."""


def in_own_network(test: Callable[[], Coroutine[Any, Any, T]], unprivileged: bool = False) -> T:
    """Run a coroutine on its own event loop in a new network namespace.

    `unprivileged` allows ping sockets there; without it only raw sockets work.
    """

    def body() -> T:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        allowed = "0 2147483647" if unprivileged else "1 0"
        Path("/proc/sys/net/ipv4/ping_group_range").write_text(allowed, "ascii")
        return asyncio.run(test())

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(body).result()


@contextmanager
def responder(answers: Answers) -> Iterator[None]:
    """Make 10.77.0.0/16 and fd77::/64 answer, from within `in_own_network`."""
    tun = open_tun("echo")
    subprocess.run(["ip", "link", "set", "echo", "up"], check=True)
    subprocess.run(["ip", "address", "add", "10.78.0.1/32", "dev", "echo"], check=True)
    subprocess.run(["ip", "address", "add", "fd78::1/128", "dev", "echo", "nodad"], check=True)
    for network in _NETWORKS:
        subprocess.run(["ip", "route", "add", network, "dev", "echo"], check=True)
    stop = threading.Event()
    thread = threading.Thread(target=_answer, args=(tun, answers, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        os.close(tun)


def _answer(tun: int, answers: Answers, stop: threading.Event) -> None:
    due: list[tuple[float, bytes]] = []
    while not stop.is_set():
        wait = min(0.05, max(0.0, due[0][0] - time.monotonic())) if due else 0.05
        if select.select([tun], [], [], wait)[0]:
            packet = os.read(tun, 2048)
            if is_request(packet):
                now = time.monotonic()
                for delay, answer in answers(packet):
                    heapq.heappush(due, (now + delay, answer))
        while due and due[0][0] <= time.monotonic():
            os.write(tun, heapq.heappop(due)[1])


def is_request(packet: bytes) -> bool:
    """Whether an IP packet without options is an echo request."""
    if packet[0] >> 4 == 4:
        return packet[9] == 1 and packet[20] == 8
    return packet[6] == 58 and packet[40] == 128


def reply(packet: bytes, *, source: bytes | None = None, payload: bytes | None = None) -> bytes:
    """The echo reply to a request; by default from its target address, with its payload."""
    if packet[0] >> 4 == 4:
        body = b"\0\0\0\0" + packet[24:28] + (packet[28:] if payload is None else payload)
        body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
        head = packet[:10] + b"\0\0" + (source or packet[16:20]) + packet[12:16]
        return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body
    body = b"\x81\0\0\0" + packet[44:48] + (packet[48:] if payload is None else payload)
    addresses = (source or packet[24:40]) + packet[8:24]
    pseudo = addresses + len(body).to_bytes(4, "big") + b"\0\0\0\x3a"
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    return packet[:8] + addresses + body


def delayed(seconds: float) -> Answers:
    """Answer every request after the same delay."""
    return lambda packet: [(seconds, reply(packet))]
