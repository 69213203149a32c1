"""What Windows has in place of Linux's ICMP sockets and route table (IP Helper, iphlpapi.dll), and
what makes its timers and UDP sockets fit for measuring.

Its ICMP functions need no privileges, but block until the answer is there or the time is over.
They report whole milliseconds, so that the caller's clock is read around them instead.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import IntEnum
from functools import cache
from typing import Any, NamedTuple, Protocol

_MOST_WAITING = 128
"""Requests that wait for an answer at the same time: each has a thread."""
_NO_ROUTE = 0
_NEXT_HOP = 3
_ROUTE = struct.Struct("@14I")  # MIB_IPFORWARDROW
_DONT_FRAGMENT = 2
_TIMER_MS = 1
_SIO_UDP_CONNRESET, _SIO_UDP_NETRESET = 0x9800000C, 0x9800000F  # mswsock.h


class EchoStatus(IntEnum):
    """The outcomes that a caller can use, of those in ipexport.h."""

    REPLY = 0
    NET_UNREACHABLE = 11002
    HOST_UNREACHABLE = 11003
    PROTOCOL_UNREACHABLE = 11004
    PORT_UNREACHABLE = 11005
    TOO_BIG = 11009
    TIMED_OUT = 11010
    EXPIRED = 11013


class EchoAnswer(NamedTuple):
    """The answer to one request. `rtt_ns` is from the request to the answer."""

    status: int
    source: str
    payload: bytes
    rtt_ns: int


class EchoRequests(Protocol):
    """A way to send echo requests and wait for the answer of each."""

    def require_route(self, target: str) -> None:
        """Raise `OSError` where this machine has no route to the target."""

    def answer_to(self, target: str, payload: bytes, ttl: int, tos: int) -> EchoAnswer | None:
        """Send one request, unfragmented, and wait; None if no answer came.

        Raises `OSError` as `require_route` does.
        """

    def close(self) -> None:
        """Free what it holds; idempotent."""


class _Options(ctypes.Structure):
    """IP_OPTION_INFORMATION."""

    _fields_ = (
        ("ttl", ctypes.c_ubyte),
        ("tos", ctypes.c_ubyte),
        ("flags", ctypes.c_ubyte),
        ("size", ctypes.c_ubyte),
        ("data", ctypes.c_void_p),
    )


class _Reply(ctypes.Structure):
    """ICMP_ECHO_REPLY."""

    _fields_ = (
        ("address", ctypes.c_uint32),
        ("status", ctypes.c_uint32),
        ("milliseconds", ctypes.c_uint32),
        ("size", ctypes.c_ushort),
        ("reserved", ctypes.c_ushort),
        ("data", ctypes.c_void_p),
        ("options", _Options),
    )


class IcmpFunctions:
    """Echo requests by `IcmpSendEcho`, from any number of threads.

    `wait` is in seconds. Raises `OSError` where the system refuses.
    """

    def __init__(self, wait: float) -> None:
        self._wait_ms = round(wait * 1000)
        self._library = _iphlpapi()
        self._handle = self._library.IcmpCreateFile()
        if self._handle in (None, ctypes.c_void_p(-1).value):
            raise OSError("IcmpCreateFile: Windows gives no handle for echo requests")

    def require_route(self, target: str) -> None:
        """Raise `OSError` where this machine has no route to the target, as without a cable."""
        row = ctypes.create_string_buffer(_ROUTE.size)
        if self._library.GetBestRoute(_number_of(target), 0, row) != 0:
            raise OSError(errno.ENETUNREACH, "no route to the target")

    def answer_to(self, target: str, payload: bytes, ttl: int, tos: int) -> EchoAnswer | None:
        """Send one request and wait for its answer; None if there was none.

        Raises `OSError` without a route: the function ends at once, which would look like a loss.
        """
        options = _Options(ttl, tos, _DONT_FRAGMENT, 0, None)
        room = ctypes.sizeof(_Reply) + len(payload) + 64
        buffer = ctypes.create_string_buffer(room)
        address = _number_of(target)
        began = time.perf_counter_ns()
        self._library.IcmpSendEcho(
            self._handle, address, payload, len(payload), ctypes.byref(options),
            buffer, room, self._wait_ms,
        )  # fmt: skip
        took = time.perf_counter_ns() - began
        reply = _Reply.from_buffer(buffer)
        if not reply.address or reply.status == EchoStatus.TIMED_OUT:
            self.require_route(target)
            return None
        source = socket.inet_ntoa(struct.pack("@I", reply.address))
        data = ctypes.string_at(reply.data, reply.size) if reply.data and reply.size else b""
        return EchoAnswer(reply.status, source, data, took)

    def close(self) -> None:
        """Close the handle; idempotent."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._library.IcmpCloseHandle(handle)


