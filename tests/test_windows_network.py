"""The agent's sockets where the system is Windows: echo requests and traces through functions that
block until the answer is there, and datagrams on an event loop that cannot watch a socket.

The functions themselves are Windows' own; `tests/bench/windows.py` calls them by Wine. Here another
function takes their place.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from jharnet_monitor.agent import machine
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.probes.bandwidth import tcp_connection
from jharnet_monitor.probes.bandwidth.udp_socket import (
    Datagram,
    DatagramKind,
    bind_socket,
    connect_socket,
)
from jharnet_monitor.probes.latency import pinger as pinger_module
from jharnet_monitor.probes.latency.pinger import Pinger, UnexpectedReply, socket_address
from jharnet_monitor.probes.latency.windows_icmp import WindowsEchoSocket
from jharnet_monitor.probes.path import trace as trace_module
from jharnet_monitor.probes.path.order import TraceOrder
from jharnet_monitor.probes.path.sockets import AnswerKind, Protocol
from jharnet_monitor.probes.path.trace import trace
from jharnet_monitor.probes.path.windows_socket import WindowsTraceSocket
from jharnet_monitor.rtc.aiortc_private import _bound_socket
from jharnet_monitor.windows_api import EchoAnswer, EchoStatus, fine_timers
from jharnet_monitor.wire.connect_errors import describe_error
from tests.latency_support import Listener

HUB, ROUTERS = "10.8.0.2", ("10.8.1.1", "10.8.0.1")
RTT_NS = 23_000_000
KEY = bytes(16)

Answering = Callable[[str, bytes, int], EchoAnswer | None]


class Functions:
    """Stands for `IcmpFunctions`: blocks, then answers as `answering` says."""

    def __init__(self, answering: Answering, blocks: float = 0.03) -> None:
        self._answering = answering
        self._blocks = blocks
        self.requests: list[tuple[str, int, int]] = []
        self.has_route = True
        self.closed = threading.Event()

    def require_route(self, target: str) -> None:
        if not self.has_route:
            raise OSError(errno.ENETUNREACH, f"no route to {target}")

    def answer_to(self, target: str, payload: bytes, ttl: int, tos: int) -> EchoAnswer | None:
        assert not self.closed.is_set(), "its handle was closed while a request waited"
        self.requests.append((target, ttl, tos))
        self.require_route(target)
        time.sleep(self._blocks)
        return self._answering(target, payload, ttl)

    def close(self) -> None:
        assert not self.closed.is_set()
        self.closed.set()


def _pinged(
    monkeypatch: pytest.MonkeyPatch, functions: Functions, count: int, timeout: float = 1.0
) -> Listener:
    """The outcomes of some requests to the hub."""
    monkeypatch.setattr(
        pinger_module, "_open", lambda family, dscp: WindowsEchoSocket(family, dscp, functions)
    )

    async def ping() -> Listener:
        pinger, listener = Pinger(timeout), Listener()
        for _ in range(count):
            pinger.send(listener, socket_address(HUB))
        await pinger.settle()
        pinger.close()
        return listener

    return asyncio.run(ping())


def test_the_rtt_is_the_functions_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for a thread, and until the answer is read, is no part of it."""
    functions = Functions(lambda target, payload, _: EchoAnswer(0, target, payload, RTT_NS))
    outcomes = _pinged(monkeypatch, functions, 20)
    assert [echo.received for echo in outcomes.echoes] == [True] * 20
    assert all(abs(rtt - RTT_NS / 1e9) < 0.001 for rtt in outcomes.rtts), outcomes.rtts
    assert functions.closed.wait(5)


