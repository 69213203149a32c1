"""Rates of the Internet test: from counters to a series, and from a result to a reading."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import pytest
import speedtest

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.judge.line.throughput import MSS, MTU, Estimate
from jharnet_monitor.model import Cause, Direction
from jharnet_monitor.probes.bandwidth import poll_lateness
from jharnet_monitor.probes.bandwidth.tcp_info import TcpInfo, parse
from jharnet_monitor.probes.base import NoData, ProbeContext
from jharnet_monitor.probes.internet import run as internet
from jharnet_monitor.probes.internet import worker
from jharnet_monitor.probes.internet.plan import cost
from jharnet_monitor.probes.internet.result import reading
from jharnet_monitor.probes.internet.speedtest_client import (
    LARGEST_PICTURE,
    Pacer,
    SocketCounters,
    SpeedtestClient,
    SpeedtestFailed,
    UploadBody,
    large_requests,
)
from jharnet_monitor.probes.internet.transfer_series import TransferSeries
from jharnet_monitor.probes.internet.worker import InternetTest
from tests.bandwidth_support import settings


def _info(direction: Direction, payload: int) -> TcpInfo:
    """The counters of a connection over which so many bytes came, or were acknowledged."""
    info = parse(bytes(232))
    assert info is not None
    segments, way = payload // MSS, direction is Direction.DOWN
    return replace(
        info,
        send_mss=MSS,
        receive_mss=MSS,
        header=MTU - MSS,
        bytes_received=payload if way else 0,
        data_segments_in=segments if way else 0,
        bytes_acked=0 if way else payload + 1,
        delivered=0 if way else segments,
    )


def _fed(
    direction: Direction, pieces: Sequence[tuple[float, Sequence[float]]], threads: int = 1
) -> tuple[TransferSeries, bool]:
    """A series of connections, and whether its rate was stable at the end.

    Each thread has these connections one after the other: of so many seconds, at these rates in
    Mbit/s of 0.2 s each, again and again. Before each is a pause of 0.1 s.
    """
    series = TransferSeries(direction, threads, 0.5)
    now, stable = 100.0, False
    done: list[TcpInfo] = []
    for seconds, rates in pieces:
        now, payload = now + 0.1, 0.0
        for step in range(round(seconds / 0.01)):
            now += 0.01
            payload += 0.01 * rates[step // 20 % len(rates)] * 1e6 / 8 * MSS / MTU
            current = _info(direction, int(payload / MSS) * MSS)
            stable = series.add(now, [*done, *[current] * threads])
        done += [current] * threads
    return series, stable


STEADY, UNEVEN = (4.0,), (2.0, 6.0, 5.0)


@pytest.mark.parametrize("direction", list(Direction))
def test_no_rate_is_measured_across_two_connections(direction: Direction) -> None:
    """The longest connection has the line's rate; of several short ones there is none."""
    series, stable = _fed(direction, [(0.3, STEADY), (0.3, STEADY), (1.02, STEADY)])
    found = series.estimate()
    assert stable
    assert found is not None
    assert found.rate == pytest.approx(4e6, rel=0.02)
    assert series.renewed == 2
    for seconds in (0.4, 0.8):  # less than a window, and less than the two that must agree
        series, stable = _fed(direction, [(seconds, STEADY)] * 10)
        assert not stable
        assert series.estimate() is None


def test_a_stable_connection_after_a_longer_one_that_was_not() -> None:
    """Its rate is the line's; the longer one's would be marked as not settled."""
    series, stable = _fed(Direction.DOWN, [(1.6, UNEVEN), (1.2, STEADY)])
    found = series.estimate()
    assert stable
    assert found is not None
    assert found.stable
    assert found.rate == pytest.approx(4e6, rel=0.02)


def test_a_long_connection_that_did_not_settle() -> None:
    """It is the line that is uneven: there is a rate, though a doubtful one."""
    series, stable = _fed(Direction.DOWN, [(1.6, UNEVEN), (0.3, UNEVEN)])
    found = series.estimate()
    assert not stable
    assert found is not None
    assert not found.stable


def test_a_short_answer_that_stood_still() -> None:
    """A lost last packet makes it the longest; the others show that the line carries more."""
    series, _ = _fed(Direction.DOWN, [(0.3, STEADY)] * 4 + [(1.4, (4.0, *[0.1] * 6))])
    assert series.estimate() is None


