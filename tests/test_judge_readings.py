"""Readings of a bandwidth test and of a trace, at the limits where one step decides; by hand."""

from __future__ import annotations

from dataclasses import replace
from math import exp, sqrt
from typing import Any

import pytest
from scipy import integrate, stats

from jharnet_monitor.judge import path
from jharnet_monitor.judge.line.paced_stream import (
    PacedRate,
    StreamRow,
    bucket,
    paced_rate,
    tail_is_settled,
    tail_rate,
)
from jharnet_monitor.judge.line.reading import (
    Limit,
    RateReading,
    TcpStream,
    by_streams,
    by_tcp,
    least_error,
    needs_paced_stream,
    reading,
)
from jharnet_monitor.judge.line.throughput import Estimate, stalled_share
from jharnet_monitor.judge.path import HopFigures, MarkArrivals, Marking, Stretch

SURE = TcpStream(rate=4e6, error=0.01, stable=True, loss=0.0, window=0.0, queue=True, pace=9e6,
                 segments=1000)  # fmt: skip
PACED = PacedRate(rate=4e6, error=0.009, loss=0.0, loss_high=0.0, filled=True, queue_seconds=0.1,
                  jitter=0.001)  # fmt: skip


def test_the_least_error_holds_the_sessions_share() -> None:
    """0.8 %, and 4 kbit/s of the rate."""
    assert [least_error(rate) for rate in (1e6, 4e3, 1e3)] == pytest.approx([0.012, 1.008, 1.008])


def test_a_tcp_streams_error_grows_with_its_loss() -> None:
    """A quarter of the loss, 2 % at most, on top of the estimate's or 0.8 %."""
    more = {"window": 0.0, "queue": None, "pace": 9e6}
    for uncertainty, loss, error in ((0.02, 0.0, 0.02), (0.001, 0.04, 0.018), (0.02, 0.2, 0.04)):
        found = TcpStream.of(Estimate(4e6, uncertainty, True, 0.0, 1.0), loss=loss, **more)
        assert found.error == pytest.approx(error)
        assert (found.rate, found.stable, found.loss, found.segments) == (4e6, True, loss, 0)
    assert replace(SURE, rate=1e6, error=0.05).ends == pytest.approx((0.946e6, 1.054e6))
    assert replace(SURE, rate=1e3, error=0.05).ends[0] == 0.0


def test_a_pause_of_an_end_leaves_a_doubt_about_a_faster_line() -> None:
    """The stream may have been a tenth slower than the line, and was no faster: the upper end
    grows, and a paced stream is needed. Without one the rate is marked, unless it reached its pace.
    """
    paused = replace(SURE, stalled=0.1)
    assert needs_paced_stream(paused, 0.03, 0.0) and not needs_paced_stream(SURE, 0.03, 0.0)
    assert paused.ends == pytest.approx((SURE.ends[0], SURE.ends[1] / 0.9))
    alone = by_tcp(paused)
    assert (alone.low, alone.high, alone.limited_by) == (*paused.ends, Limit.TIME)
    assert by_tcp(SURE).limited_by is None
    at_pace = by_tcp(replace(paused, pace=4e6))
    assert (at_pace.limited_by, at_pace.at_least) == (None, True)
    for rate, doubted in ((3.9e6, False), (3.8e6, True)):  # within 3 %, both show the line
        slower = replace(PACED, rate=rate)
        found, without = reading(paused, slower), reading(SURE, slower)
        assert found and without
        assert found == (replace(without, high=paused.ends[1]) if doubted else without)


def test_of_two_streams_as_fast_the_one_without_a_pause_speaks() -> None:
    """Else the fastest does."""
    paused, calm = replace(SURE, stalled=0.1), replace(SURE, rate=3.99e6)
    assert by_streams([paused, calm]) == by_streams([calm, paused]) == by_tcp(calm)
    much_slower = by_streams([paused, replace(SURE, rate=3.6e6)])
    assert (much_slower.rate, much_slower.high) == (4e6, by_tcp(paused).high)
    assert by_streams([paused, calm], by_proxy=True) == by_tcp(calm)
    carried = replace(SURE, rate=3.92e6)
    assert carried.ends[1] < paused.rate and by_streams([paused, carried]) == by_tcp(paused)
    both = by_streams([paused, replace(paused, rate=3.6e6, stalled=0.05)])
    assert both.rate == 4e6, "the line has carried that"


