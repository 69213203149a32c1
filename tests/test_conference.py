"""The conference probe: real calls over loopback and over the lab, and misbehaving peers."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aioice.ice import Connection
from aiortc.rtp import RtcpRrPacket
from aiortc.sdp import SessionDescription

from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.lab import Lab
from jharnet_monitor.model import QUANTITY_NAMES, Cause
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.agent_tasks import AGENT_TASKS
from jharnet_monitor.probes.base import AgentContext, Channel, Failed, NoData
from jharnet_monitor.probes.conference.agent import agent_task
from jharnet_monitor.probes.conference.plan import TWIN_SECONDS, time_limit
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.profiles import rung
from jharnet_monitor.rtc import aiortc_private
from jharnet_monitor.rtc.aiortc_private import LibraryChanged, Port, self_test
from jharnet_monitor.rtc.call import Call, warm_up
from jharnet_monitor.rtc.rtp import original_sequence, parse_header, retransmission, unwrap
from jharnet_monitor.rtc.sdp import BadDescription, candidate_addresses, parse_streams, sanitize
from jharnet_monitor.rtc.stats.call_stats import ReceiveStats, SendStats
from jharnet_monitor.rtc.stats.host_load import HostLoad, HostLoadMonitor
from jharnet_monitor.rtc.stats.line_process import observe_line
from tests.busy_host import MAX_LATE_MS, overloaded, repeated, was_late
from tests.call_support import LabCall, LoopbackAgent, Result, call, undisturbed_call
from tests.support import make_context

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def _sockets() -> int:
    """UDP and other sockets that this process holds."""
    return sum(entry.is_socket() for entry in Path("/proc/self/fd").iterdir())


def _threads() -> set[threading.Thread]:
    """The threads of this process other than those of the event loop's executor."""
    return {
        thread for thread in threading.enumerate() if not re.fullmatch(r"asyncio_\d+", thread.name)
    }


# A call


async def test_a_call_on_loopback() -> None:
    """On a clean path the grade is 4, all quantities are measured and all datagrams are counted.

    The twin answers from a process of its own, on the line that the call met.
    """
    agent = LoopbackAgent()
    result = await undisturbed_call(agent, seconds=3.0, twin=True)
    assert result.error is None
    assert "at_least" not in result.conditions
    assert set(result.values) <= set(QUANTITY_NAMES["conference"])
    missing = set(QUANTITY_NAMES["conference"]) - set(result.values)
    assert missing == {"down_video_mos", "up_video_mos"}, "VP8 has no G.1070 rating"
    shares = [result.values[f"grade_{n}_probability"] for n in range(5)]
    assert sum(shares) == pytest.approx(1.0, abs=3e-4), "each is rounded to four decimals"
    assert set(result.conditions) >= {
        "certainty", "line", "line_seed", "twin_grade", "twin_version",
    }  # fmt: skip
    assert result.values["grade"] == 4
    assert result.values["setup_seconds"] < 2
    for way in ("down", "up"):
        assert result.values[f"{way}_height"] == 720
        assert result.values[f"{way}_video_loss_ratio"] == 0
        assert result.values[f"{way}_audio_loss_ratio"] == 0
        assert result.values[f"{way}_frames_per_second"] == pytest.approx(30, abs=2)
        assert result.values[f"{way}_bits_per_second"] == pytest.approx(1.5e6, rel=0.1)
        assert result.conditions[f"{way}_wire_sent"] == pytest.approx(
            result.conditions[f"{way}_wire_received"], abs=3
        )
    assert result.conditions["limited_by"] == "none"
    assert 40000 <= result.conditions["hub_port"] <= 40199