def test_several_threads_that_renew_their_connections() -> None:
    """One series holds all; what connections delivered nothing is known, and too much refused."""
    series, _ = _fed(Direction.DOWN, [(1.1, STEADY), (1.1, STEADY)], threads=4)
    found = series.estimate()
    assert found is not None
    assert series.renewed == 4
    assert series.idle == pytest.approx(0.1 / 2.3, rel=0.25)
    series, _ = _fed(Direction.DOWN, [(0.1, STEADY)] * 20, threads=4)
    assert series.idle == pytest.approx(0.5, rel=0.2)
    assert series.estimate() is None


@pytest.mark.parametrize("direction", list(Direction))
def test_a_connection_without_data_is_silent(direction: Direction) -> None:
    """Otherwise new connections would put off the end of a test in which nothing arrives."""
    series = TransferSeries(direction, 1, 0.5)
    series.add(1.0, [_info(direction, 5 * MSS)])
    series.add(2.0, [_info(direction, 5 * MSS), _info(direction, 0)])
    assert series.changed == 1.0


def test_a_gap_in_the_sequence_is_not_silent() -> None:
    """Behind a lost segment others arrive, though no byte of theirs counts yet."""
    series = TransferSeries(Direction.DOWN, 1, 0.5)
    info = _info(Direction.DOWN, 5 * MSS)
    series.add(1.0, [info])
    series.add(2.0, [replace(info, data_segments_in=9)])
    assert series.changed == 2.0


def test_a_wait_for_an_answer_is_no_part_of_it() -> None:
    """A short answer after a second would otherwise be as long as two windows."""
    series = TransferSeries(Direction.DOWN, 1, 0.5)
    done: list[TcpInfo] = []
    for number in range(4):
        for step in range(120):
            current = _info(Direction.DOWN, max(0, step - 115) * MSS)
            assert not series.add(100.0 + 1.2 * number + step / 100, [*done, current])
        done.append(current)
    assert series.estimate() is None


def test_several_short_connections_are_not_stable() -> None:
    """A test that ended with them would have no rate, although the next ones may be longer."""
    _, stable = _fed(Direction.DOWN, [(0.4, STEADY)] * 6, threads=4)
    assert not stable
    series, _ = _fed(Direction.DOWN, [(0.2, STEADY), (2.0, STEADY)], threads=4)
    found = series.estimate()
    assert found is not None
    assert found.rate == pytest.approx(16e6, rel=0.05)


