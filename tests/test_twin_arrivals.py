"""What the arrivals of a call show of its line, on streams whose line is known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jharnet_monitor.judge.twin import arrivals
from jharnet_monitor.judge.twin.arrivals import observe
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.packet_pairs import pair_rate
from jharnet_monitor.judge.twin.trace import PacketColumns, Trace
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LinkDirection

NOTHING = np.zeros(0)
EMPTY = PacketColumns(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)
CLOCKS = 100.0
"""Between the two clocks."""
DELAY = 0.02


def _stream(
    sent: Any, takes: Any, size: float = 1000.0, frame: Any = None, repeated: Any = ()
) -> PacketColumns:
    """Packets that take some seconds each; NaN for a lost one."""
    sent = np.asarray(sent, float)
    at = sent + CLOCKS + np.broadcast_to(np.asarray(takes, float), sent.shape)
    again = np.asarray(repeated, float) + CLOCKS
    return PacketColumns(
        sent, at, np.full(len(sent), size), sent if frame is None else np.asarray(frame, float),
        again, np.full(len(again), size),
    )  # fmt: skip


def _sound(seconds: float = 20.0) -> Any:
    return np.arange(0, seconds, 0.02)


def _seen(stream: PacketColumns, other: PacketColumns = EMPTY) -> ObservedLine:
    found = observe(stream, other)
    assert found is not None
    return found


def _trace(stream: PacketColumns, other: PacketColumns = EMPTY) -> Trace:
    return Trace(stream, other)


def test_a_hundred_packets_are_needed() -> None:
    """Of sound; lost ones do not count."""
    takes = np.full(101, DELAY)
    takes[50] = np.nan
    assert observe(_stream(np.arange(101) * 0.02, takes), EMPTY) is not None
    takes[51] = np.nan
    assert observe(_stream(np.arange(101) * 0.02, takes), EMPTY) is None


def test_an_even_stream_shows_no_fault() -> None:
    """50 packets of 1000 bytes a second: the line carries 0.4 Mbit/s at least."""
    found = _seen(_stream(_sound(), DELAY))
    assert found.at_least == pytest.approx(0.4e6, rel=0.005)
    assert (found.rate, found.available, found.queue, found.bucket) == (None, None, None, None)
    assert (found.lost, found.loss, found.gone, found.every, found.policed) == (0, 0, 0, 0, False)
    assert (found.burst, found.spread, found.transfer_on) == (1.0, 0.0, 0.0)
    assert found.packets == 975  # from 0.5 s on
    for value in (found.jitter, found.longest_queue, found.usual_queue):
        assert value == pytest.approx(0.0, abs=1e-9)


def test_the_first_half_second_does_not_count() -> None:
    """Packets may be refused until both ends are ready."""
    takes = np.where(_sound() < 0.499, np.nan, DELAY)
    assert _seen(_stream(_sound(), takes)).lost == 0
    takes[26] = np.nan
    assert _seen(_stream(_sound(), takes)).lost == 1


def test_jitter_is_half_the_width_of_the_delay() -> None:
    """±10 ms; the calmer of the two streams, and the calmer seconds, count."""
    rng = np.random.default_rng(1)
    takes = DELAY + 0.01 * rng.uniform(-1, 1, 1000)
    assert _seen(_stream(_sound(), takes)).jitter == pytest.approx(0.01, rel=0.12)
    calm = DELAY + 0.002 * rng.uniform(-1, 1, 600)
    video = _stream(np.arange(600) / 30, calm)
    assert _seen(_stream(_sound(), takes), video).jitter == pytest.approx(0.002, rel=0.12)
    worse = np.where(_sound() % 4 < 2, takes, DELAY)  # every other two seconds
    assert _seen(_stream(_sound(), worse)).jitter == pytest.approx(0.0, abs=1e-9)
    # The later packets of a frame are paced, and show nothing.
    sent = np.repeat(np.arange(600) / 30, 2)
    paced = DELAY + np.tile([0.0, 0.02], 600)
    found = _seen(_stream(_sound(), takes), _stream(sent, paced, frame=sent))
    assert found.jitter == pytest.approx(0.0, abs=1e-6)


def test_interruptions_have_a_length_and_a_distance() -> None:
    """0.5 s and 0.7 s without any packet, which are no loss; 0.2 s are."""
    sent = _sound()
    cut = ((sent > 4.99) & (sent < 5.49)) | ((sent > 11.99) & (sent < 12.69))
    found = _seen(_stream(sent, np.where(cut, np.nan, DELAY)))
    assert found.gone == pytest.approx((0.55 + 0.75) / 2, abs=0.051)
    assert found.every == pytest.approx(19.5 / 2, abs=0.03)
    assert found.lost == 0
    short = (sent > 4.99) & (sent < 5.19)
    found = _seen(_stream(sent, np.where(short, np.nan, DELAY)))
    assert (found.gone, found.every, found.lost) == (0.0, 0.0, 10)
    sent = np.arange(0, 20, 0.019)  # counted from 0.513 s on, in tenths of a second
    for tenths, gone in ((2, 0.0), (3, 0.35), (4, 0.45)):
        cut = (sent > 5.0125) & (sent < 5.0125 + tenths / 10)
        found = _seen(_stream(sent, np.where(cut, np.nan, DELAY)))
        assert found.gone == pytest.approx(gone)


@pytest.mark.parametrize(("packets", "gone"), [(7, 0.0), (8, 0.35)])
def test_an_interruption_needs_eight_packets_that_were_sent(packets: int, gone: float) -> None:
    """Within the three tenths of a second in which none arrived; fewer are lost packets."""
    even = np.arange(0, 20, 0.019)  # counted from 0.513 s on, in tenths of a second
    before, after = even[even < 5.0125], even[even > 5.3125]
    sent = np.concatenate([before, np.linspace(5.02, 5.3, packets), after])
    lost = (sent > 5.0125) & (sent < 5.3125)
    found = _seen(_stream(sent, np.where(lost, np.nan, DELAY)))
    assert found.gone == pytest.approx(gone)
    assert found.lost == (0 if gone else packets)


def test_losses_have_a_share_and_a_length() -> None:
    """Runs of 1, 2 and 3 packets: 6 of 975 lost, 2 in a row on average."""
    takes = np.full(1000, DELAY)
    takes[[100, 300, 301, 600, 601, 602]] = np.nan
    found = _seen(_stream(_sound(), takes))
    assert (found.lost, found.burst) == (6, 2.0)
    assert found.loss == pytest.approx(6 / 975)


def test_a_policer_shows_its_rate_and_bucket() -> None:
    """200 kbit/s pass; of 0.96 Mbit/s the policer lets 0.4 through, and 0.3 s of that at once."""
    settings = {"bucket": {"rate": "400 kbit/s", "size": "300ms"}, "delay": "20ms"}
    pipe = Pipe("p", LinkDirection.model_validate(settings), 1)
    slow = np.arange(0, 10.1, 0.05)
    fast = np.arange(10.1, 20, 0.01)
    sent = np.concatenate([slow, fast])
    due = [pipe.admit(CLOCKS + float(moment), 1200) for moment in sent]
    at = np.array([moment if moment >= 0 else np.nan for moment in due])
    found = _seen(PacketColumns(sent, at, np.full(len(sent), 1200.0), sent, NOTHING, NOTHING))
    assert found.policed and found.available is None
    assert found.rate == pytest.approx(0.4e6, rel=0.06)
    assert found.bucket == pytest.approx(0.3, abs=0.06)
    assert (found.lost, found.loss) == (0, 0.0)  # below its rate
    assert found.queue is None
    # The same loss at every rate is no policer's.
    rng = np.random.default_rng(1)
    takes = np.where(rng.random(len(sent)) < 0.5, np.nan, DELAY)
    assert not _seen(_stream(sent, takes)).policed


@pytest.mark.parametrize(("end", "policed"), [(10.4, False), (10.7, True), (11.0, True)])
def test_a_policer_needs_two_times_of_three_tenths_with_its_loss(end: float, policed: bool) -> None:
    """In the first of them its bucket may be spent; the second shows its rate."""
    settings = {"bucket": {"rate": "400 kbit/s", "size": "40ms"}, "delay": "20ms"}
    pipe = Pipe("p", LinkDirection.model_validate(settings), 1)
    sent = np.concatenate([np.arange(0, 10.1, 0.05), np.arange(10.1, end - 1e-6, 0.01),
                           np.arange(end, 20, 0.05)])  # fmt: skip
    due = [pipe.admit(CLOCKS + float(moment), 1200) for moment in sent]
    at = np.array([moment if moment >= 0 else np.nan for moment in due])
    found = _seen(PacketColumns(sent, at, np.full(len(sent), 1200.0), sent, NOTHING, NOTHING))
    assert found.policed is policed
    assert not policed or found.rate == pytest.approx(0.4e6, rel=0.15)


def test_pairs_show_the_rate_of_a_line_that_is_not_full() -> None:
    """Five packets of 1000 bytes a frame, 4 ms apart: 2 Mbit/s, although 1.2 are sent."""
    sent = np.repeat(np.arange(600) / 30, 5)
    takes = DELAY + np.tile(np.arange(5) * 0.004, 600)
    video = _stream(sent, takes, frame=sent)
    assert _seen(_stream(_sound(), DELAY, 88.0), video).rate == pytest.approx(2e6, rel=0.01)
    rng = np.random.default_rng(1)  # jitter spaces them at random
    uneven = DELAY + np.sort(rng.uniform(0, 0.02, (600, 5)), axis=1).ravel()
    video = _stream(sent, uneven, frame=sent)
    assert _seen(_stream(_sound(), DELAY, 88.0), video).rate is None
    # Too few pairs, or packets that arrive together, show nothing.
    for frames, gap, shown in ((3, 0.004, True), (2, 0.004, False), (100, 0.0001, False)):
        few = np.repeat(np.arange(frames) / 30, 5)
        spaced = DELAY + np.tile(np.arange(5) * gap, frames)
        rate = pair_rate(_stream(few, spaced, frame=few))
        assert (rate is not None) is shown
        assert rate is None or rate == pytest.approx(2e6, rel=0.01)


def test_the_fastest_pairs_that_agree_show_the_rate() -> None:
    """The others are kept apart by the sender, or by a packet of others between them."""
    rng = np.random.default_rng(2)
    for together, spread, shown in ((0.3, 0.05, 5e6), (0.08, 0.01, 5e6), (0.08, 0.04, None)):
        gaps = np.where(rng.random(1200) < together, 0.0016, 0.0016 + rng.uniform(0.002, 0.006))
        gaps = gaps * (1 + spread * rng.uniform(-1, 1, 1200))
        sent = np.repeat(np.arange(600) / 30, 3)
        takes = np.column_stack([np.zeros(600), gaps.reshape(600, 2).cumsum(axis=1)]).ravel()
        rate = pair_rate(_stream(sent, DELAY + takes, frame=sent))
        assert rate == (None if shown is None else pytest.approx(shown, rel=0.02))


def _queue(rate: float, depth: float, packets: float, size: float = 1000.0) -> PacketColumns:
    """A stream, slow for 2 s, through a queue; worked out packet by packet."""
    sent = np.concatenate([np.arange(0, 2, 0.02), np.arange(2, 20, 1 / packets)])
    free, at = 0.0, np.full(len(sent), np.nan)
    for number, moment in enumerate(sent):
        wait = max(0.0, free - moment)
        if wait <= depth:
            free = max(free, moment) + size * 8 / rate
            at[number] = free + DELAY + CLOCKS
    return PacketColumns(sent, at, np.full(len(sent), size), sent, NOTHING, NOTHING)


def test_a_full_line_shows_rate_and_queue() -> None:
    """1 Mbit/s into 0.6: a queue of 300 ms that is always full."""
    found = _seen(_queue(0.6e6, 0.3, 125))
    assert found.rate == found.available == pytest.approx(0.6e6, rel=0.01)
    assert found.spread == pytest.approx(0.0, abs=0.02)
    assert found.queue == pytest.approx(0.3, abs=0.015)
    assert found.longest_queue == pytest.approx(0.3, abs=0.015)
    assert found.usual_queue == pytest.approx(0.295, abs=0.015)
    assert found.at_least == pytest.approx(0.6e6, rel=0.02)
    assert not found.policed


def test_a_queue_is_as_long_as_it_was_when_it_dropped_packets() -> None:
    """It fills for 8 s, is full for 1 s and drains: only the second in which packets were lost
    shows its length."""
    gaps = np.concatenate([np.full(400, 0.02), np.full(1080, 0.02 / 2.7), np.full(135, 0.005),
                           np.full(400, 0.02)])  # fmt: skip
    sent = np.cumsum(gaps)
    free, at = 0.0, np.full(len(sent), np.nan)
    for number, moment in enumerate(sent):
        if max(0.0, free - moment) <= 0.4:
            free = max(free, moment) + 1000 * 8 / 1.04e6
            at[number] = free + DELAY + CLOCKS
    assert np.isnan(at).sum() >= 10 and np.isnan(at[:1480]).sum() == 0
    nothing = np.full(len(sent), 1000.0)
    found = _seen(PacketColumns(sent, at, nothing, sent, NOTHING, NOTHING))
    assert found.queue == pytest.approx(0.4, abs=0.02)


def test_retransmissions_count_for_the_rate() -> None:
    """Two packets arrive a second time between others: the rate includes their bits."""
    trace = _trace(_stream(_sound(), DELAY, repeated=[5.031, 5.051]))
    plain = _trace(_stream(_sound(), DELAY))
    begin, end = CLOCKS + 5.0 + DELAY, CLOCKS + 6.0 + DELAY
    assert plain.arrived_rate(begin, end) == pytest.approx(0.4e6)
    assert trace.arrived_rate(begin, end) == pytest.approx(0.416e6)
    assert trace.arrived_rate(begin, begin) == 0.0
    assert trace.lost.sum() == 0 and len(trace.sent) == 975


def test_a_short_time_of_a_full_line_counts_if_packets_were_dropped() -> None:
    """The call slows down after 0.3 s of a full queue, in which 0.5 Mbit/s passed."""
    before, during = np.arange(0.0, 1.0, 0.02), np.arange(1.0, 1.3, 0.005)
    sent = np.concatenate([before, during, np.arange(1.32, 20.0, 0.02)])
    full = (sent >= 1.0) & (sent < 1.3)
    takes = np.full(len(sent), DELAY)
    takes[full] += 0.06 + 1.0 + np.arange(full.sum()) * 0.0064 - sent[full]
    for lost, known in ((8, True), (0, False)):
        got = takes.copy()
        got[np.flatnonzero(full)[-2 * lost :: 2] if lost else []] = np.nan
        stream = replace(_stream(sent, got), size=np.where(full, 400.0, 100.0))
        found = observe(stream, EMPTY)
        assert found is not None
        assert (found.available is not None) is known
        if found.available is not None:
            assert found.available == pytest.approx(0.5e6, rel=0.25)
            assert 0.1 <= found.spread < 0.2


def test_the_busiest_seconds_show_what_the_line_carries() -> None:
    """One packet a second of 1000 bytes, but ten in each of four of twenty seconds."""
    sent = np.concatenate([np.arange(0, 20) + 0.7, np.repeat([5.75, 9.75, 13.75, 17.75], 9)])
    trace = _trace(_stream(np.sort(sent), DELAY))
    assert arrivals._busiest(trace) == pytest.approx(80e3)


def test_loss_without_a_full_queue_is_the_lines_own() -> None:
    """Where less than half of the deepest queue stands: 3 of 400 packets."""
    takes = np.where(_sound() < 10.5, DELAY, DELAY + 0.2)
    lost = [30, 31, 400, 600, 700]
    takes[lost] = np.nan
    trace = _trace(_stream(_sound(), takes))
    assert arrivals._loss_without_full_queue(trace) == (3.0, 500.0)


def test_a_depth_needs_five_packets() -> None:
    """That arrived while the queue dropped others, and at least three dropped ones."""

    def depth(arrived: int, dropped: int = 3) -> float | None:
        trace: Any = SimpleNamespace(
            lost_in=np.array([0, dropped]), bin=np.array([0] + [1] * arrived),
            lost=np.zeros(arrived + 1, bool), first=np.ones(arrived + 1, bool),
        )  # fmt: skip
        waits = np.array([9.0] + [0.25] * arrived)
        return arrivals._depth(trace, waits, np.array([False, True]), 0.01)

    assert depth(5) == pytest.approx(0.25 - 1.8 * 0.01)
    assert depth(4) is None and depth(5, dropped=2) is None


def test_near_is_a_tenth_of_a_second_around() -> None:
    """The bins beside a busy one."""
    busy = np.array([1, 0, 0, 0, 1, 0, 0, 1], bool)
    near = arrivals._near(busy)
    assert near.astype(int).tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