async def test_datagrams_sent_while_an_end_computes_are_counted_at_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each end sends 15 to 30 reports before it has the call's figures; both ways' counts agree."""
    receive_stats, ours = Call.receive_stats, bytes(RtcpRrPacket(ssrc=1))
    ends: list[Call] = []

    async def noted(end: Call, sent: SendStats, **_: bool) -> ReceiveStats:
        ends.append(end)
        return await receive_stats(end, sent)  # both ends observe the line

    async def observed(*arrivals: Any) -> ObservedLine | None:
        for end in ends:
            for _ in range(15):  # by each of the two ends that observe
                with suppress(ConnectionError):  # of a call before, which was repeated
                    await end._connection.send(ours)
        return await observe_line(*arrivals)

    monkeypatch.setattr(Call, "receive_stats", noted)
    monkeypatch.setattr("jharnet_monitor.rtc.call.observe_line", observed)
    result = await undisturbed_call(LoopbackAgent(), seconds=3.0)
    assert result.error is None
    for way in ("down", "up"):
        sent, received = (result.conditions[f"{way}_wire_{what}"] for what in ("sent", "received"))
        assert sent == pytest.approx(received, abs=2), way


async def test_calls_leave_no_resources() -> None:
    """After three calls at once there are no more tasks, threads and sockets than before.

    The event loop's executor may grow, up to its limit. Where asyncio waits for the end of a
    process in a thread, this thread ends soon after the call.
    """

    async def three() -> None:
        await asyncio.gather(
            *(call(LoopbackAgent(), seconds=1.0, profile="audio") for _ in range(3))
        )

    await three()  # imports
    tasks, threads, sockets = asyncio.all_tasks(), _threads(), _sockets()
    await three()
    assert asyncio.all_tasks() <= tasks
    assert _sockets() <= sockets
    for thread in _threads() - threads:
        thread.join(5.0)
        assert not thread.is_alive(), thread.name


async def test_the_probe_is_registered() -> None:
    """The hub has the probe, and the agent has its half."""
    probe = PROBES["conference"]
    assert probe.heavy
    assert probe.needs_agent(make_context())
    task = AGENT_TASKS["conference"]
    assert isinstance(task, Deferred) and task.load() is agent_task


@pytest.mark.parametrize("seconds", [3.0, 30.0, 600.0])
def test_a_busy_twin_has_its_time_after_the_longest_call(seconds: float) -> None:
    """A call that was held was cut off while a busy hub asked the twin: it counted as one that the
    network prevented, in the papers as no conference. In a drill nothing is asked."""
    alone = time_limit(make_context(seconds=seconds, twin=False))
    assert time_limit(make_context(seconds=seconds)) == alone + 2 * TWIN_SECONDS
    assert time_limit(make_context(seconds=seconds, watch=print)) == alone
    assert time_limit(make_context(seconds=seconds, profile="360p")) == alone


async def test_a_call_respects_the_granted_uplink_rate() -> None:
    """With less than its profile needs a call starts lower; with almost nothing it is refused."""
    result = await undisturbed_call(LoopbackAgent(), seconds=1.5, granted=0.9e6)
    assert result.conditions["profile"] == "720p-lean"
    assert result.values["up_bits_per_second"] < 0.9e6
    await _expect(LoopbackAgent(), Cause.UPLINK_BUSY, NoData, granted=10e3)


async def test_calls_of_lower_profiles() -> None:
    """A call of a lower profile sends no more than that, and its grade is limited by it."""
    grades = {"audio": 1, "180p": 2}
    results = await asyncio.gather(
        *(undisturbed_call(LoopbackAgent(), seconds=1.5, profile=profile) for profile in grades)
    )
    for (profile, grade), result in zip(grades.items(), results, strict=True):
        assert result.values["grade"] == grade
        assert result.conditions["at_least"], "the planned calls try 720p"
        assert result.values["up_bits_per_second"] < 1.3 * rung(profile).line_rate


async def test_an_overloaded_host_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the event loop was late for a tenth of the call, there is no grade but `no_data`."""
    overloaded = HostLoad(lag=0.4, stalled=0.1, cpu=1.0)
    monkeypatch.setattr(HostLoadMonitor, "load", lambda self: overloaded)
    result = await call(LoopbackAgent(), seconds=1.0, profile="audio")
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.HOST_OVERLOADED
    assert result.values == {}
    assert result.conditions["limited_by"] == "host"


