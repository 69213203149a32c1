"""Paced streams over the lab's own pipes in simulated time: rate, loss, bucket, reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from jharnet_monitor.judge.line.paced_stream import (
    PacedRate,
    StreamRow,
    bucket,
    full_queue,
    paced_rate,
    tail_rate,
)
from jharnet_monitor.judge.line.reading import (
    Limit,
    TcpStream,
    by_streams,
    by_tcp,
    needs_paced_stream,
    reading,
)
from jharnet_monitor.lab.pipe import TokenBucket
from jharnet_monitor.lab.spec import Bucket as BucketSpec
from jharnet_monitor.probes.bandwidth.udp_agent import AgentUdpChannel
from jharnet_monitor.probes.bandwidth.udp_stream import (
    StreamPhase,
    StreamPlan,
    rows_from_json,
)
from tests.stream_support import Pause, rows_over

LIGHT_SECONDS = 0.5


def over(
    line: Mapping[str, Any], light: float, full: float, seconds: float, *pauses: Pause
) -> list[StreamRow]:
    """The receiver's rows of a stream over a line of the lab; rates in Mbit/s."""
    phases = StreamPhase(light * 1e6, LIGHT_SECONDS), StreamPhase(full * 1e6, seconds)
    return rows_over(line, StreamPlan(phases), pauses)


def found(line: Mapping[str, Any], light: float = 2.0, full: float = 5.5) -> PacedRate:
    """What a stream of 1.5 s shows of a line."""
    rate = paced_rate(over(line, light, full, 1.5), 1500, LIGHT_SECONDS)
    assert rate is not None
    return rate


def tcp(rate: float, error: float = 0.01, **more: Any) -> TcpStream:
    """A steady TCP stream at `rate` Mbit/s, paced at 5."""
    plain: dict[str, Any] = {"stable": True, "loss": 0.0, "window": 0.0, "queue": True}
    return TcpStream(rate * 1e6, error, **(plain | more), pace=5e6, segments=500)


@pytest.mark.parametrize("more", [{}, {"jitter": "25ms"}, {"loss": "8%"}, {"queue": "30ms"}])
def test_a_full_line_shows_its_rate(more: dict[str, Any]) -> None:
    """Whatever its jitter, loss and queue: within 3 % of what it delivers."""
    line = {"rate": "4 Mbit/s", "delay": "100ms", "queue": "200ms", **more}
    rate = found(line)
    lost = 0.08 if "loss" in more else 0.0
    assert rate.filled
    assert rate.rate == pytest.approx(4e6 * (1 - lost), rel=0.03)
    result = reading(None, rate)
    assert result is not None
    assert result.high is not None
    assert result.low <= 4e6 * (1 - lost) <= 4e6 <= result.high
    assert result.limited_by is (Limit.LOSS if lost else None)


@pytest.mark.parametrize("more", [{}, {"jitter": "5ms"}])
@pytest.mark.parametrize("pauses", [((0.55, 0.15),), ((0.6, 0.06), (0.8, 0.04), (1.2, 0.05))])
def test_a_pause_of_the_sender_is_not_the_lines(
    more: dict[str, str], pauses: tuple[Pause, ...]
) -> None:
    """Within 1 % and without a mark, though the line had nothing to carry meanwhile."""
    line = {"rate": "4 Mbit/s", "delay": "40ms", "queue": "60ms", **more}
    rows = over(line, 2.8, 5.6, 1.0, *pauses)
    rate = paced_rate(rows, 1500, LIGHT_SECONDS)
    assert rate is not None and rate.filled
    assert rate.rate == pytest.approx(4e6, rel=0.01)
    result = reading(None, rate)
    assert result is not None and result.limited_by is None


def test_a_pause_of_the_line_makes_the_rate_uncertain() -> None:
    """One of 0.15 s, in which the sender went on: the interval has the mean rate, and is marked."""
    line = {"rate": "4 Mbit/s", "delay": "40ms", "queue": "60ms"}
    rows = [
        replace(row, seconds=row.seconds + (0.15 if row.sent > 0.8 else 0.0))
        for row in over(line, 2.8, 5.6, 1.0)
    ]
    result = reading(None, paced_rate(rows, 1500, LIGHT_SECONDS))
    assert result is not None and result.limited_by is Limit.TIME
    assert result.high is not None
    assert result.low < 4e6 * (1 - 0.15 / 1.15) < result.high