def test_the_time_by_which_a_stream_was_slower_grows_with_the_pauses() -> None:
    """Of each end that stood still, 0.05 s more than what exceeds them."""
    assert stalled_share((), 1.0) == 0.0
    assert stalled_share((0.03,), 1.0) == pytest.approx(0.08)
    assert stalled_share((0.03, 0.02), 2.0) == pytest.approx(0.1)
    assert stalled_share((0.03,), 0.0) == 0.0


def test_the_most_loss_follows_from_the_segments() -> None:
    """4 % of 100: three standard deviations of 2 %, and 3 %."""
    assert replace(SURE, loss=0.04, segments=100).most_loss == pytest.approx(0.13)
    assert replace(SURE, segments=30).most_loss == pytest.approx(0.1)
    assert replace(SURE, segments=29).most_loss is None


@pytest.mark.parametrize(
    ("changes", "trip", "jitter", "needed"),
    [
        ({}, 0.05, 0.001, False), ({}, 0.3, 0.006, False), ({}, 0.31, 0.0, True),
        ({}, 0.0, 0.0061, True), ({"stable": False}, 0.0, 0.0, True),
        ({"error": 0.015}, 0.0, 0.0, False), ({"error": 0.0151}, 0.0, 0.0, True),
        ({"loss": 0.04}, 0.0, 0.0, False), ({"loss": 0.041}, 0.0, 0.0, True),
        ({"loss": 0.004, "queue": False}, 0.0, 0.0, False),
        ({"loss": 0.0041, "queue": None}, 0.0, 0.0, True),
        ({"window": 0.3}, 0.0, 0.0, False), ({"window": 0.31}, 0.0, 0.0, True),
        # At its pace, only a marked loss matters.
        ({"pace": 4.12e6, "stable": False}, 9.0, 9.0, False),
        ({"pace": 4.13e6, "stable": False}, 0.0, 0.0, True),
        ({"pace": 4e6, "loss": 0.012, "queue": False}, 0.0, 0.0, False),
        ({"pace": 4e6, "loss": 0.013, "queue": False}, 0.0, 0.0, True),
        ({"pace": 4e6, "loss": 0.9, "queue": True}, 0.0, 0.0, False),
    ],
)  # fmt: skip
def test_a_doubt_asks_for_a_paced_stream(
    changes: dict[str, Any], trip: float, jitter: float, needed: bool
) -> None:
    """Each limit itself leaves none."""
    assert needs_paced_stream(replace(SURE, **changes), trip, jitter) is needed
    assert needs_paced_stream(None, trip, jitter)


@pytest.mark.parametrize(
    ("changes", "bounded", "limit", "least"),
    [
        ({}, True, None, False), ({"pace": 4.1e6}, False, None, True),
        ({"window": 0.3}, True, None, False), ({"window": 0.31}, False, Limit.HOST, False),
        ({"queue": False, "loss": 0.004}, True, None, False),
        ({"queue": False, "loss": 0.0041}, False, Limit.LOSS, False),
        ({"stable": False}, True, Limit.TIME, False), ({"error": 0.04}, True, None, False),
        ({"error": 0.041}, True, Limit.TIME, False),
        # The interval reaches the pace, so the pace may have limited the stream.
        ({"pace": 4.15e6, "error": 0.036}, True, None, False),
        ({"pace": 4.15e6, "error": 0.038}, False, None, True),
        ({"pace": 4.5e6, "error": 0.13}, False, Limit.TIME, False),
        ({"pace": 4.15e6, "error": 0.038, "stable": False}, False, Limit.TIME, False),
    ],
)  # fmt: skip
def test_a_reading_by_tcp_names_its_limit(
    changes: dict[str, Any], bounded: bool, limit: Limit | None, least: bool
) -> None:
    """Where something else limited it, nothing bounds the rate of the line."""
    stream = replace(SURE, **changes)
    low, high = stream.ends
    assert by_tcp(stream) == RateReading(4e6, low, high if bounded else None, limit, least)
    assert by_streams([stream]) == reading(stream, None) == by_tcp(stream)


