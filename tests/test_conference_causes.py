"""Causes of failed calls: blocked UDP, no route, failed DTLS and missing media."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aioice.ice import Connection

from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import AgentContext, Channel, Failed, NoData
from jharnet_monitor.probes.conference.agent import agent_task
from jharnet_monitor.rtc.aiortc_private import Port
from jharnet_monitor.rtc.receive.receiver import Receiver
from tests.busy_host import line_was_late, overloaded, repeated
from tests.call_support import (
    LabCall,
    LoopbackAgent,
    Result,
    call,
    sends_no_media,
    undisturbed_call,
)
from tests.lab_support import needs_lab

FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
WIDE = {"delay": "20ms", "rate": "4 Mbit/s", "queue": "200ms"}


def _assert_failed(result: Result, cause: Cause) -> None:
    """The network prevented the call: grade 0 with this cause."""
    assert isinstance(result.error, Failed), result
    assert result.error.cause is cause
    assert result.values == {"grade": 0.0}


async def test_a_wrong_certificate_fails_dtls() -> None:
    """A fingerprint that does not match is a failed DTLS handshake; the next call works."""

    class FingerprintChannel:
        """Passes all messages on, with another fingerprint in the offer."""

        def __init__(self, channel: Channel) -> None:
            self.receive, self.close, self._send = channel.receive, channel.close, channel.send

        async def send(self, message: Mapping[str, Any]) -> None:
            """Replace the fingerprints."""
            if message["type"] == "offer":
                lines = message["sdp"].splitlines(keepends=True)
                marked = [FINGERPRINT if "a=fingerprint:sha-256" in line else line
                          for line in lines if "a=fingerprint:sha-384" not in line
                          and "a=fingerprint:sha-512" not in line]  # fmt: skip
                message = {**message, "sdp": "".join(marked)}
            await self._send(message)

    async def far(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await agent_task(FingerprintChannel(channel), params, context)

    failed = await undisturbed_call(LoopbackAgent(far), profile="audio")
    _assert_failed(failed, Cause.DTLS_FAILED)
    after = await undisturbed_call(LoopbackAgent(), seconds=1.0, profile="audio")
    assert after.error is None


async def test_missing_media() -> None:
    """Missing media after the DTLS handshake is reported within four seconds."""
    failed = await undisturbed_call(LoopbackAgent(sends_no_media), profile="audio")
    _assert_failed(failed, Cause.NO_MEDIA)
    assert failed.seconds < 6


async def test_a_name_that_is_not_resolved_is_no_line_without_a_route(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent's name server did not answer, while its session lasted: the office had grade 0."""
    resolve = socket.getaddrinfo

    def no_answer(host: Any, *arguments: Any, **named: Any) -> Any:
        if host == "hub.invalid":
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *arguments, **named)

    async def far(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await agent_task(channel, params, replace(context, hub="https://hub.invalid:9797"))

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    result = await call(LoopbackAgent(far), seconds=3)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.NAME_NOT_RESOLVED and "grade" not in result.values


FAR = {**WIDE, "delay": "350ms"}
DROP = "add table ip t; add chain ip t c {type filter hook input priority 0;}; \
add rule ip t c meta l4proto udp drop"
NO_ROUTE = ["ip", "rule", "add", "pref", "10", "ipproto", "udp", "unreachable"]


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, Result]]:
    """Calls over four lines, held at the same time: UDP is blocked, either end has no route, and
    the round trip is long.

    The interval of the consent checks is shortened so that six of them fall into the long call.
    """
    cases: dict[str, tuple[dict[str, str], str, list[str], float]] = {
        "blocked": (WIDE, HEADQUARTERS, ["nft", DROP], 3.0),
        HEADQUARTERS: (WIDE, HEADQUARTERS, NO_ROUTE, 3.0),
        "potka": (WIDE, "potka", NO_ROUTE, 3.0),
        "far": (FAR, "potka", [], 9.0),
    }
    with ExitStack() as labs, pytest.MonkeyPatch.context() as patch:
        patch.setattr("aioice.ice.CONSENT_INTERVAL", 0.3)
        places = {}
        for number, (name, (line, where, command, _)) in enumerate(cases.items()):
            offices = {"offices": {"potka": {"down": line, "up": line}}}
            places[name] = labs.enter_context(Lab.start(offices, f"jhnc{number}"))
            if command:
                places[name].run(where, command)

        def hold(*names: str) -> dict[str, Result]:
            for name in names:
                places[name].reset()
            calls = {name: LabCall(places[name], "potka", seconds=cases[name][3]) for name in names}
            return {name: held.join() for name, held in calls.items()}

        def disturbed(results: dict[str, Result]) -> bool:
            return any(overloaded(one) or line_was_late(places[n]) for n, one in results.items())

        held = hold(*places)
        for name in [name for name, result in held.items() if disturbed({name: result})]:
            again = repeated(partial(hold, name), disturbed)
            held |= again
        yield held


@needs_lab
@pytest.mark.root
def test_blocked_udp(results: dict[str, Result]) -> None:
    """If a firewall passes TCP and drops UDP, the cause is blocked UDP."""
    _assert_failed(results["blocked"], Cause.UDP_BLOCKED)


@needs_lab
@pytest.mark.root
@pytest.mark.parametrize("where", [HEADQUARTERS, "potka"])
def test_no_route(results: dict[str, Result], where: str) -> None:
    """If either end has no route for UDP, the cause is the route."""
    _assert_failed(results[where], Cause.NO_ROUTE)


@needs_lab
@pytest.mark.root
def test_a_long_round_trip_does_not_end_the_call(results: dict[str, Result]) -> None:
    """At a satellite's 700 ms aioice alone would miss the consent answers and end the call."""
    assert results["far"].error is None
    assert results["far"].values["grade"] == 4


async def test_connectivity_checks_are_resent_until_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four lost packets in a row must not look like blocked UDP, so more than four are sent."""
    sent: list[float] = []

    async def answered(*requested: object) -> str:
        async with asyncio.timeout(60):
            while len(sent) < 5:
                await asyncio.sleep(0.02)
        return "the answer"

    monkeypatch.setattr("aioice.ice.StunProtocol.request", answered)
    port = Port(Connection(ice_controlling=True))
    monkeypatch.setattr(port, "send_stun", lambda message, addr: sent.append(time.monotonic()))
    assert str(await port.request("check", ("127.0.0.1", 9))) == "the answer"
    assert sent[4] - sent[0] > 0.55, "one in 0.15 s"
    known = len(sent)
    await asyncio.sleep(0.4)
    assert len(sent) == known, "none once it is answered"


async def test_a_calls_packets_carry_the_mark() -> None:
    """Marks are seen where packets arrive; unmarked packets carry none."""
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near,
    ):
        for one in (far, near):
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        far.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        port = Port(Connection(ice_controlling=True))
        port.socket = near
        seen = []
        for mark in (0, 34):
            port.mark(mark)
            near.sendto(b"x", far.getsockname())
            await asyncio.wait_for(_readable(loop, far), 2)
            seen.append(far.recvmsg(9, 64)[1][0][2][0] >> 2)
    assert seen == [0, 34]


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    await ready.wait()
    loop.remove_reader(sock)


async def test_a_failing_report_task_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without receiver reports the other end's sender would not step down."""

    async def broken(self: Receiver, send: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Receiver, "run", broken)
    start_time = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        await call(LoopbackAgent(), seconds=8.0, profile="audio")
    assert time.monotonic() - start_time < 4