def test_a_line_that_was_not_filled() -> None:
    """A stream slower than the line gives a lower bound, also where packets are lost."""
    for loss in ("0%", "10%"):
        rate = found({"rate": "20 Mbit/s", "delay": "20ms", "loss": loss})
        assert not rate.filled
        result = reading(None, rate)
        assert result is not None
        assert result.at_least
        assert result.high is None
        assert result.low < 5.5e6


def test_intervals_contain_the_truth() -> None:
    """Over 60 lines with loss and jitter drawn at random, in at least 95 %."""
    chance, held = Random(8), 0
    for _ in range(60):
        rate, loss = chance.uniform(1.5, 4), chance.uniform(0, 0.15)
        line = {
            "rate": f"{rate:.3f} Mbit/s",
            "delay": "40ms",
            "jitter": f"{chance.uniform(0, 40):.1f}ms",
            "loss": f"{100 * loss:.2f}%",
        }
        result = reading(None, found(line, light=0.7 * rate, full=1.4 * rate))
        assert result is not None
        held += result.low <= rate * 1e6 * (1 - loss) and (result.high or 1e12) >= rate * 1e6
    assert held >= 57


@pytest.mark.parametrize(("queue", "shaped"), [("0s", False), ("200ms", True)])
def test_a_bucket_is_found(queue: str, shaped: bool) -> None:
    """Its rate within 1 %, its size within 5 %, and whether it polices or shapes."""
    spec = {"rate": "3 Mbit/s", "size": "1.5s", "queue": queue}
    rows = over({"rate": "20 Mbit/s", "delay": "20ms", "bucket": spec}, 2.0, 5.0, 10.5)
    spent = bucket(rows, 1500, LIGHT_SECONDS)
    assert spent is not None
    assert spent.rate == pytest.approx(3e6, rel=0.01)
    assert spent.size == pytest.approx(562_500, rel=0.05)
    assert spent.shaped is shaped


@pytest.mark.parametrize("queue", [30, 200, 900])
@pytest.mark.parametrize("more", [{}, {"jitter": "5ms"}, {"loss": "5%"}])
def test_a_queue_that_overflows_shows_its_depth(queue: int, more: dict[str, str]) -> None:
    """Within 10 % and a few milliseconds; also with jitter and on a lossy line."""
    line = {"rate": "4 Mbit/s", "delay": "20ms", "queue": f"{queue}ms", **more}
    depth = full_queue(over(line, 2.0, 5.4, 10.5), LIGHT_SECONDS)
    assert depth == pytest.approx(queue / 1000, rel=0.1, abs=0.006)


@pytest.mark.parametrize(
    "line",
    [
        {"rate": "8 Mbit/s"},
        {"rate": "8 Mbit/s", "loss": "10%"},
        {"rate": "5.3 Mbit/s", "queue": "5s"},
        {"rate": "20 Mbit/s", "bucket": {"rate": "4 Mbit/s", "size": "0.1s"}},
    ],
)
def test_no_depth_is_made_up(line: dict[str, Any]) -> None:
    """A line with room, lossy or not; a queue that did not overflow; a policer, which has none."""
    assert full_queue(over({"delay": "20ms", **line}, 2.0, 5.4, 10.5), LIGHT_SECONDS) is None
    assert full_queue([], LIGHT_SECONDS) is None


@pytest.mark.parametrize("line", [{"rate": "4 Mbit/s"}, {"rate": "4 Mbit/s", "loss": "10%"}, {}])
def test_no_bucket_is_made_up(line: dict[str, Any]) -> None:
    """A line without one shows none, with loss or without, filled or not."""
    rows = over({"delay": "20ms", **line}, 2.0, 5.0, 10.5)
    assert bucket(rows, 1500, LIGHT_SECONDS) is None
    rate, _ = tail_rate(rows, 1500, LIGHT_SECONDS)
    lost = 0.9 if "loss" in line else 1.0
    assert rate == pytest.approx((4e6 if line else 5e6) * lost, rel=0.05)


def test_a_token_bucket_of_the_lab() -> None:
    """Full at first; size in bytes or seconds; a packet waits at most as long as its queue."""
    by_time = BucketSpec.model_validate({"rate": "1 Mbit/s", "size": "0.1s"})
    assert by_time.bytes == 12_500
    assert BucketSpec.model_validate({"rate": "1 Mbit/s", "size": "9 kB"}).bytes == 9000
    police = TokenBucket(by_time)
    assert [police.wait(1.0, 5000) < 0 for _ in range(3)] == [False, False, True]
    assert police.wait(1.1, 5000) == 0.0
    shape = TokenBucket(by_time.model_copy(update={"queue": 0.05}))
    waits = [shape.wait(1.0, 5000) for _ in range(4)]
    assert waits[:2] == [0.0, 0.0]
    assert waits[2] == pytest.approx(0.02)
    assert waits[3] < 0
    with pytest.raises(ValueError, match="190 kB"):
        BucketSpec.model_validate({"rate": "1 Mbit/s", "size": "much"})