class EchoThreads:
    """Passes requests to threads and keeps their answers until they are collected.

    An answer has a timestamp as if its request had left at once: the wall-clock time of `send`
    and the time from request to answer, so that the wait for a thread is not part of it.
    """

    def __init__(self, requests: EchoRequests) -> None:
        self._requests = requests
        self._pool = ThreadPoolExecutor(_MOST_WAITING, "echo")
        self._answers: deque[tuple[int, EchoAnswer, int]] = deque()
        self._without_route: set[str] = set()
        self._lock = threading.Lock()
        self._users = 1
        """The owner, until it closes this, and each request that waits."""

    def send(self, number: int, target: str, payload: bytes, ttl: int = 128, tos: int = 0) -> None:
        """Send a request that `number` identifies to the caller.

        Raises `OSError` as long as there is no route, after the first request that found none: to
        ask before each one would take part of the time in which it leaves.
        """
        sent_ns = time.time_ns()
        if target in self._without_route:
            self._requests.require_route(target)
            self._without_route.discard(target)
        with self._lock:
            self._users += 1
        self._pool.submit(self._wait_for_answer, number, sent_ns, (target, payload, ttl, tos))

    def _wait_for_answer(
        self, number: int, sent_ns: int, request: tuple[str, bytes, int, int]
    ) -> None:
        try:
            answer = self._requests.answer_to(*request)
            if answer is not None:
                self._answers.append((number, answer, sent_ns + answer.rtt_ns))
        except OSError:
            self._without_route.add(request[0])
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            is_last = self._users == 0
        if is_last:
            self._requests.close()

    def next(self) -> tuple[int, EchoAnswer, int] | None:
        """The number, the answer and its timestamp in wall-clock ns; None if there is none yet."""
        return self._answers.popleft() if self._answers else None

    def close(self) -> None:
        """Take no more; the last request that waits frees what they share."""
        self._pool.shutdown(wait=False)
        self._leave()


def default_gateway() -> str | None:
    """The IPv4 address of the default route's next hop, or None where there is none."""
    row = ctypes.create_string_buffer(_ROUTE.size)
    if _iphlpapi().GetBestRoute(0, 0, row) != 0:
        return None
    next_hop = _ROUTE.unpack(row.raw)[_NEXT_HOP]
    return socket.inet_ntoa(struct.pack("@I", next_hop)) if next_hop != _NO_ROUTE else None


@contextmanager
def fine_timers() -> Iterator[None]:
    """Let waits end on the millisecond meanwhile (`timeBeginPeriod`); else Windows ends them up to
    16 ms late, which would bunch what is to be sent at a steady pace. Does nothing on Linux.
    """
    if sys.platform == "win32":
        library = _library("winmm")
        library.timeBeginPeriod(_TIMER_MS)
        try:
            yield
        finally:
            library.timeEndPeriod(_TIMER_MS)
    else:
        yield


def ignore_icmp_errors(sock: socket.socket) -> None:
    """Let a UDP socket receive as if no ICMP error came for what it sent; else the next receiving
    fails, after which asyncio's datagram transport on Windows never reads again. On Linux, nothing.
    """
    if sys.platform == "win32":
        off, count = ctypes.c_uint32(0), ctypes.c_uint32()
        for control in (_SIO_UDP_CONNRESET, _SIO_UDP_NETRESET):
            # a system without it goes on as before
            _library("ws2_32").WSAIoctl(
                ctypes.c_size_t(sock.fileno()), control, ctypes.byref(off), ctypes.sizeof(off),
                None, 0, ctypes.byref(count), None, None,
            )  # fmt: skip


@cache
def _iphlpapi() -> Any:
    library = _library("iphlpapi")
    library.GetBestRoute.argtypes = (ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
    library.IcmpCreateFile.restype = ctypes.c_void_p
    library.IcmpCloseHandle.argtypes = (ctypes.c_void_p,)
    library.IcmpSendEcho.argtypes = (
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_ushort, ctypes.c_void_p,
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32,
    )  # fmt: skip
    return library


def _number_of(address: str) -> int:
    """An IPv4 address as Windows' functions take it."""
    return int(struct.unpack("@I", socket.inet_aton(address))[0])


def _library(name: str) -> Any:
    return getattr(ctypes, "WinDLL")(name)  # noqa: B009 - not in Linux' ctypes
