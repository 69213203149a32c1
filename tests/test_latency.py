"""The latency probe: sending, timing, matching and counting of echo requests, and its results.

No test needs an idle machine: times are checked only where a wrong method would be far off.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.judge.latency import delay_variation, jitter, percentile, summarise
from jharnet_monitor.model import QUANTITY_NAMES, Cause
from jharnet_monitor.probes import PROBES, Failed, NoData, ProbeContext, Reading
from jharnet_monitor.probes.latency import pinger as pinger_module
from jharnet_monitor.probes.latency.icmp import EchoSocket
from jharnet_monitor.probes.latency.pinger import Pinger, UnexpectedReply, socket_address
from jharnet_monitor.probes.latency.timestamps import Timebase
from tests.echo_responder import Answers, delayed, in_own_network, reply, responder
from tests.latency_support import Listener, SteppedClock, pings, settings_for

root = pytest.mark.root


# --- the judgement ---------------------------------------------------------------------------


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.floats(1e-4, 5.0), min_size=1, max_size=80), st.integers(0, 80))
def test_summary_keeps_its_order_and_its_names(rtts: list[float], lost: int) -> None:
    """min <= p50 <= p95 <= max, variation within the range, and only declared quantities."""
    values = summarise(rtts, len(rtts) + lost, len(rtts))
    ordered = [values[f"rtt_{name}_seconds"] for name in ("min", "p50", "p95", "max")]
    assert all(a <= b + 1e-12 for a, b in pairwise(ordered))
    assert values["loss_ratio"] == lost / (len(rtts) + lost)
    assert set(values) <= set(QUANTITY_NAMES["latency"])
    if len(rtts) > 1:
        widest = ordered[-1] - ordered[0] + 1.01e-6  # each figure is rounded to a microsecond
        assert 0 <= values["pdv_seconds"] <= widest
        assert 0 <= values["jitter_seconds"] <= widest
    else:
        assert "jitter_seconds" not in values and "pdv_seconds" not in values


def test_jitter_is_rfc_3550s_and_variation_rfc_5481s() -> None:
    """By hand: alternating 40 and 48 ms drives J towards 8 ms; one late packet of 21 is p95."""
    rtts = [0.040, 0.048] * 100
    assert jitter(rtts) == pytest.approx(0.008)
    assert delay_variation([0.040] * 20 + [0.140]) == pytest.approx(0.0)
    assert percentile([0.0, 10.0], 0.95) == pytest.approx(9.5)


def test_duplicates_cannot_hide_a_loss() -> None:
    """More replies than requests is an error of the caller, not a negative loss."""
    with pytest.raises(ValueError, match="duplicates"):
        summarise([0.04] * 3, sent=2, received=3)


# --- the pinger, on loopback ------------------------------------------------------------------


async def ping(
    addresses: list[str], timebase: Timebase | None = None, gap: float = 0.0
) -> tuple[Listener, Pinger]:
    """One request to each address on one pinger, `gap` seconds apart, and their outcomes."""
    pinger, listener = Pinger(timeout=1.0, timebase=timebase), Listener()
    try:
        for address in addresses:
            pinger.send(listener, socket_address(address), tag=address)
            await asyncio.sleep(gap)
        await pinger.settle()
    finally:
        pinger.close()
    return listener, pinger


@pings
async def test_one_socket_serves_many_targets() -> None:
    """One socket, fifty addresses of loopback: every request gets its own reply."""
    addresses = [f"127.0.0.{n}" for n in range(1, 51)]
    listener, pinger = await ping(addresses)
    assert sorted(str(echo.tag) for echo in listener.echoes) == sorted(addresses)
    assert all(echo.received for echo in listener.echoes)
    assert all(0 < rtt < 0.5 for rtt in listener.rtts)
    assert pinger.unmatched == 0


@pings
async def test_a_busy_loop_does_not_inflate_the_round_trip() -> None:
    """The event loop is blocked for 300 ms; the round-trip time stays that of the kernel."""
    pinger, listener = Pinger(timeout=0.1), Listener()
    pinger.send(listener, socket_address("127.0.0.1"))
    time.sleep(0.3)  # noqa: ASYNC251  (blocks the event loop)
    await pinger.settle()
    pinger.close()
    assert [echo.received for echo in listener.echoes] == [True], "no false time-out"
    assert all(rtt < 0.05 for rtt in listener.rtts)


@pings
@pytest.mark.parametrize("step", [3600.0, -3600.0, 10 * 365 * 86400.0, 0.5])
async def test_a_clock_step_changes_no_round_trip_time(step: float) -> None:
    """The wall clock is set between the arrival and the reading of replies: none is lost or off."""
    listener, pinger = await ping_over_a_step(step)
    assert [echo.received for echo in listener.echoes] == [True] * 20
    assert len(listener.rtts) == sum(echo.send_time_known for echo in listener.echoes) > 0
    assert all(0 < rtt < 0.05 for rtt in listener.rtts)
    assert pinger.clock_steps >= 1


@pings
async def test_an_ambiguous_clock_step_costs_the_time_of_a_reply_not_the_reply() -> None:
    """A step of 0.1 s while replies waited longer: all are received, and no time is wrong."""
    listener, _ = await ping_over_a_step(0.1)
    assert [echo.received for echo in listener.echoes] == [True] * 20
    assert all(0 < rtt < 0.05 for rtt in listener.rtts)


async def ping_over_a_step(step: float) -> tuple[Listener, Pinger]:
    """Twenty requests whose replies are read at once, after the clock was set half-way."""
    clock = SteppedClock(step, at=time.time() + 0.1)
    pinger, listener = Pinger(timeout=2.0, timebase=clock), Listener()
    for _ in range(20):
        pinger.send(listener, socket_address("127.0.0.1"))
        time.sleep(0.01)  # noqa: ASYNC251  (replies wait unread when the clock is set)
    await pinger.settle()
    pinger.close()
    return listener, pinger


# --- the pinger, with a responder that misbehaves ----------------------------------------------


def ping_responder(
    answers: Answers, addresses: list[str], unprivileged: bool
) -> tuple[Listener, Pinger]:
    """As `ping`, to a responder; apart, so that a short pause of this computer delays only some."""

    async def test() -> tuple[Listener, Pinger]:
        with responder(answers):
            return await ping(addresses, gap=0.05)

    return in_own_network(test, unprivileged)


class TestResponder:
    """Both kinds of socket, both IP families, and replies that are wrong."""

    pytestmark = root

    @pytest.mark.parametrize("unprivileged", [True, False], ids=["unprivileged", "raw"])
    @pytest.mark.parametrize("address", ["10.77.3.1", "fd77::31"])
    def test_a_known_delay_is_measured(self, address: str, unprivileged: bool) -> None:
        """A round trip of 40 ms is measured as 40 ms (a wrong clock or unit would be far off)."""
        listener, _ = ping_responder(delayed(0.040), [address] * 10, unprivileged)
        assert [echo.received for echo in listener.echoes] == [True] * 10
        assert 0.040 <= min(listener.rtts) < 0.060

    @pytest.mark.parametrize("unprivileged", [True, False], ids=["unprivileged", "raw"])
    def test_unexpected_replies_are_classified(self, unprivileged: bool) -> None:
        """Duplicate, corrupted, late and from another source: each is counted, none as a reply."""
        other_source = bytes([10, 77, 9, 9])

        def answers(packet: bytes) -> list[tuple[float, bytes]]:
            match packet[19]:
                case 1:
                    return [(0.0, reply(packet)), (0.1, reply(packet))]
                case 2:
                    return [(0.0, reply(packet, payload=bytes(56)))]
                case 3:
                    return [(1.3, reply(packet))]
                case 4:
                    return [(0.0, reply(packet, source=other_source))]
                case _:
                    return [(1.6, reply(packet))]  # after the late one

        async def test() -> tuple[Listener, Pinger]:
            pinger, listener = Pinger(timeout=1.0), Listener()
            with responder(answers):
                for last in (1, 2, 3, 4):
                    pinger.send(listener, socket_address(f"10.77.0.{last}"), tag=last)
                await pinger.settle()
                async with asyncio.timeout(20):
                    while UnexpectedReply.LATE not in listener.unexpected_replies:
                        await asyncio.sleep(0.05)
                await asyncio.sleep(0.3)  # none comes twice
            pinger.close()
            return listener, pinger

        listener, pinger = in_own_network(test, unprivileged)
        outcome = {echo.tag: echo.received for echo in listener.echoes}
        assert outcome == {1: True, 2: False, 3: False, 4: False}
        assert listener.unexpected_replies == dict.fromkeys(UnexpectedReply, 1)
        assert pinger.unmatched == 1

    def test_dscp_marks_every_packet(self) -> None:
        """EF is set in the packets of both IP families."""
        seen: set[int] = set()

        def answers(packet: bytes) -> list[tuple[float, bytes]]:
            seen.add(
                packet[1] >> 2 if packet[0] >> 4 == 4 else (packet[0] << 8 | packet[1]) >> 6 & 63
            )
            return [(0.0, reply(packet))]

        async def test() -> None:
            pinger, listener = Pinger(timeout=1.0, dscp=46), Listener()
            with responder(answers):
                for address in ("10.77.0.1", "fd77::1"):
                    pinger.send(listener, socket_address(address))
                await pinger.settle()
            pinger.close()
            assert [echo.received for echo in listener.echoes] == [True] * 2

        in_own_network(test, unprivileged=True)
        assert seen == {46}

    def test_replies_that_the_kernel_dropped_do_not_count_as_lost(self) -> None:
        """After an overflow of the receive buffer, the outcome of a request is unknown."""

        async def test() -> Listener:
            pinger, listener = Pinger(timeout=1.0), Listener()
            echo_socket = pinger.open(4)
            assert isinstance(echo_socket, EchoSocket)
            echo_socket._sock.setsockopt(1, 33, 2304)  # SO_RCVBUFFORCE: room for a few replies
            with responder(delayed(0.05)):
                for n in range(40):
                    pinger.send(listener, socket_address(f"10.77.0.{n}"))
                time.sleep(0.3)  # noqa: ASYNC251  (the event loop does not read them)
                await pinger.settle()
            pinger.close()
            return listener

        outcomes = Counter(echo.received for echo in in_own_network(test, True).echoes)
        assert outcomes[True] > 0
        assert outcomes[None] > 0
        assert outcomes[False] == 0


# --- the probe, run on request -------------------------------------------------------------------


async def probe(router: str, reply_within: str = "1s", **options: Any) -> Reading:
    """Run the probe on an office with this router."""
    settings = settings_for({"router": router}, timeout=reply_within)
    context = ProbeContext(settings, settings.offices[0], SystemClock(), None, options)
    return await PROBES["latency"].run(context)


@pings
async def test_probe_gives_a_reading_with_its_identifier() -> None:
    """Counts, RTT and jitter, and the ICMP identifier by which the packets can be found."""
    reading = await probe("127.0.0.1", packets=5)
    assert reading.values["sent"] == reading.values["received"] == 5
    assert reading.values["loss_ratio"] == 0
    assert set(reading.values) <= set(QUANTITY_NAMES["latency"])
    assert 0 < reading.conditions["icmp_id"] <= 0xFFFF
    assert reading.conditions["address"] == "127.0.0.1"


@pings
async def test_replies_that_cannot_be_timed_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """This program was interrupted at every send: nothing is lost, and no RTT is known."""
    monkeypatch.setattr(pinger_module, "_MAX_SEND_NS", 0)
    reading = await probe("127.0.0.1", packets=5)
    assert reading.values == {"sent": 5, "received": 5, "loss_ratio": 0}
    assert reading.conditions["untimed"] == 5


async def test_a_name_that_is_not_resolved_is_no_data() -> None:
    """`no_data` with the cause `name_not_resolved`, and no values."""
    with pytest.raises(NoData) as raised:
        await probe("no-such-router.invalid", packets=1)
    assert raised.value.cause is Cause.NAME_NOT_RESOLVED
    assert not raised.value.values


class TestProbeInAnEmptyNetwork:
    """Packets that cannot be sent, and packets that nobody answers."""

    pytestmark = root

    def test_what_was_not_sent_is_not_lost(self) -> None:
        """Without a route nothing is sent: `no_data`, neither 0 % nor 100 % loss."""
        with pytest.raises(NoData) as raised:
            in_own_network(lambda: probe("10.77.0.1", packets=2), True)
        assert raised.value.cause is Cause.NOT_SENT
        assert raised.value.conditions["refused"] == {"ENETUNREACH": 2}
        assert not raised.value.values

    def test_silence_has_no_round_trip_time(self) -> None:
        """Nobody answers: `failed`, 100 % loss, and no round-trip time."""

        async def test() -> Reading:
            with responder(lambda packet: []):
                return await probe("10.77.0.1", packets=3, reply_within="300 ms")

        with pytest.raises(Failed) as raised:
            in_own_network(test, True)
        assert raised.value.cause is Cause.NO_REPLY
        assert raised.value.values == {"sent": 3, "received": 0, "loss_ratio": 1}