def test_which_streams_leave_a_doubt() -> None:
    """A steady stream that filled the queue leaves none; each kind of trouble leaves one."""
    good = tcp(4.0)
    assert not needs_paced_stream(good, 0.03, 0.001)
    assert needs_paced_stream(None, 0.03, 0.001)
    assert needs_paced_stream(good, 0.4, 0.001)
    assert needs_paced_stream(good, 0.03, 0.02)
    for trouble in (
        {"stable": False},
        {"error": 0.03},
        {"loss": 0.02, "queue": False},
        {"window": 0.5},
    ):
        assert needs_paced_stream(replace(good, **trouble), 0.03, 0.001)


def test_a_reading_by_tcp_alone() -> None:
    """Where UDP is blocked, what cannot be known has no upper end, and a mark."""
    assert by_tcp(tcp(4.0)).limited_by is None
    lossy = by_tcp(tcp(4.0, loss=0.05, queue=False))
    assert (lossy.limited_by, lossy.high) == (Limit.LOSS, None)
    assert by_tcp(tcp(4.0, error=0.2)).limited_by is Limit.TIME
    paced = by_tcp(tcp(4.95))
    assert paced.at_least
    assert paced.high is None


def test_the_faster_of_two_tcp_streams_speaks() -> None:
    """Nothing arrives faster than the line carries it; where they differ, that is told."""
    alike = by_streams([tcp(3.98), tcp(4.0)])
    assert (alike.rate, alike.limited_by) == (4.0e6, None)
    differing = by_streams([tcp(4.0), tcp(3.5)])
    assert (differing.rate, differing.limited_by) == (4.0e6, Limit.TIME)
    assert differing.low < 3.5e6
    assert differing.high is not None and differing.high > 4.0e6
    paced = by_streams([tcp(3.5), tcp(4.95)])
    assert paced.at_least and paced.high is None


def test_what_others_left() -> None:
    """A stream that filled the queue and got less than the line: its rate is what is left, with a
    wide interval."""
    line = found({"rate": "4 Mbit/s", "delay": "20ms", "queue": "200ms"})
    result = reading(tcp(3.0), line, 4e6)
    assert result is not None
    assert (result.rate, result.limited_by) == (3e6, Limit.SHARED)
    assert result.low <= 2e6
    assert result.high == pytest.approx(4e6, rel=0.02)


def test_what_others_left_of_a_line_with_a_short_queue() -> None:
    """TCP that cannot fill a short queue, and a paced stream that took more than its part: what is
    left is between them, and nothing narrower is promised. Without other traffic the paced stream
    is right."""
    paced = PacedRate(2.85e6, 0.02, 0.0, 0.004, filled=True, queue_seconds=0.027, jitter=0.001)
    short = tcp(2.228, queue=False, loss=0.16)
    result = reading(short, paced, 3.16e6)
    assert result is not None
    assert result.limited_by is Limit.SHARED
    assert result.low <= 2.19e6
    assert result.high is not None and result.high >= 3.16e6
    alone = reading(short, replace(paced, rate=3.15e6), 3.16e6)
    assert alone is not None
    assert (alone.rate, alone.limited_by) == (3.15e6, None)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [[0, 1]],
        [[0, 2, 0, 0]],
        [[0, 1, 9, 0]],
        [[0, 1, 0, 0], [1, 0, 0, 1]],
        [["0", 1, 1, 1]],
    ],
)
def test_rows_that_no_receiver_has(rows: Any) -> None:
    """More than was sent, counts that decrease, and values that are no numbers are refused."""
    with pytest.raises(ValueError, match=r"row|arrived|decrease"):
        rows_from_json(rows, 5)


async def test_an_agent_sends_no_endless_stream() -> None:
    """Whatever the hub requests: at most 20 s, and only well-formed phases."""
    agent = AgentUdpChannel("https://127.0.0.1")
    for phases in ([[1e6, 21.0]], [[1e6]], [], [[1e6, -1]], [[1e11, 1]], "all"):
        answer = await agent.stream({"phases": phases, "bytes": 1500})
        assert "error" in answer