@pytest.mark.parametrize("status", [EchoStatus.EXPIRED, EchoStatus.HOST_UNREACHABLE, None])
def test_what_is_no_reply_counts_as_lost(
    monkeypatch: pytest.MonkeyPatch, status: EchoStatus | None
) -> None:
    """A router's error, and silence."""

    def answer(_: str, payload: bytes, __: int) -> EchoAnswer | None:
        return None if status is None else EchoAnswer(status, ROUTERS[0], b"", RTT_NS)

    outcomes = _pinged(monkeypatch, Functions(answer), 3, timeout=0.2)
    assert [echo.received for echo in outcomes.echoes] == [False] * 3


def test_a_changed_payload_is_no_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted as corrupted, and the request as lost."""
    functions = Functions(lambda target, payload, _: EchoAnswer(0, target, b"?" * 56, RTT_NS))
    outcomes = _pinged(monkeypatch, functions, 2, timeout=0.2)
    assert outcomes.unexpected_replies[UnexpectedReply.CORRUPTED] == 2
    assert [echo.received for echo in outcomes.echoes] == [False] * 2


def test_it_is_closed_after_the_last_request_that_waits() -> None:
    """Windows must not be asked through a handle that is closed."""
    functions = Functions(lambda target, payload, _: None, blocks=0.5)
    socket = WindowsEchoSocket(4, 0, functions)
    socket.send(1, b"x" * 56, (HUB, 0))
    socket.close()
    assert not functions.closed.is_set()
    assert functions.closed.wait(5)


def test_without_a_route_nothing_is_sent() -> None:
    """As on Linux: a cable that is not plugged in is no loss of the line. The first request finds
    it out; when the route is there again, so are the answers."""
    functions = Functions(lambda target, payload, _: EchoAnswer(0, target, payload, RTT_NS), 0.0)
    functions.has_route = False
    echo = WindowsEchoSocket(4, 0, functions)
    echo.send(1, b"x" * 56, (HUB, 0))
    _wait(lambda: bool(functions.requests) and HUB in echo._threads._without_route)
    for number in (2, 3):
        with pytest.raises(OSError, match="no route"):
            echo.send(number, b"x" * 56, (HUB, 0))
    functions.has_route = True
    echo.send(4, b"x" * 56, (HUB, 0))
    echo.close()
    assert functions.closed.wait(5), "a refused request is not waited for"
    reply = echo.receive()
    assert reply is not None and reply.sequence == 4
    assert len(functions.requests) == 2


def _wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("status", [EchoStatus.NET_UNREACHABLE, EchoStatus.PROTOCOL_UNREACHABLE])
def test_a_router_that_refuses_is_a_hop(status: EchoStatus) -> None:
    """As on Linux, where each error of a router shows it."""
    functions = Functions(lambda *_: EchoAnswer(status, ROUTERS[1], b"", RTT_NS), blocks=0.0)
    traced = WindowsTraceSocket(Protocol.ICMP, HUB, functions)
    traced.send(7, 2, 64)
    traced.close()
    assert functions.closed.wait(5)
    assert [(a.number, a.source, a.kind) for a in traced.receive()] == [
        (7, ROUTERS[1], AnswerKind.HOP)
    ]


def test_ipv6_is_refused() -> None:
    """As an error that the agent's self-monitor counts as a request that was not sent."""
    with pytest.raises(OSError, match="IPv6"):
        WindowsEchoSocket(6)