def test_of_two_streams_that_differ_the_interval_covers_both() -> None:
    """By more than 3 % of the faster."""
    for rate, differs in ((3.89e6, False), (3.87e6, True)):
        slower = replace(SURE, rate=rate)
        found = by_streams([slower, SURE])
        assert found.rate == 4e6
        assert found.low == (slower if differs else SURE).ends[0]
        assert found.limited_by is (Limit.TIME if differs else None)
    burst = replace(SURE, rate=5e6, error=0.03)
    passed_on = by_streams([burst, SURE], by_proxy=True)
    assert (passed_on.rate, passed_on.limited_by) == (4e6, Limit.TIME), "the steadier, by a proxy"
    assert (passed_on.low, passed_on.high) == (SURE.ends[0], burst.ends[1])
    unbounded = replace(SURE, window=0.9)
    assert by_streams([replace(SURE, rate=1e6), unbounded]) == by_tcp(unbounded)


def test_a_full_paced_stream_is_the_lines_rate() -> None:
    """Its interval allows for what was lost, from which the line may have carried more."""
    found = reading(None, PACED)
    assert found is not None and (found.rate, found.limited_by) == (4e6, None)
    assert (found.low, found.high) == pytest.approx((4e6 * 0.991, 4e6 * 1.009))
    lossy = reading(None, replace(PACED, loss=0.01, loss_high=0.02, swing=0.005, error=0.03))
    assert lossy is not None and lossy.limited_by is None
    assert lossy.low == pytest.approx(4e6 * 0.965)
    assert lossy.high == pytest.approx(4e6 * 1.03 / 0.98)
    lost = reading(None, replace(PACED, loss=0.5, loss_high=0.99))
    assert lost is not None and lost.high == pytest.approx(4e6 * 1.009 / 0.1)
    assert reading(None, None) is None


@pytest.mark.parametrize(
    ("tcp", "changes", "limit"),
    [
        (None, {"loss": 0.012, "loss_high": 0.012}, None),
        (None, {"loss": 0.0121, "loss_high": 0.0121}, Limit.LOSS),
        (None, {"loss_high": 0.05}, None),
        (replace(SURE, loss=0.013, queue=None), {"loss_high": 0.041}, Limit.LOSS),
        (replace(SURE, loss=0.013, queue=None), {"loss_high": 0.04}, None),
        (replace(SURE, loss=0.012, queue=None), {"loss_high": 0.041}, None),
        (None, {"error": 0.04}, None), (None, {"error": 0.041}, Limit.TIME),
        (None, {"error": 0.041, "jitter": 0.0061}, Limit.JITTER),
        (None, {"error": 0.041, "jitter": 0.006}, Limit.TIME),
    ],
)  # fmt: skip
def test_a_paced_reading_names_what_limits_it(
    tcp: TcpStream | None, changes: dict[str, Any], limit: Limit | None
) -> None:
    """Loss of more than 1.2 %, an error of more than 4 %."""
    found = reading(tcp, replace(PACED, **changes))
    assert found is not None and found.limited_by is limit and not found.at_least


def test_a_line_has_carried_what_a_sure_tcp_stream_got() -> None:
    """More than the paced stream, by a stable stream of at most 3 % error."""
    for rate, changes, taken, limit in (
        (4.1e6, {}, True, None), (4.13e6, {}, True, Limit.TIME), (3.99e6, {}, False, None),
        (4.1e6, {"stable": False}, False, None), (4.1e6, {"error": 0.03}, True, None),
        (4.1e6, {"error": 0.031}, False, None),
    ):  # fmt: skip
        stream = replace(SURE, rate=rate, **changes)
        found = reading(stream, PACED)
        assert found is not None
        assert found.rate == (rate if taken else 4e6) and found.limited_by is limit
        assert found.high == (max(stream.ends[1], 4e6 * 1.009) if taken else 4e6 * 1.009)