def test_only_large_pictures_are_requested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It orders pictures of 245 kB first: on a line of 7 Mbit/s a rate of these was 24 % low."""

    def ordered(client: SpeedtestClient) -> dict[str, Any]:
        client.config.update(client={}, sizes={"download": [350, 500], "upload": [32768]})
        return dict(client.config)

    monkeypatch.setattr(speedtest.Speedtest, "get_config", ordered)
    counters, stop = SocketCounters(), threading.Event()
    client = SpeedtestClient(counters, stop, Pacer(1), None, "", 1e7)
    assert client.config["sizes"] == {"upload": [10_000_000], "download": [4000]}
    assert large_requests(1e4)["sizes"]["upload"] == [7_340_032]
    assert large_requests(1e9)["sizes"]["upload"] == [1 << 26]


@pytest.mark.parametrize("size", [8192, 100_000])
def test_the_body_of_an_upload(size: int) -> None:
    """It is a form of the length that its header states, and a line cannot compress it much."""
    body = UploadBody(300_001)
    pieces = list(iter(lambda: body.read(size), b""))
    whole = b"".join(pieces)
    assert len(whole) == 300_001
    assert whole.startswith(b"content1=")
    assert len(zlib.compress(whole)) > 0.7 * len(whole)
    assert max(map(len, pieces)) <= size


@pytest.mark.parametrize(
    ("more", "limit", "bounded"),
    [
        ({}, None, True),
        ({"loss": 0.003}, None, True),
        ({"loss": 0.02}, "loss", False),
        ({"loss": 0.02, "loaded_rtt": 0.2}, None, True),
        ({"loss": "much"}, None, True),
        ({"window": 0.5}, None, False),
        ({"stable": False}, "time", True),
    ],
)
async def test_what_may_have_kept_a_connection_from_the_rate(
    more: dict[str, Any], limit: str | None, bounded: bool
) -> None:
    """Loss without a queue, a full window, or time: the rate is marked; a queue explains loss."""
    part = {"rate": 2e6, "pace": 4e6, "uncertainty": 0.01, "payload": 10**6, "loaded_rtt": 0.05}
    spent = {"bytes_down": 10**6, "bytes_up": 10**6, "idle_rtt": 0.05}
    result = {"download": part | more, "upload": part, **spent}
    found = await reading(internet.make_request(None, (4e6, 4e6)), result)
    assert found.conditions.get("download_limited_by") == limit
    assert ("download_bits_per_second_high" in found.values) is bounded
    assert "upload_limited_by" not in found.conditions


@pytest.mark.parametrize(("rate", "threads"), [(2e6, 1), (20e6, 1), (1e8, 4), (1e9, 8)])
def test_a_faster_line_is_tested_by_more_connections(rate: float, threads: int) -> None:
    """Their pictures last for longer than the two windows that must agree."""
    request = internet.make_request(None, (rate, 1e6))
    assert request["threads"] == threads
    picture = 2 * LARGEST_PICTURE**2
    assert 8 * threads * picture / request["rate"]["download"] > 1.3


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"download": {"rate": 0}, "upload": {"rate": 1e6}},
        {"download": {"rate": float("inf")}, "upload": {"rate": 1e6}},
        {"download": {"rate": "fast"}, "upload": {"rate": 1e6}},
        {"download": {"rate": 1e6}, "upload": {"rate": True}},
        {"download": {"rate": 1e15}, "upload": {"rate": 1e6}},
        {"download": {"rate": 1e6}},
        {"error": {"cause": "no such cause"}},
    ],
)
async def test_an_invalid_result(result: Any) -> None:
    """Zeros, partial results and nonsense give no rates."""
    with pytest.raises(NoData) as caught:
        await reading(internet.make_request(None, (4e6, 4e6)), result)
    assert "upload_bits_per_second" not in caught.value.values


def test_each_direction_has_its_own_limit_of_bytes() -> None:
    """It follows the contracted rate of the direction, and both are within the cost."""
    config = settings("4 Mbit/s", "500 kbit/s")
    context = ProbeContext(config, config.offices[0], SystemClock(), None)
    request = internet.make_request(None, (4e6, 5e5))
    assert request["bytes"] == {"download": 1_250_000, "upload": 156_250}
    assert sum(request["bytes"].values()) < cost(context) < 1_700_000


@pytest.mark.parametrize("spent", [{}, {"bytes_down": 0}, {"bytes_down": 10**4, "bytes_up": -5}])
async def test_an_agent_that_hides_its_bytes(spent: dict[str, int]) -> None:
    """A rate with fewer bytes than it takes to measure it is rejected, and bytes are charged."""
    part = {"rate": 4e6, "uncertainty": 0.01, "payload": 10**6}
    request = internet.make_request(None, (4e6, 4e6))
    with pytest.raises(NoData) as caught:
        await reading(request, {"download": part, "upload": part, **spent})
    assert caught.value.cause is Cause.BAD_REPORT
    assert not caught.value.values
    assert caught.value.conditions["bytes_spent"] == 2_500_000


def test_a_computer_that_is_too_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A computer that does not keep up with the transfer may limit it: there is no rate."""
    monkeypatch.setattr(poll_lateness, "LATE_SECONDS", -1.0)
    test = InternetTest(
        internet.make_request("http://127.0.0.1:9/speedtest/upload.php", (4e6, 4e6))
    )
    test.result["idle_rtt"] = 0.02
    with pytest.raises(SpeedtestFailed) as caught:
        test.measure(Direction.DOWN, "http://127.0.0.1:9/", lambda: None)
    assert caught.value.cause is Cause.HOST_OVERLOADED