# Peers that are missing, leave, or misbehave


Hold = Callable[..., Awaitable[Result]]


async def _expect(
    agent: Any, cause: Cause, kind: type[Exception], hold: Hold = undisturbed_call, **options: Any
) -> str:
    """Hold a call that must end with this cause; returns the detail of its error."""
    result = await asyncio.wait_for(hold(agent, seconds=1.5, **options), 100)
    assert isinstance(result.error, kind), result
    assert result.error.cause is cause, result.error
    return result.error.detail


async def test_no_agent() -> None:
    """Without an agent the outcome is `no_data`, without values."""
    result = await call(None)
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.NO_AGENT
    assert result.values == {}


async def test_unknown_profile() -> None:
    """The error for an unknown profile lists the known ones."""
    detail = await _expect(LoopbackAgent(), Cause.NOT_CONFIGURED, NoData, profile="8k")
    assert "720p" in detail


CANDIDATE = "a=candidate:1 1 udp 1 127.0.0.1 5000 typ host\r\n"
FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"


async def _offers(channel: Channel, sdp: object) -> None:
    await channel.send({"type": "offer", "sdp": sdp})
    await channel.receive()


@pytest.mark.parametrize(
    "sdp",
    [
        None,
        7,
        "",
        "v=0",
        "v=0\r\n" + CANDIDATE + "x" * 30_000,
        "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\n" + CANDIDATE,
        "v=0\r\n" + FINGERPRINT + "m=video x\r\n" + CANDIDATE,
    ],
)
async def test_broken_session_descriptions(sdp: object) -> None:
    """Anything but a valid offer ends the call at once with a cause."""

    async def far(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await _offers(channel, sdp)

    result = await asyncio.wait_for(call(LoopbackAgent(far), seconds=1.0), 5)
    assert isinstance(result.error, NoData)
    assert result.error.cause in (Cause.SIGNALLING_FAILED, Cause.BAD_REPORT)


async def _an_offer() -> str:
    async with Call("127.0.0.1", rung("audio")) as there:
        return await there.offer()


async def test_a_peer_that_does_not_listen() -> None:
    """An offer from a closed connection is reported as blocked UDP within four seconds."""
    offer = await _an_offer()

    async def far(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await _offers(channel, offer)
        await channel.receive()

    result = await undisturbed_call(LoopbackAgent(far), seconds=1.0)
    assert result.seconds < 6
    assert isinstance(result.error, Failed)
    assert result.error.cause is Cause.UDP_BLOCKED
    assert result.values == {"grade": 0.0}, "a call that cannot be set up has grade 0"


async def test_a_peer_that_leaves() -> None:
    """If the agent leaves during a call the outcome is `no_data`, and the next call works."""

    async def far(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        half = asyncio.create_task(agent_task(channel, params, context))
        await asyncio.sleep(1.0)
        half.cancel()
        await asyncio.wait({half})

    await _expect(LoopbackAgent(far), Cause.AGENT_LOST, NoData)
    after = await undisturbed_call(LoopbackAgent(), seconds=1.0, profile="audio")
    assert after.error is None


async def _says_falsely(false: dict[str, int]) -> str:
    """The detail of the error of a call whose other end sends such statistics."""

    class FalsifyingChannel:
        """Passes all messages on, with false statistics."""

        def __init__(self, channel: Channel) -> None:
            self.receive, self.close, self._send = channel.receive, channel.close, channel.send

        async def send(self, message: Mapping[str, Any]) -> None:
            """Falsify the `sent` message."""
            changes = false if message["type"] == "sent" else {}
            await self._send({**message, **changes})

    async def far(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await agent_task(FalsifyingChannel(channel), params, context)

    return await _expect(LoopbackAgent(far), Cause.BAD_REPORT, NoData, profile="audio")


async def test_impossible_statistics_are_rejected() -> None:
    """The error names the impossible field, before anything is computed from it; six calls at the
    same time."""
    falsehoods = [
        {"audio_packets": -5},
        {"audio_packets": 10**9},
        {"audio_window": 10**6},
        {"video_rung": 10**9},
        {"video_window": 7},
        {"seconds": 0},
    ]
    details = await asyncio.gather(*map(_says_falsely, falsehoods))
    for false, detail in zip(falsehoods, details, strict=True):
        assert next(iter(false)) in detail


async def test_a_peer_that_floods() -> None:
    """Ten thousand datagrams to our port are dropped and end the call."""

    class PortReadingChannel:
        """Passes all messages on, and keeps the port in headquarters' answer."""

        def __init__(self, channel: Channel) -> None:
            self.send, self.close, self._receive = channel.send, channel.close, channel.receive
            self.port = 0

        async def receive(self) -> dict[str, Any]:
            """Read the port from the answer's candidate."""
            message = await self._receive()
            if message["type"] == "answer":
                self.port = int(message["sdp"].split("a=candidate:")[1].split()[5])
            return message

    async def far(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        reading = PortReadingChannel(channel)
        half = asyncio.create_task(agent_task(reading, params, context))
        while not reading.port:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for _ in range(40):
                for _ in range(250):
                    udp.sendto(b"\x80" * 20, ("127.0.0.1", reading.port))
                await asyncio.sleep(0.005)
        await half

    detail = await _expect(LoopbackAgent(far), Cause.BAD_REPORT, NoData, call, profile="audio")
    assert "floods" in detail


async def test_a_flood_that_the_kernel_drops_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is too busy to read it sees a small part, and called itself overloaded. A
    stall in which a call's own packets are dropped is no flood."""
    dropped, now = [9000], [100.0]
    monkeypatch.setattr(Port, "socket_drops", property(lambda port: dropped[0]))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    port = Port(Connection(ice_controlling=True))
    assert not port.is_flooded(), "whatever was before the first question"
    for seconds, more, flooded in (
        (0.05, 2500, False), (30.0, 7500, False), (0.5, 3900, False), (0.6, 400, False),
        (0.3, 1500, False), (0.7, 2600, True),
    ):  # fmt: skip
        dropped[0] += more
        now[0] += seconds
        assert port.is_flooded() is flooded, (seconds, more)


async def test_no_free_port() -> None:
    """If no port of the range is free, the error names the host, not the network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        offer = await _an_offer()
        async with Call("127.0.0.1", rung("audio"), (number, number)) as here:
            with pytest.raises(Exception, match="no free UDP port"):
                await here.answer(offer)


# Session descriptions and packets


async def test_unusable_candidates_are_removed() -> None:
    """Only UDP host candidates that our address can reach are kept, at most four."""
    offer = await _an_offer()
    foreign = [
        "1 1 udp 1 224.0.0.1 5000 typ host",
        "1 1 udp 1 0.0.0.0 5000 typ host",
        "1 1 udp 1 10.8.1.10 22 typ host",
        "1 1 tcp 1 10.8.1.10 5000 typ host",
        "1 1 udp 1 fd00::1 5000 typ host",
        "1 1 udp 1 name.local 5000 typ host",
        "1 1 udp 1 10.8.1.10 99999 typ host",
        "1 2 udp 1 10.8.1.10 5000 typ host",
        "1 1 udp 1 10.8.1.10 5000 typ relay",
    ]
    lines = "".join(f"a=candidate:{line}\r\n" for line in foreign)
    begin = offer.index("a=candidate:")
    for candidate in foreign:
        one = offer[:begin] + f"a=candidate:{candidate}\r\n" + offer[begin:]
        assert candidate not in sanitize(one, "127.0.0.1")
    assert sanitize(offer + lines, "127.0.0.1").count("a=candidate:") <= 4
    assert "end-of-candidates" not in sanitize(offer, "127.0.0.1")
    assert candidate_addresses(offer)[0] == "127.0.0.1"


async def test_a_host_that_hides_its_name_everywhere_is_accepted() -> None:
    """Firefox writes its mDNS name where aiortc wants an address, too."""
    offer = await _an_offer()
    named = re.sub(r"(?m)^c=IN IP4 [0-9.]+", "c=IN IP4 7c45aaab-6a83.local", offer)
    named = re.sub(r"(?m)^a=rtcp:\d+ IN IP4 [0-9.]+", "a=rtcp:9 IN IP4 7c45aaab-6a83.local", named)
    assert named != offer
    clean = sanitize(named, "127.0.0.1")
    assert ".local" not in clean
    assert "IN IP4 0.0.0.0" in str(SessionDescription.parse(clean))
    assert sanitize(offer, "127.0.0.1").count("c=IN IP4 127.0.0.1") == offer.count("c=IN IP4 127")


async def test_streams_of_a_description() -> None:
    """Our offer describes Opus, and VP8 with retransmission."""
    offer = await _an_offer()
    found = parse_streams(offer)
    assert found.video.rtx_ssrc is not None
    assert len({found.audio.ssrc, found.video.ssrc, found.video.rtx_ssrc}) == 3
    with pytest.raises(BadDescription, match="vp8"):
        parse_streams(offer.replace("VP8", "AV1"))


def test_retransmission_packets() -> None:
    """A retransmission keeps the payload and carries the original sequence number."""
    packet = bytes.fromhex("9061000112345678cafebabebede0001100030ff") + b"\x10\x00payload"
    header = parse_header(packet)
    assert header is not None
    assert (header.payload_type, header.sequence, header.payload_offset) == (0x61, 1, 20)
    again = retransmission(packet, payload_type=98, ssrc=7, sequence=9)
    wrapped = parse_header(again)
    assert wrapped is not None
    assert (wrapped.payload_type, wrapped.sequence, wrapped.ssrc) == (98, 9, 7)
    assert again[wrapped.payload_offset :] == b"\x00\x01" + packet[20:]
    assert parse_header(b"\x80" * 11) is None
    assert parse_header(b"\x9f" + b"\xff" * 20) is None
    assert unwrap(0, 65535) == 65536


def test_padding_is_no_retransmission() -> None:
    """Padding on the retransmission stream, with which Chromium probes a line, repeats no packet.

    Read as a repetition of packet 0, it moved the numbers of all packets after it, and a lossy line
    was called frozen.
    """
    padded = bytes.fromhex("b0620009123456780000000710000001aabbccdd")
    header = parse_header(padded + bytes(254) + b"\xff")
    assert header is not None and header.ssrc == 7
    assert original_sequence(padded + bytes(254) + b"\xff", header) is None
    assert original_sequence(padded + b"\x01\x02payload" + b"\x00\x02", header) == 258
    assert original_sequence(padded + b"\x01\x02", header) is None, "padding longer than all"


def test_an_unsupported_library_is_reported_with_its_version(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If a private name of aiortc has changed, hub and agent log its version at start."""
    self_test()

    def changed(self: Any, data: bytes) -> None:
        """The same function without its arrival time."""

    known = list(aiortc_private._KNOWN)
    known[-1] = (changed, *known[-1][1:])
    monkeypatch.setattr(aiortc_private, "_KNOWN", tuple(known))
    with pytest.raises(LibraryChanged, match=r"aiortc 1\.\d+"):
        self_test()
    with caplog.at_level("CRITICAL"):
        warm_up("vp8")
    assert "conference tests are not possible: aiortc 1." in caplog.text


# Over the lab


def _way(rate: str, **keys: Any) -> dict[str, Any]:
    return {"delay": "20ms", "rate": rate, "queue": "200ms", **keys}


@dataclass(frozen=True)
class Held:
    """A call over the lab, the emulator's counts of its flow both ways, and its lateness."""

    result: Result
    flows: Mapping[str, Mapping[str, Any]]
    late_ms: float

    @property
    def disturbed(self) -> bool:
        """Whether this machine disturbed the call or the line, even if there is a grade."""
        names = ("hub_disturbed_seconds", "agent_disturbed_seconds")
        known = self.result.conditions
        busy = any(known.get(name) for name in names) or was_late(known)
        return overloaded(self.result) or busy or self.late_ms > MAX_LATE_MS


def _any_disturbed(held: dict[str, Held]) -> bool:
    return any(one.disturbed for one in held.values())


def _hold(lab: Lab, *together: str) -> dict[str, Held]:
    """Hold a call with each of these offices; the line of `cut` is cut after 3 s."""
    lab.reset()
    calls = {office: LabCall(lab, office, seconds=8.0) for office in together}
    cutting = threading.Timer(3.0, lab.cut, ("cut", "link"))
    if "cut" in together:
        cutting.start()
    results = {office: call.join() for office, call in calls.items()}
    if "cut" in together:
        cutting.join()
        lab.restore("cut", "link")
    late = lab.status()["lateness_ms"]["max"]
    ways = ("down", "up")
    return {
        office: Held(result, {} if result.error else {w: calls[office].flow(w) for w in ways}, late)
        for office, result in results.items()
    }


@needs_root
@pytest.mark.root
def test_calls_over_emulated_links() -> None:
    """Five links: the grades follow the rates; loss and round trip match the emulator.

    The loss of a call's datagrams is within 0.2 percentage points of the emulator's count, and a
    datagram that is on its way when they are counted.
    """
    wide, narrow, poor = _way("4 Mbit/s"), _way("1 Mbit/s"), _way("400 kbit/s")
    lossy = _way("4 Mbit/s", loss={"mean": "2%"})
    offices = {
        "wide": {"down": wide, "up": wide},
        "narrow": {"down": narrow, "up": narrow},
        "poor": {"down": wide, "up": poor},
        "lossy": {"down": lossy, "up": lossy},
        "cut": {"down": wide, "up": wide},
    }
    with Lab.start({"offices": offices}, "jhnconf") as lab:
        # This process holds both ends of each call; five at once used up a CPU of a slow machine.
        held = _hold(lab, "wide", "lossy", "cut") | _hold(lab, "narrow", "poor")
        for office in [office for office, one in held.items() if one.disturbed]:
            again = repeated(partial(_hold, lab, office), _any_disturbed)
            held |= again
    results = {office: one.result for office, one in held.items()}
    for office, grade in (("wide", 4), ("narrow", 4), ("poor", 3), ("lossy", 4)):
        result, late = results[office], held[office].late_ms
        assert result.error is None, (office, result)
        why = f"{office}: {dict(result.values)} {dict(result.conditions)}; {late} ms late"
        assert result.values["grade"] == grade, why
        for way, flow in held[office].flows.items():
            truth = 1 - flow["packets_out"] / flow["packets_in"]
            measured = result.conditions[f"{way}_wire_loss_ratio"]
            near = 0.002 + 1 / flow["packets_in"]
            assert measured == pytest.approx(truth, abs=near), (office, way)
            if office == "lossy":  # the flow has audio, too
                video = result.values[f"{way}_video_loss_ratio"]
                assert 0 < video == pytest.approx(truth, abs=0.01), (way, truth)
    of = results["wide"].conditions
    lag = of["hub_loop_lag_median_seconds"] + of["agent_loop_lag_median_seconds"]
    trip = of["rtt_p50_seconds"]
    assert trip is not None and 0.039 < trip < 0.046 + 3 * lag, dict(of)
    assert results["poor"].conditions["limited_by"] == "rate"
    assert results["poor"].conditions["worse_way"] == "up"
    assert not results["poor"].conditions["down_stepped_down"]
    error = results["cut"].error
    assert isinstance(error, Failed)
    assert error.cause is Cause.INTERRUPTED
    assert results["cut"].values == {"grade": 0.0}