def test_an_unfilled_line_carries_at_least_what_arrived() -> None:
    """The faster of both streams, less the paced stream's error."""
    unfilled = replace(PACED, filled=False)
    assert reading(None, unfilled) == RateReading(4e6, 4e6 * 0.991, None, None, at_least=True)
    found = reading(replace(SURE, rate=5e6), unfilled)
    assert found == RateReading(5e6, 4e6 * 0.991, None, None, at_least=True)
    found = reading(replace(SURE, rate=3e6, queue=None), unfilled)
    assert found == RateReading(4e6, 4e6 * 0.991, None, None, at_least=True)
    found = reading(None, replace(unfilled, loss=0.013))
    assert found is not None and found.limited_by is Limit.LOSS
    found = reading(None, replace(unfilled, loss=0.012))
    assert found is not None and found.limited_by is None


def test_tcp_that_filled_a_queue_and_got_less_left_the_rest_to_others() -> None:
    """Its whole interval is more than 6 % below; the interval covers none to twice the others."""
    slow = replace(SURE, rate=3e6)
    found = reading(slow, PACED)
    assert found is not None and found.limited_by is Limit.SHARED
    assert found.rate == 3e6 and found.high == pytest.approx(4.036e6)
    assert found.low == pytest.approx(2e6)  # 2 * 3 - 4
    for changes in ({"rate": 3.75e6}, {"queue": None}, {"stable": False}):
        other = reading(replace(slow, **changes), PACED)
        assert other is not None and other.limited_by is not Limit.SHARED
    lossy = reading(slow, replace(PACED, loss=0.013, loss_high=0.013))
    assert lossy is not None and lossy.limited_by is Limit.LOSS
    # A packet train 6 % above both shows the rest of the line.
    for capacity, shared in ((4.25e6, True), (4.23e6, False), (None, False)):
        found = reading(replace(slow, queue=None), PACED, capacity)
        assert found is not None and (found.limited_by is Limit.SHARED) is shared
    found = reading(replace(slow, queue=None, stable=False), PACED, 5e6)
    assert found is not None and found.rate == 4e6 and found.high == pytest.approx(5.045e6)
    assert found.low == pytest.approx(min(slow.ends[0], 3e6))
    near = reading(replace(slow, rate=3.9e6, queue=None), PACED, 5e6)  # within 3 %
    assert near is not None and near.limited_by is not Limit.SHARED


def test_tcp_that_got_less_while_an_end_stood_still_blames_nobody() -> None:
    """10.0 Mbit/s were reported as 6.84, with the rest left to other traffic, where a hypervisor
    had taken 0.4 of the sender's time. The paced stream speaks, and the interval covers both."""
    slow = replace(SURE, rate=2.7e6, stalled=0.4)
    found = reading(slow, PACED, 4e6)
    assert found is not None and (found.rate, found.limited_by) == (4e6, Limit.TIME)
    assert reading(slow, PACED, 4.3e6) == found, "nor does a train that is a little faster"
    assert found.low == pytest.approx(slow.ends[0]) and found.high == pytest.approx(4.036e6)
    for changes, limit in (
        ({"stalled": 0.2}, Limit.SHARED),  # too short to explain it
        ({"rate": 3.75e6}, None),
        ({"queue": False}, None),
        ({"stable": False}, None),
    ):
        other = reading(replace(slow, **changes), PACED)
        assert other is not None and other.limited_by is limit
    lossy = reading(slow, replace(PACED, loss=0.013, loss_high=0.013))
    assert lossy is not None and lossy.limited_by is Limit.LOSS
    at_least = reading(slow, replace(PACED, filled=False))
    assert at_least is not None and at_least.at_least and at_least.low == found.low


def test_a_policer_drops_without_a_queue() -> None:
    """A train 12 % above the rate, no queue, and no loss of the line's own."""
    dropped = replace(PACED, queue_seconds=0.0)
    for paced, capacity, policed in (
        (dropped, 4.49e6, True), (dropped, 4.48e6, False), (dropped, None, False),
        (PACED, 9e6, False), (replace(dropped, loss=0.013, loss_high=0.013), 9e6, False),
    ):  # fmt: skip
        found = reading(None, paced, capacity)
        assert found is not None and (found.limited_by is Limit.POLICER) is policed


