"""The latency probe: what it sends, how it times, matches and counts, and what it calls an outcome.

Nothing here needs a quiet machine: times are held only where a wrong method would be far off.
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
from jharnet_monitor.probes.latency.pinger import Pinger, Stray, socket_address
from jharnet_monitor.probes.latency.timestamps import Timebase
from tests.echo_far_end import Manner, delayed, far_end, in_own_network, reply
from tests.latency_support import Listener, SteppedClock, pings, settings_for

root = pytest.mark.root


# --- the judgement ---------------------------------------------------------------------------


@settings(deadline=None)  # others use this machine, too
@given(st.lists(st.floats(1e-4, 5.0), min_size=1, max_size=80), st.integers(0, 80))
def test_summary_keeps_its_order_and_its_names(rtts: list[float], lost: int) -> None:
    """min <= p50 <= p95 <= max, variation within the range, and only quantities of the table."""
    values = summarise(rtts, len(rtts) + lost, len(rtts))
    ordered = [values[f"rtt_{name}_seconds"] for name in ("min", "p50", "p95", "max")]
    assert all(a <= b + 1e-12 for a, b in pairwise(ordered))
    assert values["loss_ratio"] == lost / (len(rtts) + lost)
    assert set(values) <= set(QUANTITY_NAMES["latency"])
    if len(rtts) > 1:
        assert 0 <= values["pdv_seconds"] <= ordered[-1] - ordered[0] + 1e-12
        assert 0 <= values["jitter_seconds"] <= ordered[-1] - ordered[0] + 1e-12
    else:
        assert "jitter_seconds" not in values and "pdv_seconds" not in values


def test_jitter_is_rfc_3550s_and_variation_rfc_5481s() -> None:
    """By hand: alternating 40 and 48 ms drives J towards 8 ms; one late packet of 21 is p95."""
    rtts = [0.040, 0.048] * 100
    assert jitter(rtts) == pytest.approx(0.008 * (1 - (15 / 16) ** 199))
    assert delay_variation([0.040] * 20 + [0.140]) == pytest.approx(0.0)
    assert percentile([0.0, 10.0], 0.95) == pytest.approx(9.5)


def test_duplicates_cannot_hide_a_loss() -> None:
    """More replies than requests is a mistake of the caller, not a negative loss."""
    with pytest.raises(ValueError, match="duplicates"):
        summarise([0.04] * 3, sent=2, received=3)


# --- the pinger, on loopback ------------------------------------------------------------------


async def ping(addresses: list[str], timebase: Timebase | None = None) -> tuple[Listener, Pinger]:
    """One request to each address on one pinger, and what became of them."""
    pinger, listener = Pinger(timeout=1.0, timebase=timebase), Listener()
    try:
        for address in addresses:
            pinger.send(listener, socket_address(address), mark=address)
        await pinger.settle()
    finally:
        pinger.close()
    return listener, pinger


@pings
async def test_one_socket_serves_many_targets() -> None:
    """Fifty addresses of loopback, one socket: every request has its own reply."""
    addresses = [f"127.0.0.{n}" for n in range(1, 51)]
    listener, pinger = await ping(addresses)
    assert sorted(str(echo.mark) for echo in listener.echoes) == sorted(addresses)
    assert all(echo.received for echo in listener.echoes)
    assert all(0 < rtt < 0.5 for rtt in listener.rtts)
    assert pinger.strange == 0


@pings
async def test_a_busy_loop_does_not_inflate_the_round_trip() -> None:
    """The loop sleeps 300 ms over the reply, the round trip stays that of the kernel."""
    pinger, listener = Pinger(timeout=0.1), Listener()
    pinger.send(listener, socket_address("127.0.0.1"))
    time.sleep(0.3)  # noqa: ASYNC251  (the point)
    await pinger.settle()
    pinger.close()
    assert [echo.received for echo in listener.echoes] == [True], "and no false time-out"
    assert all(rtt < 0.05 for rtt in listener.rtts)


@pings
@pytest.mark.parametrize("step", [3600.0, -3600.0, 10 * 365 * 86400.0, 0.5])
async def test_a_clock_step_changes_no_round_trip_and_loses_none(step: float) -> None:
    """The wall clock is set between replies and their reading: each keeps its true time."""
    listener, pinger = await ping_over_a_step(step)
    assert [echo.received for echo in listener.echoes] == [True] * 20
    assert len(listener.rtts) == sum(echo.timed for echo in listener.echoes) > 0
    assert all(0 < rtt < 0.05 for rtt in listener.rtts)
    assert pinger.steps >= 1


@pings
async def test_a_step_too_small_to_tell_costs_the_time_of_a_reply_not_the_reply() -> None:
    """0.1 s, while replies lay unread for longer: all are received, and no time is off by it."""
    listener, _ = await ping_over_a_step(0.1)
    assert [echo.received for echo in listener.echoes] == [True] * 20
    assert all(0 < rtt < 0.05 for rtt in listener.rtts)


async def ping_over_a_step(step: float) -> tuple[Listener, Pinger]:
    """Twenty requests, all read at once after the clock was set half-way."""
    clock = SteppedClock(step, at=time.time() + 0.1)
    pinger, listener = Pinger(timeout=2.0, timebase=clock), Listener()
    for _ in range(20):
        pinger.send(listener, socket_address("127.0.0.1"))
        time.sleep(0.01)  # noqa: ASYNC251  (so that replies lie unread when the step comes)
    await pinger.settle()
    pinger.close()
    return listener, pinger


# --- the pinger, against a far end that misbehaves ---------------------------------------------


def meet(manner: Manner, addresses: list[str], unprivileged: bool) -> tuple[Listener, Pinger]:
    """The same, against a far end of a manner."""

    async def test() -> tuple[Listener, Pinger]:
        with far_end(manner):
            return await ping(addresses)

    return in_own_network(test, unprivileged)


class TestFarEnd:
    """Both kinds of socket, both families, and replies that are not what they should be."""

    pytestmark = root

    @pytest.mark.parametrize("unprivileged", [True, False], ids=["unprivileged", "raw"])
    @pytest.mark.parametrize("address", ["10.77.3.1", "fd77::31"])
    def test_a_known_delay_is_measured(self, address: str, unprivileged: bool) -> None:
        """40 ms there and back read as 40 ms (a wrong clock or unit would be far off)."""
        listener, _ = meet(delayed(0.040), [address] * 10, unprivileged)
        assert [echo.received for echo in listener.echoes] == [True] * 10
        assert 0.040 <= min(listener.rtts) < 0.060

    @pytest.mark.parametrize("unprivileged", [True, False], ids=["unprivileged", "raw"])
    def test_strays_are_told_apart(self, unprivileged: bool) -> None:
        """Duplicate, corrupted, late and from elsewhere: each in its own count, none as a reply."""
        elsewhere = bytes([10, 77, 9, 9])

        def manner(packet: bytes) -> list[tuple[float, bytes]]:
            match packet[19]:
                case 1:
                    return [(0.0, reply(packet)), (0.1, reply(packet))]
                case 2:
                    return [(0.0, reply(packet, payload=bytes(56)))]
                case 3:
                    return [(1.3, reply(packet))]
                case 4:
                    return [(0.0, reply(packet, source=elsewhere))]
                case _:
                    return [(1.6, reply(packet))]  # keeps the test waiting for the late one

        async def test() -> tuple[Listener, Pinger]:
            pinger, listener = Pinger(timeout=1.0), Listener()
            with far_end(manner):
                for last in (1, 2, 3, 4):
                    pinger.send(listener, socket_address(f"10.77.0.{last}"), mark=last)
                await pinger.settle()
                await asyncio.sleep(0.5)
            pinger.close()
            return listener, pinger

        listener, pinger = in_own_network(test, unprivileged)
        fate = {echo.mark: echo.received for echo in listener.echoes}
        assert fate == {1: True, 2: False, 3: False, 4: False}
        assert listener.strays == {Stray.DUPLICATE: 1, Stray.CORRUPTED: 1, Stray.LATE: 1}
        assert pinger.strange == 1

    def test_dscp_marks_every_packet(self) -> None:
        """EF is on the wire, in both families."""
        seen: set[int] = set()

        def manner(packet: bytes) -> list[tuple[float, bytes]]:
            seen.add(
                packet[1] >> 2 if packet[0] >> 4 == 4 else (packet[0] << 8 | packet[1]) >> 6 & 63
            )
            return [(0.0, reply(packet))]

        async def test() -> None:
            pinger, listener = Pinger(timeout=1.0, dscp=46), Listener()
            with far_end(manner):
                for address in ("10.77.0.1", "fd77::1"):
                    pinger.send(listener, socket_address(address))
                await pinger.settle()
            pinger.close()
            assert [echo.received for echo in listener.echoes] == [True] * 2

        in_own_network(test, unprivileged=True)
        assert seen == {46}

    def test_replies_that_the_kernel_threw_away_are_not_called_lost(self) -> None:
        """With the receive buffer overrun, the fate of an unanswered request is not known."""

        async def test() -> Listener:
            pinger, listener = Pinger(timeout=1.0), Listener()
            echo_socket = pinger.open(4)
            echo_socket._sock.setsockopt(1, 33, 2304)  # SO_RCVBUFFORCE: room for a few replies
            with far_end(delayed(0.05)):
                for n in range(40):
                    pinger.send(listener, socket_address(f"10.77.0.{n}"))
                time.sleep(0.3)  # noqa: ASYNC251  (the loop does not fetch them)
                await pinger.settle()
            pinger.close()
            return listener

        fates = Counter(echo.received for echo in in_own_network(test, True).echoes)
        assert fates[True] > 0
        assert fates[None] > 0
        assert fates[False] == 0


# --- the probe that is run by hand --------------------------------------------------------------


async def probe(router: str, reply_within: str = "1s", **options: Any) -> Reading:
    """Run the probe on an office with this router."""
    settings = settings_for({"router": router}, timeout=reply_within)
    context = ProbeContext(settings, settings.offices[0], SystemClock(), None, options)
    return await PROBES["latency"].run(context)


@pings
async def test_probe_gives_a_reading_with_its_identifier() -> None:
    """Counts, delay and jitter, and the ICMP identifier under which the packets can be found."""
    reading = await probe("127.0.0.1", packets=5)
    assert reading.values["sent"] == reading.values["received"] == 5
    assert reading.values["loss_ratio"] == 0
    assert set(reading.values) <= set(QUANTITY_NAMES["latency"])
    assert 0 < reading.conditions["icmp_id"] <= 0xFFFF
    assert reading.conditions["address"] == "127.0.0.1"


async def test_a_name_that_is_not_there_is_no_bad_network() -> None:
    """`no_data`, cause `name_not_resolved`, and no figure at all."""
    with pytest.raises(NoData) as raised:
        await probe("no-such-router.invalid", packets=1)
    assert raised.value.cause is Cause.NAME_NOT_RESOLVED
    assert not raised.value.values


class TestProbeInAnEmptyNetwork:
    """What the probe says when packets cannot leave, and when nobody answers."""

    pytestmark = root

    def test_what_never_left_is_not_lost(self) -> None:
        """Without a route nothing is sent: `no_data`, never 0 % nor 100 % loss."""
        with pytest.raises(NoData) as raised:
            in_own_network(lambda: probe("10.77.0.1", packets=2), True)
        assert raised.value.cause is Cause.NOT_SENT
        assert raised.value.conditions["refused"] == {"ENETUNREACH": 2}
        assert not raised.value.values

    def test_silence_has_no_round_trip_time(self) -> None:
        """Nobody answers: failed, all lost, and no figure for what never came back."""

        async def test() -> Reading:
            with far_end(lambda packet: []):
                return await probe("10.77.0.1", packets=3, reply_within="300 ms")

        with pytest.raises(Failed) as raised:
            in_own_network(test, True)
        assert raised.value.cause is Cause.NO_REPLY
        assert raised.value.values == {"sent": 3, "received": 0, "loss_ratio": 1}