@pytest.mark.parametrize(("late", "error"), [(0.0, 0.01), (0.04, 0.1)])
def test_a_computer_that_stood_still_makes_a_rate_uncertain(
    late: float, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate may be too low by its pause: 0.05 s of a second, and what exceeds that."""
    found = Estimate(4e6, 0.01, True, 0.0, 1.0)

    def poll(test: InternetTest, *_: object) -> str:
        test._late, test._seconds = late, 1.0
        return "stable"

    monkeypatch.setattr(InternetTest, "_estimate", lambda *_: found)
    monkeypatch.setattr(InternetTest, "_poll", poll)
    test = InternetTest(
        internet.make_request("http://127.0.0.1:9/speedtest/upload.php", (8e6, 8e6))
    )
    test.result["idle_rtt"] = 0.02
    part = test.measure(Direction.DOWN, "http://127.0.0.1:9/", lambda: None)
    assert part["uncertainty"] == pytest.approx(error)


async def test_a_rate_whose_error_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few samples give an infinite error, which no message can carry: the test ended as
    `agent_lost`. The rate has no narrow interval then, and is marked."""
    found = Estimate(4e6, inf, False, 0.0, 1.0)
    monkeypatch.setattr(InternetTest, "_estimate", lambda *_: found)
    request = internet.make_request("http://127.0.0.1:9/speedtest/upload.php", (8e6, 8e6))
    test = InternetTest(request)
    test.result["idle_rtt"] = 0.02
    part = test.measure(Direction.DOWN, "http://127.0.0.1:9/", lambda: None)
    assert json.loads(json.dumps(part, allow_nan=False))["uncertainty"] is None
    spent = {"bytes_down": 10**6, "bytes_up": 10**6}
    part |= {"payload": 10**6}
    result = await reading(request, {"download": part, "upload": part, **spent})
    assert result.values["download_bits_per_second"] == 4e6
    assert result.values["download_bits_per_second_low"] == 0
    assert "download_bits_per_second_high" not in result.values
    assert result.conditions["download_limited_by"] == "time"


@pytest.mark.parametrize(
    ("rate", "uncertainty", "bounded", "at_least", "limit"),
    [
        (3.8, 0.01, True, None, None),
        (3.89, 0.01, False, True, None),
        (3.87, 0.03, True, None, None),
        (3.87, 0.035, False, True, None),
        (3.7, 0.1, False, None, "time"),
        (3.89, 0.1, False, True, None),
        (3.89, None, False, True, None),
        (3.7, None, False, None, "time"),
        (1.5, None, False, None, "time"),
    ],
)
async def test_a_rate_whose_interval_reaches_its_pace(
    rate: float, uncertainty: float | None, bounded: bool, at_least: bool | None, limit: str | None
) -> None:
    """The pace of 4 Mbit/s may have limited it: nothing bounds the line above."""
    part = {"rate": rate * 1e6, "pace": 4e6, "uncertainty": uncertainty, "payload": 10**6}
    result = {"download": part, "upload": part, "bytes_down": 10**6, "bytes_up": 10**6}
    found = await reading(internet.make_request(None, (4e6, 4e6)), result)
    assert ("download_bits_per_second_high" in found.values) is bounded
    assert found.conditions.get("download_at_least") is at_least
    assert found.conditions.get("download_limited_by") == limit


async def test_a_busy_computer_is_no_data() -> None:
    """It is no evidence about the network."""
    result = {"error": {"cause": "host_overloaded", "detail": "this computer was too busy"}}
    with pytest.raises(NoData) as caught:
        await reading(internet.make_request(None, (4e6, 4e6)), result)
    assert caught.value.cause is Cause.HOST_OVERLOADED


def test_the_loss_and_the_window_of_all_connections() -> None:
    """Over all connections together, so that a short one does not decide for all."""
    up, down = _info(Direction.UP, 90 * MSS), _info(Direction.DOWN, 90 * MSS)
    sent = replace(up, bytes_sent=900, bytes_retransmitted=9, busy=0.9, rwnd_limited=0.3)
    short = replace(up, bytes_sent=100, bytes_retransmitted=11, busy=0.1, rwnd_limited=0.1)
    assert worker._loss(Direction.UP, [sent, short]) == pytest.approx(0.02)
    assert worker._window_share(Direction.UP, [sent, short]) == pytest.approx(0.4)
    behind = replace(down, out_of_order=9)
    assert worker._loss(Direction.DOWN, [behind, down]) == pytest.approx(0.05)
    assert worker._window_share(Direction.DOWN, [sent]) == 0
    assert worker._loss(Direction.UP, []) == worker._window_share(Direction.UP, []) == 0
