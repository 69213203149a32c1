"""Why a call did not come about: UDP blocked, no route, DTLS failed and silence are told apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from aioice.ice import Connection

from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import AgentContext, Channel, Failed
from jharnet_monitor.probes.conference.agent import agent_task
from jharnet_monitor.rtc.aiortc_private import Port
from jharnet_monitor.rtc.receive.receiver import Receiver
from tests.call_support import LabCall, LoopbackAgent, Result, call, never_talks
from tests.lab_support import needs_lab

FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
WIDE = {"delay": "20ms", "rate": "4 Mbit/s", "queue": "200ms"}


def _holds(result: Result, cause: Cause) -> None:
    """The network let no call come about: grade 0, for this reason."""
    assert isinstance(result.error, Failed), result
    assert result.error.cause is cause
    assert result.values == {"grade": 0.0}


async def test_a_peer_with_another_certificate() -> None:
    """Its DTLS handshake fails, and neither the link nor UDP is blamed."""

    class Swapping:
        """Passes everything on, but the fingerprint of the offer."""

        def __init__(self, channel: Channel) -> None:
            self.receive, self.close, self._send = channel.receive, channel.close, channel.send

        async def send(self, message: Mapping[str, Any]) -> None:
            """Promise a certificate that is not ours."""
            if message["type"] == "offer":
                lines = message["sdp"].splitlines(keepends=True)
                marked = [FINGERPRINT if "a=fingerprint:sha-256" in line else line
                          for line in lines if "a=fingerprint:sha-384" not in line
                          and "a=fingerprint:sha-512" not in line]  # fmt: skip
                message = {**message, "sdp": "".join(marked)}
            await self._send(message)

    async def far(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await agent_task(Swapping(channel), params, context)

    _holds(await call(LoopbackAgent(far), profile="audio"), Cause.DTLS_FAILED)
    assert (await call(LoopbackAgent(), seconds=1.0, profile="audio")).error is None


async def test_a_peer_that_never_talks() -> None:
    """Connected and secured, but no media comes: that is told, within four seconds more."""
    started = asyncio.get_running_loop().time()
    _holds(await call(LoopbackAgent(never_talks), profile="audio"), Cause.NO_MEDIA)
    assert asyncio.get_running_loop().time() - started < 6


@needs_lab
@pytest.mark.root
def test_blocked_udp_is_not_a_dead_link() -> None:
    """Where a firewall lets TCP pass and drops UDP, the cause is UDP, and the grade is 0."""
    with Lab.start({"offices": {"potka": {"down": WIDE, "up": WIDE}}}, "jhnconf") as lab:
        rules = "add table ip t; add chain ip t c {type filter hook input priority 0;}; "
        rules += "add rule ip t c meta l4proto udp drop"
        lab.run(HEADQUARTERS, ["nft", rules])
        result = LabCall(lab, "potka", seconds=3.0).join()
        _holds(result, Cause.UDP_BLOCKED)


@needs_lab
@pytest.mark.root
@pytest.mark.parametrize("where", [HEADQUARTERS, "potka"])
def test_no_route_is_not_blocked_udp(where: str) -> None:
    """Where a computer has no route for UDP, at either end, the cause is the route."""
    with Lab.start({"offices": {"potka": {"down": WIDE, "up": WIDE}}}, "jhnconf") as lab:
        lab.run(where, ["ip", "rule", "add", "pref", "10", "ipproto", "udp", "unreachable"])
        result = LabCall(lab, "potka", seconds=3.0).join()
        _holds(result, Cause.NO_ROUTE)


@needs_lab
@pytest.mark.root
def test_a_long_way_ends_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a satellite's 700 ms the library would find no consent and end a call; ours goes on.

    Consent is asked for so often here that six answers are missed within the call.
    """
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.3)
    far = {**WIDE, "delay": "350ms"}
    with Lab.start({"offices": {"potka": {"down": far, "up": far}}}, "jhnconf") as lab:
        result = LabCall(lab, "potka", seconds=9.0).join()
        assert result.error is None
        assert result.values["grade"] == 4


async def test_a_check_is_sent_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four lost packets in a row must not look like blocked UDP: more than four are sent."""
    sent: list[float] = []

    async def answered(*asked: object) -> str:
        await asyncio.sleep(1.0)
        return "the answer"

    monkeypatch.setattr("aioice.ice.StunProtocol.request", answered)
    port = Port(Connection(ice_controlling=True))
    monkeypatch.setattr(port, "send_stun", lambda message, addr: sent.append(time.monotonic()))
    assert str(await port.request("check", ("127.0.0.1", 9))) == "the answer"
    assert 4 < len(sent) < 8
    await asyncio.sleep(0.4)
    assert len(sent) < 8


async def test_reports_that_break_end_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an end reports by may not end unseen: the other end's sender would go on blindly."""

    async def broken(self: Receiver, send: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Receiver, "run", broken)
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        await call(LoopbackAgent(), seconds=8.0, profile="audio")
    assert time.monotonic() - begun < 4
