"""What the join page's probes make of what came: datagrams, the end of a flow, a relay's ways."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.clock import Clock, SystemClock
from jharnet_monitor.errors import UserError
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import Failed, NoData, ProbeContext
from jharnet_monitor.probes.conference.relay import CallWay, relayed_ways
from jharnet_monitor.probes.latency.page import MAX_LAG_P75, DatagramSeries, EndLag
from jharnet_monitor.probes.latency.run import run
from jharnet_monitor.rtc.datagrams import DatagramPath
from jharnet_monitor.rtc.sdp import BadDescription
from jharnet_monitor.security.tokens import write_secret
from jharnet_monitor.web.render import STATIC
from tests.support import make_config

URLS = ["turn:10.8.0.2:443?transport=tcp", "turns:hub.example.in:5349?transport=tcp"]
SECRET = "s" * 40


class QuickClock(SystemClock):
    """Sleeps in no time, and is later by that."""

    def __init__(self) -> None:
        self.passed = 1000.0

    def monotonic(self) -> float:
        """Seconds that were slept."""
        return self.passed

    async def sleep(self, seconds: float) -> None:
        """Be later."""
        self.passed += seconds


def context(secret: Path | None = None, clock: Clock | None = None, **options: Any) -> ProbeContext:
    """A run on the first office, with a relay where there is a secret."""
    call = {} if secret is None else {"relay": {"urls": URLS, "secret_file": str(secret)}}
    config = make_config(probes={"conference": call})
    return ProbeContext(config, config.offices[0], clock or QuickClock(), None, options)


class Mirror:
    """The other end of a series: datagrams come back after 40 ms, but for some; each one twice."""

    def __init__(self, lost: Container[int], **options: Any) -> None:
        self.clock = QuickClock()
        self.series = DatagramSeries(context(clock=self.clock, **options))
        self.lost = lost

    def send(self, datagram: bytes) -> None:
        """Send it back."""
        if int.from_bytes(datagram[:4]) not in self.lost:
            self.clock.passed += 0.04
            self.series.received(datagram)
            self.series.received(datagram)


async def test_datagrams_are_counted_once_and_lost_ones_are_loss() -> None:
    """A copy counts nothing, nor does what was never sent."""
    mirror = Mirror(range(3, 5))
    await mirror.series.send(mirror)
    mirror.series.received((999).to_bytes(4))
    found = mirror.series.reading({})
    assert (found.values["sent"], found.values["received"]) == (20, 18)
    assert found.values["loss_ratio"] == pytest.approx(0.1)
    assert found.values["rtt_p50_seconds"] == pytest.approx(0.04)
    assert "udp_ended_after_seconds" not in found.conditions


async def test_a_flow_that_ends_is_no_loss() -> None:
    """Where nothing came back any more, the age is told; where nothing ever did, there is none."""
    mirror = Mirror(range(480, 600), packets=600, seconds=150.0)
    await mirror.series.send(mirror)
    found = mirror.series.reading({})
    age = 480 * 0.25
    assert found.conditions["udp_ended_after_seconds"] == pytest.approx(age, abs=0.5)
    assert (found.values["sent"], found.values["loss_ratio"]) == (480, 0)
    silent = Mirror(range(600), packets=600, seconds=150.0)
    await silent.series.send(silent)
    with pytest.raises(Failed, match="no_reply") as failed:
        silent.series.reading({})
    assert "udp_ended_after_seconds" not in failed.value.conditions


@pytest.mark.parametrize(
    ("lost", "ends", "why"),
    [
        ((), [EndLag("hub", 0.09, 0.002), EndLag("agent", 1.5, 0.002)], None),
        ((), [EndLag("hub", None, None)], None),
        ((3,), [EndLag("hub", 0.9, 0.002), EndLag("agent", 0.9, 0.002)], None),
        ((), [EndLag("hub", 0.1, 0.004)], "the hub handled a quarter of what came 0.004 s late"),
        ((), [EndLag("hub"), EndLag("agent", 0.1, 0.02)], "the agent handled a quarter"),
        ((3,), [EndLag("hub", 1.1, 0.001)], "the hub stood still for 1.10 s"),
        (range(20), [EndLag("hub"), EndLag("agent", 3.0, 0.0)], "the agent stood still for 3.00 s"),
    ],
)
async def test_an_end_that_was_late_gives_no_figure(
    lost: Container[int], ends: list[EndLag], why: str | None
) -> None:
    """Its own time is in most round trips, or it may have lost what did not come back in time. A
    short pause is neither; where nothing is missing, nor is a long one. The lags are conditions."""
    mirror = Mirror(lost)
    await mirror.series.send(mirror)
    if why is None:
        found = mirror.series.reading({}, ends)
        assert found.values["rtt_p50_seconds"] == pytest.approx(0.04)
        conditions = found.conditions
    else:
        with pytest.raises(NoData, match="host_overloaded") as late:
            mirror.series.reading({}, ends)
        assert late.value.detail.startswith(why)
        conditions = late.value.conditions
    for end in ends:
        assert conditions.get(f"{end.name}_loop_lag_seconds") == end.longest
        assert conditions.get(f"{end.name}_loop_lag_p75_seconds") == end.p75


async def test_a_page_that_stood_still_is_no_firewall() -> None:
    """At the end of a long series: what it did not send back in time is no flow that ended."""
    mirror = Mirror(range(480, 600), packets=600, seconds=150.0)
    await mirror.series.send(mirror)
    with pytest.raises(NoData, match="host_overloaded") as late:
        mirror.series.reading({}, [EndLag("agent", 29.0, 0.0)])
    assert "udp_ended_after_seconds" not in late.value.conditions


@pytest.mark.parametrize("packets", [1, 4, 600])
async def test_a_series_takes_as_long_as_it_says(packets: int) -> None:
    """However few its datagrams are: it must end within the time limit of the probe."""
    mirror = Mirror((), packets=packets, seconds=600.0)
    began = mirror.clock.passed
    await mirror.series.send(mirror)
    assert mirror.clock.passed - began == pytest.approx(600.0)


def test_the_page_leaves_out_what_the_hub_does() -> None:
    """From the same lag on: the page of its own heartbeats, the hub of its datagrams."""
    module = STATIC.joinpath("join-lateness.js").read_text("utf-8")
    assert f"export const LATE = {MAX_LAG_P75};" in module


async def test_datagrams_leave_at_random_times() -> None:
    """Within the first half of their intervals, so that the rate is as stated."""

    class Times(Mirror):
        """Notes when each was sent."""

        def send(self, datagram: bytes) -> None:
            """Do so."""
            at.append(self.clock.passed - 1000.0)

    at: list[float] = []
    times = Times((), packets=200, seconds=50.0)
    await times.series.send(times)
    into = [moment - 0.25 * number for number, moment in enumerate(at)]
    assert 0 <= min(into) < 0.02
    assert 0.1 < max(into) <= 0.125 + 1e-9
    assert len({round(one, 6) for one in into}) > 150


async def test_only_a_page_has_datagrams() -> None:
    """Without one nothing is measured, and the line is not blamed."""
    with pytest.raises(NoData, match="no_agent"):
        await run(context(path="page"))


@pytest.mark.parametrize(
    "offer", [None, "x", "v=0\r\n" + "a" * 30_000, "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"]
)
async def test_an_offer_that_is_none_is_refused(offer: object) -> None:
    """Whatever a page sends."""
    async with DatagramPath("127.0.0.1", None, lambda datagram: None) as path:
        with pytest.raises(BadDescription):
            await path.answer(offer)


def test_a_relay_gets_credentials_that_expire(tmp_path: Path) -> None:
    """As coturn's `use-auth-secret` checks them; in the configured order."""
    write_secret(tmp_path / "turn", SECRET)
    ways = list(relayed_ways(context(tmp_path / "turn")))
    assert [way.transport for way in ways] == ["turn-tcp", "turn-tls"]
    [server] = ways[0].parameters()["ice"]
    until, office = server["username"].split(":")
    assert office == "potka" and 800 < int(until) - SystemClock().now().timestamp() <= 900
    digest = hmac.new(SECRET.encode(), server["username"].encode(), hashlib.sha1).digest()
    assert base64.b64decode(server["credential"]) == digest
    assert not list(relayed_ways(context()))
    assert CallWay().parameters() == {}
    with pytest.raises(NoData) as missing:
        list(relayed_ways(context(tmp_path / "none")))
    assert missing.value.cause is Cause.NOT_CONFIGURED


@pytest.mark.parametrize(
    "url", ["http://x", "turn:x", "turn:x:1", "turns:x:1?transport=udp", "turn:x:1?transport=sctp"]
)
def test_an_address_of_a_relay_names_its_transport(url: str, tmp_path: Path) -> None:
    """Else it is unclear what carried the call."""
    relay = {"urls": [url], "secret_file": str(tmp_path / "turn")}
    with pytest.raises((ValueError, UserError), match=r"turns?:|transport"):
        make_config(probes={"conference": {"relay": relay}})