def _rows(
    light: int, full: int, full_delay: float = 0.0, kept: float = 1.0, jitter: float = 0.0
) -> list[StreamRow]:
    """One datagram every 10 ms, then every 2 ms of which a share is kept (evenly); the delay of
    the full part is larger by `full_delay`, that of the light one swings by `jitter`."""
    rows, received = [], 0
    for number in range(light + full):
        late = number - light
        sent = number * 0.01 if late < 0 else light * 0.01 + late * 0.002
        if late >= 0 and int(late * kept) == int((late - 1) * kept) and late:
            continue
        received += 1
        swing = jitter * (-1) ** number if late < 0 else 0.0
        delay = 0.02 + swing + (full_delay if late >= 0 else 0.0)
        rows.append(StreamRow(sent + delay, received, number, sent))
    return rows


def test_a_stream_that_arrives_as_it_was_sent_did_not_fill_the_line() -> None:
    """1000 bytes every 2 ms: 4 Mbit/s; the light part took 1 s."""
    found = paced_rate(_rows(100, 500), 1000, 1.0)
    assert found is not None and not found.filled
    assert found.rate == pytest.approx(4e6) and found.queue_seconds == 0.0
    assert (found.loss, found.loss_high, found.swing) == (0.0, 0.03, 0.015)
    assert paced_rate(_rows(100, 3), 1000, 1.0) is None
    assert paced_rate(_rows(100, 4), 1000, 1.0) is not None
    bound = paced_rate(_rows(100, 500), 1000, 1.0, most_loss=0.01)
    assert bound is not None and (bound.loss_high, bound.swing) == (0.01, 0.01)
    dark = paced_rate(_rows(0, 500), 1000, 0.0)
    assert dark is not None and (dark.loss_high, dark.jitter) == (0.5, 0.0)


@pytest.mark.parametrize(("grown", "jitter", "stands"), [
    (0.0061, 0.0, True), (0.0059, 0.0, False), (0.0111, 0.005, True), (0.0109, 0.005, False),
])  # fmt: skip
def test_a_queue_stands_if_the_delay_grew_beyond_its_noise(
    grown: float, jitter: float, stands: bool
) -> None:
    """6 ms, or 2.2 standard deviations of the delay."""
    rows = _rows(101, 500, full_delay=grown, jitter=jitter)
    # The median of an odd number of delays that swing is one of both ends.
    offset = jitter if jitter else 0.0
    moved = [replace(row, seconds=row.seconds + offset) if row.sent >= 1.0099 else row
             for row in rows]  # fmt: skip
    found = paced_rate(moved, 1000, 1.0099)
    assert found is not None and (found.queue_seconds > 0) is stands
    assert found.filled is stands
    assert not stands or found.queue_seconds == pytest.approx(grown)


def test_two_packets_of_a_slow_line_are_no_queue() -> None:
    """At 0.5 Mbit/s (1000 bytes in 16 ms) the delay must grow by 32 ms."""
    for grown, stands in ((0.0325, True), (0.0315, False)):
        rows = [StreamRow(n * 0.016 + 0.02 + grown * (n >= 60), n + 1, n, n * 0.016)
                for n in range(200)]  # fmt: skip
        found = paced_rate(rows, 1000, 60 * 0.016)
        assert found is not None and (found.queue_seconds > 0) is stands


@pytest.mark.parametrize(("kept", "filled"), [(0.70, True), (0.80, False)])
def test_without_a_queue_much_must_be_missing(kept: float, filled: bool) -> None:
    """Less than 80 % of what was sent, less 4.5 % that the line may lose itself: 76.4 %."""
    found = paced_rate(_rows(100, 1000, kept=kept), 1000, 1.0)
    assert found is not None and found.filled is filled
    assert found.rate == pytest.approx(kept * 4e6, rel=0.01)


def test_the_lines_own_loss_is_that_of_the_light_part() -> None:
    """4 of 100 in two places: the variance is three times that of single losses."""
    rows = [row for row in _rows(100, 500) if row.highest not in {20, 21, 60, 61}]
    rows = [replace(row, received=number + 1) for number, row in enumerate(rows)]
    found = paced_rate(rows, 1000, 1.0)
    assert found is not None and found.loss == pytest.approx(0.04)
    high = 0.04 + 1.96 * sqrt(0.04 * 0.96 * 3 / 100)
    assert (found.loss_high, found.swing) == pytest.approx((high, high - 0.04))
    capped = paced_rate(rows, 1000, 1.0, most_loss=0.05)
    assert capped is not None and (capped.loss_high, capped.swing) == (0.05, high - 0.04)
    least = paced_rate(rows, 1000, 1.0, most_loss=0.01)
    assert least is not None and least.loss_high == found.loss