def _answer_of_the_path(target: str, payload: bytes, ttl: int) -> EchoAnswer | None:
    """Of a path of two routers, the second of which is silent."""
    if ttl == 1:
        return EchoAnswer(EchoStatus.EXPIRED, ROUTERS[0], b"", RTT_NS // 4)
    if ttl == 2:
        return None
    return EchoAnswer(EchoStatus.REPLY, target, payload, RTT_NS)


def test_a_trace_by_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hops, a silent router and the target; no size, no marks, of which Windows says nothing."""
    functions = Functions(_answer_of_the_path)

    def open_socket(protocol: Protocol, target: str, flow: int) -> WindowsTraceSocket:
        return WindowsTraceSocket(protocol, target, functions)

    monkeypatch.setattr(trace_module, "_open", open_socket)
    order = TraceOrder(rounds=5, spacing=0.05, timeout=0.5, loss=0.02, marks=(46,))
    found = asyncio.run(trace(HUB, order, 0, SystemClock()))
    assert (found.reached, found.protocol, found.mtu, found.marks) == (
        True,
        Protocol.ICMP,
        None,
        {},
    )
    assert [hop.address for hop in found.hops] == [ROUTERS[0], None, HUB]
    assert [hop.received for hop in found.hops] == [5, 0, 5]
    assert all(abs(rtt - RTT_NS / 1e9) < 0.001 for rtt in found.hops[2].rtts)
    assert functions.closed.wait(5)


class Library:
    """Stands for a library of Windows: notes what is called."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        def function(*arguments: object) -> int:
            self.calls.append((name, *arguments))
            return 0

        return function


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """In place of every library, on what seems to be Windows."""
    found = Library()
    monkeypatch.setattr(ctypes, "WinDLL", lambda name: found, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    return found


def test_timers_are_fine_during_a_test_and_no_longer(library: Library) -> None:
    """The PC would use more power all day."""
    with pytest.raises(ValueError, match="test"), fine_timers():
        assert library.calls == [("timeBeginPeriod", 1)]
        raise ValueError("test")
    assert library.calls == [("timeBeginPeriod", 1), ("timeEndPeriod", 1)]


def test_no_udp_socket_fails_for_icmp_errors(library: Library) -> None:
    """Those of calls and of speed tests: SIO_UDP_CONNRESET and SIO_UDP_NETRESET are turned off."""
    openers: tuple[Callable[[], socket.socket], ...] = (
        lambda: _bound_socket("127.0.0.1", None),
        lambda: connect_socket("127.0.0.1", 9, KEY)._socket,
    )
    for open_socket in openers:
        with open_socket() as opened:
            controls = [(handle.value, control) for _, handle, control, *_ in library.calls]
            assert controls == [(opened.fileno(), 0x9800000C), (opened.fileno(), 0x9800000F)]
        library.calls.clear()


def test_a_boot_keeps_its_id_when_the_clock_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Windows knows the time of a boot only by the clock that is set, as after a boot with an empty
    battery."""
    monkeypatch.setattr(machine, "_KERNEL_BOOT_ID", tmp_path / "none")
    monkeypatch.delenv(machine.BOOT_ID_VARIABLE, raising=False)
    monkeypatch.setattr(psutil, "boot_time", lambda: 1_451_606_400.0)
    machine._boot_by_its_time.cache_clear()
    first = machine.boot_id()
    monkeypatch.setattr(psutil, "boot_time", lambda: 1_795_000_000.0)
    assert machine.boot_id() == first
    machine._boot_by_its_time.cache_clear()


def test_options_of_linux_are_set_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows gives their numbers to other options."""
    set_options: list[int] = []

    class Socket:
        def setsockopt(self, _level: int, option: int, _value: object) -> None:
            set_options.append(option)

    connection = tcp_connection.TcpConnection(None)
    connection._socket = Socket()
    for on_linux, options in ((True, [16, 13, 47, 25]), (False, [])):
        monkeypatch.setattr(tcp_connection, "_ON_LINUX", on_linux)
        tcp_connection.retry_steadily(connection._socket)
        connection.pace(1e6)
        assert set_options == [*options, socket.TCP_NODELAY]
        set_options.clear()


class NoReaders(asyncio.SelectorEventLoop):
    """An event loop that cannot wait for sockets, like the one of Windows that runs programs."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_datagrams_without_readers_of_sockets() -> None:
    """Pings are answered and trains received also where no socket can be watched; datagrams with
    another key are refused, and an ICMP error ends nothing."""

    async def exchange() -> tuple[list[Datagram], list[Datagram]]:
        hub = bind_socket("127.0.0.1", (40_000, 65_000), KEY)
        assert hub is not None
        agent = connect_socket("127.0.0.1", hub.port, KEY)
        stranger = connect_socket("127.0.0.1", hub.port, b"another key")
        at_hub, at_agent = list[Datagram](), list[Datagram]()

        def answer(datagram: Datagram) -> None:
            at_agent.append(datagram)
            if datagram.kind is DatagramKind.PING:
                agent.send_pong(datagram)

        with hub.listening(at_hub.append), agent.listening(answer):
            stranger.send(DatagramKind.PUNCH, 9)
            agent.send(DatagramKind.PUNCH, 1)
            await _until(lambda: hub.peer is not None)
            for number in range(3):
                hub.send(DatagramKind.PING, number)
            hub.send_train(5)
            await _until(lambda: len(at_hub) >= 4 and len(at_agent) >= 8)
        for one in (hub, agent, stranger):
            one.close()
        return at_hub, at_agent

    with asyncio.Runner(loop_factory=NoReaders) as runner:
        at_hub, at_agent = runner.run(exchange())
    kinds = [one.kind for one in at_hub]
    assert kinds == [DatagramKind.PUNCH] + 3 * [DatagramKind.PONG]
    assert [one.number for one in at_agent if one.kind is DatagramKind.TRAIN] == [0, 1, 2, 3, 4]
    assert all(0 <= one.delay < 10_000_000 for one in at_hub)


def test_a_closed_port_ends_no_reading() -> None:
    """The kernel reports the ICMP error of a punch at the next reading."""

    async def punch() -> int:
        closed = bind_socket("127.0.0.1", (40_000, 65_000), KEY)
        assert closed is not None
        port = closed.port
        agent, got = connect_socket("127.0.0.1", port, KEY), list[Datagram]()
        closed.close()
        with agent.listening(got.append):
            for number in range(3):
                agent.send(DatagramKind.PUNCH, number)
                await asyncio.sleep(0.05)
            hub = bind_socket("127.0.0.1", (port, port), KEY)
            assert hub is not None
            hub.peer = ("127.0.0.1", agent.port)
            hub.send(DatagramKind.PING, 7)
            await _until(lambda: bool(got))
            hub.close()
        agent.close()
        return got[0].number

    with asyncio.Runner(loop_factory=NoReaders) as runner:
        assert runner.run(punch()) == 7


class TooLarge(NoReaders):
    """Windows refuses a datagram that is larger than the buffer, where Linux cuts it."""

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        data, sender = await super().sock_recvfrom(sock, 65_536)
        if len(data) > bufsize:
            raise OSError(22, "a message was larger than the buffer")  # WSAEMSGSIZE
        return data, sender


def test_a_large_datagram_ends_no_reading() -> None:
    """Anybody can send one."""

    async def send_large() -> int:
        hub, got = bind_socket("127.0.0.1", (40_000, 65_000), KEY), list[Datagram]()
        assert hub is not None
        with hub.listening(got.append), socket.socket(type=socket.SOCK_DGRAM) as stranger:
            await asyncio.sleep(0.01)
            stranger.sendto(bytes(3000), ("127.0.0.1", hub.port))
            await asyncio.sleep(0.05)
            agent = connect_socket("127.0.0.1", hub.port, KEY)
            agent.send(DatagramKind.PUNCH, 3)
            await _until(lambda: bool(got))
            agent.close()
        hub.close()
        return got[0].number

    with asyncio.Runner(loop_factory=TooLarge) as runner:
        assert runner.run(send_large()) == 3


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


def test_an_error_of_windows_is_named_by_its_own_text() -> None:
    """Its `errno` is EINVAL for most: "invalid argument" would say nothing."""
    refused = ConnectionRefusedError(22, "The remote computer refused the network connection")
    refused.winerror = 1225  # type: ignore[attr-defined]
    assert describe_error(refused) == "the remote computer refused the network connection"
