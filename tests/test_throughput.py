"""Throughput: stopping rule, estimate, loaded RTT and packet trains, on simulated transfers."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jharnet_monitor.judge.line.packet_trains import PacketArrival, TrainCapacity, train_capacity
from jharnet_monitor.judge.line.throughput import (
    RttSample,
    Sample,
    estimate,
    estimate_over_same_bytes,
    is_stable,
    loaded_rtt,
    window_seconds,
)
from jharnet_monitor.model import Direction
from jharnet_monitor.probes.bandwidth.bandwidth_test import MAX_UNCERTAINTY
from jharnet_monitor.probes.bandwidth.http_hub import TransferResult
from jharnet_monitor.probes.bandwidth.tcp_info import parse
from jharnet_monitor.probes.bandwidth.throughput_test import TcpTransfer, _loaded_rtts


def transfer(
    rate: float, seconds: float, *, ramp: float = 0.3, noise: float = 0.0, start: float = 100.0
) -> list[Sample]:
    """Packets of 1500 bytes on a line of `rate` bit/s after a slow start of `ramp` seconds."""
    chance = random.Random(1)
    samples = []
    for number in range(int(rate * seconds / 12000)):
        sent = number * 12000 / rate  # seconds of the full line
        moment = (3 * sent * ramp**2) ** (1 / 3) if sent < ramp / 3 else sent + 2 * ramp / 3
        samples.append(Sample(start + moment + chance.uniform(0, noise), 1500.0 * number))
    return sorted(samples, key=lambda s: s.seconds)


@settings(deadline=None, max_examples=60)
@given(rate=st.floats(3e5, 1e8), ramp=st.floats(0.05, 0.6))
def test_the_plateau_is_found(rate: float, ramp: float) -> None:
    """The estimate is the line's rate, whatever the rate and the length of slow start."""
    samples = transfer(rate, 2.0, ramp=ramp)
    samples = samples[:: 1 + len(samples) // 250]
    found = estimate(samples)
    assert found is not None
    assert found.stable
    assert found.rate == pytest.approx(rate, rel=0.015)
    assert found.uncertainty < 0.2


def test_noise_shows_in_the_uncertainty_and_not_in_the_rate() -> None:
    """With 5 ms of jitter the rate is within 1 %, and the interval contains the true rate."""
    found = estimate(transfer(4e6, 1.6, noise=0.01))
    assert found is not None
    assert found.rate == pytest.approx(4e6, rel=0.01)
    assert abs(found.rate - 4e6) <= found.uncertainty * found.rate
    assert 0.001 < found.uncertainty < 0.1


def test_it_does_not_stop_in_slow_start() -> None:
    """While the rate is still doubling, no two windows agree."""
    samples = [Sample(t / 100, 1000 * 2 ** (t / 25)) for t in range(300)]
    assert not any(is_stable(samples[:n]) for n in range(1, 300))
    satellite = [Sample(0.6 * t + s / 100, 15000.0 * 2**t + s) for t in range(8) for s in range(60)]
    assert not any(
        is_stable(satellite[:n], window_seconds(0.6)) for n in range(1, len(satellite), 5)
    )


def test_silence_is_not_a_rate() -> None:
    """Two empty windows do not count as agreeing."""
    samples = [*transfer(2e6, 0.4), *(Sample(101 + t / 10, 30000.0) for t in range(20))]
    assert not is_stable(samples)
    assert estimate([Sample(0.0, 1.0), Sample(2.0, 1.0), Sample(3.0, 1.0)]) is None
    assert estimate([]) is None
    assert estimate(transfer(2e6, 0.2)) is None


def test_a_rate_that_never_settles_is_marked() -> None:
    """A rate that swings gives that of the last second, marked, with a wide interval."""
    samples, sent = [], 0.0
    for step in range(250):
        sent += 4000 if step // 30 % 2 else 500
        samples.append(Sample(step / 100, sent))
    found = estimate(samples)
    assert found is not None
    assert not found.stable
    assert found.uncertainty > 0.2


def test_the_loaded_rtt_is_weighted_by_bytes() -> None:
    """A long slow start with an empty queue weighs as little as the bytes it sent."""
    samples = [Sample(t / 100, 10.0 * t) for t in range(100)]
    samples += [Sample(1 + t / 100, 1000 + 2500.0 * t) for t in range(1, 100)]
    rtts = [RttSample(t / 20, 0.03 if t < 20 else 0.23) for t in range(40)]
    found = loaded_rtt(rtts, samples, 2e6, stopped=1.99)
    assert found == pytest.approx(0.23, rel=0.1)  # the plain mean is 0.13
    assert loaded_rtt([], samples, 2e6, 2.0) is None
    assert loaded_rtt([RttSample(5.0, 0.1)], samples, 2e6, 2.0) is None


def _under_load(sent: list[float], own: float | None, *, hidden: bool) -> list[float | None]:
    """The two RTTs of an upload from 0 to 1 s at a steady rate; `own` is TCP's. A ping sent in it
    takes 0.2 s, one before or after it 0.03 s."""
    result = TransferResult(started=0.0, stopped=1.0)
    for step in range(11):
        result.series.add(step / 10, 100 * step, 144_800 * step)
    rtts = [RttSample(moment, 0.2 if 0 <= moment <= 1 else 0.03) for moment in sent]
    streamed = TcpTransfer(result, {"rtt": own}, rtts)
    return [*_loaded_rtts(Direction.UP, streamed, 12e6, hidden=hidden)]


@pytest.mark.parametrize(
    ("sent", "own", "hidden", "expected"),
    [
        ([-0.1, 0.1, 0.4, 0.7, 1.1], 0.15, False, [0.18, 0.2]),  # three answers are enough
        ([-0.1, 0.1, 0.4, 1.1], 0.15, False, [0.15, 0.15]),
        ([-0.2, -0.1, 1.1, 1.2], 0.15, False, [0.15, 0.15]),
        ([-0.1, 0.35, 0.7, 1.1], None, False, [0.157, 0.2]),  # a join page on a narrow line
        ([-0.1, 0.7], None, False, [None, None]),
        ([-0.1, 0.1, 0.7, 1.1], 0.15, True, [0.2, 0.2]),  # the proxy's own RTT says nothing
        ([-0.1, 0.1, 0.4, 1.1], 0.15, True, [None, None]),
    ],
)
def test_the_loaded_rtt_where_answers_are_missing(
    sent: list[float], own: float | None, hidden: bool, expected: list[float | None]
) -> None:
    """Too few answers of the transfer: TCP's own RTT, or what there is where it has none. The
    answer before it weighs what arrived until halfway to the next one: 12 % and 24 %."""
    assert _under_load(sent, own, hidden=hidden) == [
        value if value is None else pytest.approx(value, rel=0.03) for value in expected
    ]


def test_two_counters_of_the_same_bytes() -> None:
    """They are compared whatever their clocks read; false bytes or times are detected."""
    reported = transfer(4e6, 1.6)
    reference = [Sample(s.seconds - 37, s.ip_bytes) for s in reported[: len(reported) * 9 // 10]]
    found = estimate(reference)
    assert found is not None
    same = estimate_over_same_bytes(reported, reference, found)
    assert same is not None
    assert same.rate == pytest.approx(4e6, rel=0.005)
    assert (
        estimate_over_same_bytes(
            [Sample(s.seconds, s.ip_bytes / 2) for s in reported], reference, found
        )
        is None
    )
    double = estimate_over_same_bytes(
        [Sample(s.seconds, 2 * s.ip_bytes) for s in reported], reference, found
    )
    assert double is not None
    assert double.rate > 1.3 * found.rate
    fast = estimate_over_same_bytes(
        [Sample(0.9 * s.seconds, s.ip_bytes) for s in reported], reference, found
    )
    assert fast is not None
    assert fast.rate == pytest.approx(found.rate / 0.9, rel=0.01)
    assert estimate_over_same_bytes([], reference, found) is None


@settings(deadline=None)
@given(rate=st.floats(2e5, 1e8), lost=st.sets(st.integers(1, 32), max_size=20))
def test_a_train_with_lost_packets(rate: float, lost: set[int]) -> None:
    """Lost packets leave gaps in the numbers and do not change the capacity."""
    train = [PacketArrival(n, n * 12000 / rate) for n in range(33) if n not in lost]
    found = train_capacity(train, 1500)
    assert found is not None
    assert found.rate == pytest.approx(rate, rel=1e-3)


def test_a_train_between_other_traffic() -> None:
    """If some gaps contain packets of others, the undisturbed majority gives the capacity."""
    moment, train = 0.0, []
    for number in range(33):
        moment += 0.006 + (0.004 if number % 3 == 0 else 0.0)
        train.append(PacketArrival(number, moment))
    found = train_capacity(train, 1500)
    assert found is not None
    assert found.rate == pytest.approx(2e6, rel=0.01)


def test_the_uncertainty_of_a_train_in_jitter() -> None:
    """With 5 ms of jitter on gaps of 6 ms the estimate is within 5 %, as its interval says."""
    chance = random.Random(3)
    train = [PacketArrival(n, n * 0.006 + chance.uniform(0, 0.01)) for n in range(33)]
    found = train_capacity(train, 1500)
    assert found is not None
    assert found.rate == pytest.approx(2e6, rel=0.05)
    assert abs(found.rate - 2e6) <= 1.5 * found.uncertainty * found.rate


def in_jitter(rate: float, count: int) -> Iterator[TrainCapacity]:
    """The estimates of `count` trains in 5 ms of jitter without reordering."""
    chance = random.Random(5)
    for _ in range(count):
        train, last = [], 0.0
        for number in range(min(32, int(rate * 0.15 / 12000))):
            last = max(last, number * 12000 / rate + chance.uniform(0, 0.01))
            train.append(PacketArrival(number, last))
        found = train_capacity(train, 1500)
        assert found is not None
        yield found


@pytest.mark.parametrize("rate", [2e6, 4e6, 10e6])
def test_the_interval_of_a_train_contains_the_true_capacity(rate: float) -> None:
    """For at least 90 of 100 trains, although packets behind a late one arrive in bunches."""
    trains = list(in_jitter(rate, 300))
    assert sum(abs(rate - one.rate) <= one.uncertainty * one.rate for one in trains) >= 270


def in_stops(count: int) -> Iterator[tuple[float, TrainCapacity]]:
    """True rate and estimate of trains whose receiver stops once, for 8 ms as a rule, and stamps
    every packet up to some tenths of a millisecond late."""
    chance = random.Random(7)
    for _ in range(count):
        rate = 2e6 * 15 ** chance.random()
        packets = max(8, min(32, int(rate * 0.15 / 12000)))
        sent = [number * 12000 / rate for number in range(packets)]
        begin, length = chance.uniform(-0.005, sent[-1]), chance.expovariate(1 / 0.008)
        train, last = [], 0.0
        for number, moment in enumerate(sent):
            due = begin + length if begin <= moment < begin + length else moment
            last = max(last + 20e-6, due + abs(chance.gauss(0, 1e-4)))
            train.append(PacketArrival(number, last))
        found = train_capacity(train, 1500)
        assert found is not None
        yield rate, found


def test_a_computer_that_stops_changes_no_capacity() -> None:
    """What arrived meanwhile arrives in a bunch, which shows nothing of the line: of 100 trains at
    most 10 are inconclusive, and 97 of those that are not are within 3 % or as uncertain as they
    state."""
    kept = [(rate, one) for rate, one in in_stops(500) if one.uncertainty <= MAX_UNCERTAINTY]
    right = [abs(one.rate / rate - 1) <= max(0.03, one.uncertainty) for rate, one in kept]
    assert len(kept) >= 450
    assert sum(right) >= 0.97 * len(kept)


def test_a_train_in_few_bunches_is_inconclusive() -> None:
    """A computer that stops for most of the train, or reads seldom."""
    train = [PacketArrival(n, (n // 8) * 0.01 + n * 1e-5) for n in range(32)]
    found = train_capacity(train, 1500)
    assert found is not None and found.uncertainty > MAX_UNCERTAINTY


def test_a_duplicated_packet_counts_once() -> None:
    """When it first arrived."""
    train = [PacketArrival(n, n * 0.006) for n in range(20)]
    found = train_capacity([*train, *(PacketArrival(n, 0.2) for n in range(20))], 1500)
    assert found is not None and found.rate == pytest.approx(2e6)


def test_a_train_shorter_than_the_jitter_is_inconclusive() -> None:
    """48 kB take 4 ms at 100 Mbit/s: the uncertainty exceeds what the probe accepts."""
    kept = [one for one in in_jitter(100e6, 300) if one.uncertainty <= MAX_UNCERTAINTY]
    assert len(kept) <= 3


def test_too_short_a_train_gives_nothing() -> None:
    """Four packets, or all at the same time, are not enough."""
    assert train_capacity([PacketArrival(n, n * 0.01) for n in range(4)], 1500) is None
    assert train_capacity([PacketArrival(n, 1.0) for n in range(30)], 1500) is None


def test_the_kernels_structure_is_read_where_its_fields_are() -> None:
    """Offsets of linux/tcp.h; an older, shorter answer leaves the later fields at 0."""
    raw = bytearray(232)
    raw[5] = 1
    for offset, form, value in (
        (16, "I", 1448), (20, "I", 1440), (68, "I", 31_000), (120, "Q", 7), (128, "Q", 8),
        (152, "I", 9), (192, "I", 10), (200, "Q", 11), (208, "Q", 12),
    ):  # fmt: skip
        struct.pack_into(f"={form}", raw, offset, value)
    info = parse(bytes(raw))
    assert info is not None
    assert (info.send_mss, info.receive_mss, info.rtt, info.header) == (1448, 1440, 0.031, 52)
    assert (info.bytes_acked, info.bytes_received, info.data_segments_in) == (7, 8, 9)
    assert (info.delivered, info.bytes_sent, info.bytes_retransmitted) == (10, 11, 12)
    older = parse(bytes(raw[:160]))
    assert older is not None
    assert older.delivered == 0
    assert parse(bytes(raw[:100])) is None