def _bucketed(rate_after: float, queue: float = 0.0, bend_at: int = 1500) -> list[StreamRow]:
    """1 s of light, then 4 Mbit/s: all arrives up to a bend, afterwards a share of it."""
    rows = _rows(100, bend_at)
    received, kept = rows[-1].received, 0.0
    for late in range(bend_at, 6000):
        kept += rate_after / 4e6
        if kept >= 1:
            kept -= 1
            received += 1
            sent = 1.0 + late * 0.002
            rows.append(StreamRow(sent + 0.02 + queue, received, 100 + late, sent))
    return rows


def test_a_bucket_has_a_size_and_a_rate() -> None:
    """3 s at 4 instead of 2 Mbit/s: 750 000 bytes; without a queue it polices."""
    found = bucket(_bucketed(2e6), 1000, 1.0)
    assert found is not None and not found.shaped
    assert found.rate == pytest.approx(2e6, rel=0.005)
    assert found.size == pytest.approx(750e3, rel=0.02)
    shaped = bucket(_bucketed(2e6, queue=0.016), 1000, 1.0)
    assert shaped is not None and shaped.shaped
    policed = bucket(_bucketed(2e6, queue=0.014), 1000, 1.0)
    assert policed is not None and not policed.shaped
    for rate, bends in ((3.7e6, True), (3.82e6, False)):  # a bend of 6 %
        assert (bucket(_bucketed(rate), 1000, 1.0) is not None) is bends
    assert bucket(_bucketed(2e6, bend_at=5500), 1000, 1.0) is None  # not yet settled
    assert bucket(_rows(100, 15), 1000, 1.0) is None


def test_the_end_of_a_stream_is_its_last_three_tenths() -> None:
    """Of 12 s: a bend at 7.8 s is before it, one at 10.2 s within."""
    for bend_at, settled in ((3900, True), (5100, False)):
        full = [row for row in _bucketed(2e6, bend_at=bend_at) if row.sent >= 1.0]
        assert tail_is_settled(full, 1000) is settled
    rate, error = tail_rate(_bucketed(2e6, bend_at=3900), 1000, 1.0)
    assert rate == pytest.approx(2e6, rel=0.005) and error < 0.01
    assert tail_rate(_rows(100, 3), 1000, 1.0)[0] == 0.0


@pytest.mark.parametrize(("sent", "received", "share"), [(60, 48, 0.7), (20, 1, 0.3), (60, 60, 1)])
def test_a_hop_answers_all_or_a_smaller_share(sent: int, received: int, share: float) -> None:
    """Nine of ten routers answer what arrives (binomial), the others any smaller share alike."""
    bounded = min(max(share, 0.05 / sent), 1 - 0.05 / sent)
    full = stats.binom.pmf(received, sent, bounded)
    hop = HopFigures(sent, received)
    assert path._binomial(hop, share) == pytest.approx(
        float(stats.binom.logpmf(received, sent, bounded))
    )
    less, _ = integrate.quad(lambda p: stats.binom.pmf(received, sent, p), 0, share)
    expected = 0.9 * float(full) + 0.1 * less / share
    assert exp(path._rate_limited(hop, share)) == pytest.approx(expected)


def test_loss_is_judged_from_20_packets_and_two_lost() -> None:
    """And above the given share."""
    full = HopFigures(20, 20)
    for end, found in (
        (HopFigures(20, 18), True), (HopFigures(19, 17), False), (HopFigures(20, 19), False),
        (HopFigures(20, 0), False), (HopFigures(200, 197), False), (HopFigures(200, 195), True),
    ):  # fmt: skip
        assert (path.loss_stretch([full, end], 0.02) is not None) is found
    assert path.loss_stretch([], 0.02) is None
    hops = [HopFigures(60, 60), HopFigures(60, 60), HopFigures(60, 30), HopFigures(60, 30)]
    assert path.loss_stretch(hops, 0.02) == Stretch(2, 3)
    silent = [HopFigures(60, 60), HopFigures(60, 0), HopFigures(60, 0), HopFigures(60, 30)]
    assert path.loss_stretch(silent, 0.02) == Stretch(1, 4)


def test_a_stretch_holds_half_of_the_delay_or_none_does() -> None:
    """Of 100 ms: exactly 50 ms do, 49 do not; silent hops belong to the stretch."""

    def at(*rtts: float | None) -> list[HopFigures]:
        return [HopFigures(9, 9, rtt) for rtt in rtts]

    for rtts, stretch in (
        ((0.02, 0.07, 0.1), Stretch(1, 2)), ((0.02, 0.069, 0.1), None),
        ((0.02, None, 0.1), Stretch(1, 3)), ((0.06, 0.1), Stretch(0, 1)), ((0.1, None), None),
    ):  # fmt: skip
        found = path.delay_stretch(at(*rtts))
        assert (found.stretch if found else None) == stretch
    assert path.delay_stretch([]) is None


def test_a_mark_is_lost_behind_the_last_hop_that_shows_it() -> None:
    """A hop that shows nothing proves nothing."""
    for seen, stretch in (
        ([46, 46], None), ([0, 46], None), ([46, 0], Stretch(1, 2)), ([None, 8], Stretch(0, 2)),
        ([46, None], None), ([], None),
    ):  # fmt: skip
        assert path.mark_stretch(46, seen) == stretch
    assert path.has_changed(["a"], ["a", "b"]) and not path.has_changed([None], ["a"])


def _marks(received: int, marked: int, *delays: float, sent: int = 40) -> MarkArrivals:
    return MarkArrivals(sent, received, marked, delays)


@pytest.mark.parametrize(
    ("marked", "plain", "found"),
    [
        (_marks(19, 19), _marks(40, 40), None), (_marks(20, 18), _marks(40, 40), Marking.KEEPS),
        (_marks(20, 17), _marks(40, 40), Marking.CLEARS),
        # Queues of more than 20 ms: half of the wait is preferred.
        (_marks(40, 40, 0.01, 0.02, 0.02), _marks(40, 40, 0.01, 0.0301, 0.0301), Marking.FAVOURS),
        (_marks(40, 40, 0.01, 0.021, 0.021), _marks(40, 40, 0.01, 0.0301, 0.0301), Marking.KEEPS),
        (_marks(40, 40, 0.01, 0.01, 0.01), _marks(40, 40, 0.01, 0.029, 0.029), Marking.KEEPS),
        (_marks(40, 40, 0.01), _marks(40, 40), Marking.KEEPS),
        # Four packets more lost, and twice the share.
        (_marks(36, 36, 0.01), _marks(32, 32, 0.01), Marking.FAVOURS),
        (_marks(35, 35, 0.01), _marks(32, 32, 0.01), Marking.KEEPS),
        (_marks(40, 40, 0.01), _marks(36, 36, 0.01), Marking.FAVOURS),
        (_marks(40, 40, 0.01), _marks(37, 37, 0.01), Marking.KEEPS),
        (_marks(400, 400, 0.01, sent=400), _marks(393, 393, 0.01, sent=400), Marking.KEEPS),
    ],
)  # fmt: skip
def test_a_mark_is_kept_cleared_or_preferred(
    marked: MarkArrivals, plain: MarkArrivals, found: Marking | None
) -> None:
    """Nine of ten marks must arrive."""
    assert path.marking(marked, plain) is found


def test_a_direction_is_full_from_20_ms_or_two_percent_on() -> None:
    """Of the unmarked packets, against the fastest of all."""
    fast = _marks(40, 40, 0.01)
    for plain, full in (
        (_marks(40, 40, 0.0301, 0.0301), True), (_marks(40, 40, 0.0299), False),
        (_marks(39, 39, 0.01), True), (_marks(197, 197, 0.01, sent=200), False),
        (_marks(195, 195, 0.01, sent=200), True), (_marks(40, 40), False),
    ):  # fmt: skip
        assert path.is_full({0: plain, 46: fast}) is full
    assert not path.is_full({46: fast})
