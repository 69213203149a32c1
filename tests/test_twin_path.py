"""The twin's path: queue, policer, other traffic, loss, delay, interruptions, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jharnet_monitor.judge.twin.path import Path, Sent

STILL = {
    "rate": 1e6, "queue": 0.05, "bucket": 0.0, "delay": 0.02, "jitter": 0.0, "loss": 0.0,
    "burst": 1.0, "others": 0.0, "cross": 0.0, "transfer_on": 0.0, "transfer_off": 0.0,
    "gone": 0.0, "every": 0.0,
}  # fmt: skip
TEN_MS = 1250.0
"""Bytes that take 10 ms at 1 Mbit/s."""


def _path(lanes: int = 2, seed: int = 1, **changes: float) -> Path:
    columns = {name: np.full(lanes, value) for name, value in (STILL | changes).items()}
    return Path(columns, np.random.default_rng(seed))


def _send(path: Path, now: float, count: int, span: float = 0.0, size: float = TEN_MS) -> Sent:
    lanes = len(path.rate)
    return path.send(
        np.full(lanes, now), np.full(lanes, count, np.int64), np.full(lanes, size), span
    )


def test_packets_wait_for_those_before_them() -> None:
    """Three of 10 ms leave after 30 ms; a fourth 20 ms later waits for the last of them."""
    path = _path()
    sent = _send(path, 1.0, 3)
    assert sent.last_arrival == pytest.approx([1.05] * 2)
    assert (sent.arrived.tolist(), sent.lost.tolist()) == ([3, 3], [0, 0])
    assert path.backlog == pytest.approx([0.03] * 2)
    assert _send(path, 1.02, 1).last_arrival == pytest.approx([1.06] * 2)
    assert _send(path, 2.0, 1).last_arrival == pytest.approx([2.03] * 2)


def test_a_queue_of_50_ms_holds_five_packets_and_the_one_in_service() -> None:
    """Of ten at once, six pass; 20 ms later there is room for two."""
    path = _path()
    assert (_send(path, 1.0, 10).arrived.tolist(), path.backlog.tolist()) == ([6, 6], [0.06, 0.06])
    assert _send(path, 1.0 + 0.0201, 10).arrived.tolist() == [2, 2]


def test_paced_packets_fill_the_queue_by_what_exceeds_its_rate() -> None:
    """Four of 10 ms within 20 ms: half of each is still queued; the line takes 40 ms for all."""
    path = _path()
    assert _send(path, 1.0, 4, span=0.02).last_arrival == pytest.approx([1.06] * 2)
    assert path.backlog == pytest.approx([0.02] * 2)
    slow = _path()
    assert _send(slow, 1.0, 4, span=0.2).last_arrival == pytest.approx([1.22] * 2)
    assert slow.backlog == pytest.approx([0.0] * 2)
    # 12 leave the sender within 60 ms, of which the line takes 6; each adds 5 ms: 11 find room.
    assert _send(_path(), 1.0, 12, span=0.06).arrived.tolist() == [11, 11]


def test_a_policer_passes_its_bucket_at_once_and_then_its_rate() -> None:
    """50 ms of bucket are five packets of 10 ms, without any wait; 30 ms later there are three."""
    path = _path(bucket=0.05, queue=0.0)
    sent = _send(path, 1.0, 8)
    assert (sent.arrived.tolist(), sent.lost.tolist()) == ([5, 5], [3, 3])
    assert sent.last_arrival == pytest.approx([1.02] * 2)
    assert _send(path, 1.0301, 8).arrived.tolist() == [3, 3]
    assert _send(path, 9.0, 8).arrived.tolist() == [5, 5]
    assert _send(path, 20.0, 8, span=0.04).last_arrival == pytest.approx([20.06] * 2)
    assert path.backlog.tolist() == [0.0, 0.0]
    # Paced at twice the rate, each packet takes half of its tokens.
    assert _send(_path(bucket=0.05, queue=0.0), 1.0, 12, span=0.06).arrived.tolist() == [10, 10]


def test_steady_other_traffic_takes_its_share() -> None:
    """At half the rate of others a queue of 40 ms lasts 80 ms, and tokens come half as fast."""
    path = _path(others=0.5e6)
    _send(path, 1.0, 4)
    assert _send(path, 1.04, 1).last_arrival == pytest.approx([1.09] * 2)  # 20 left, and its own 10
    policed = _path(others=0.5e6, bucket=0.05)
    assert _send(policed, 1.0, 8).arrived.tolist() == [5, 5]
    assert _send(policed, 1.0401, 8).arrived.tolist() == [2, 2]


def test_other_traffic_comes_in_packets_that_may_take_the_last_room() -> None:
    """A packet of 1000 bytes takes up to 8 ms of the room: half of the time more than 4."""
    assert set(_send(_path(lanes=2000, cross=0.1e6), 1.0, 10).arrived.tolist()) == {5}
    half = _send(_path(lanes=2000, cross=0.1e6, queue=0.054), 1.0, 10).arrived
    assert set(half.tolist()) == {5, 6} and np.mean(half == 6) == pytest.approx(0.5, abs=0.05)
    always = _send(_path(lanes=2000, cross=0.1e6, queue=0.0585), 1.0, 10).arrived
    assert set(always.tolist()) == {6}


def test_jitter_is_uniform_around_the_delay_and_does_not_reorder() -> None:
    """20 ± 10 ms; the last of many packets comes near the end of that; none overtakes another."""
    path = _path(lanes=4000, rate=1e9, jitter=0.01)
    first = _send(path, 1.0, 1).last_arrival
    assert 1.01 <= first.min() < 1.0105 and 1.0295 < first.max() <= 1.0301
    assert float(np.mean(first)) == pytest.approx(1.02, abs=0.0005)
    second = _send(path, 1.001, 1).last_arrival
    assert (second >= first).all() and (second == first).any()
    # The largest of nine uniform draws is at 9/10 on average.
    nine = _send(_path(lanes=4000, rate=1e9, jitter=0.01), 1.0, 9).last_arrival
    assert float(np.mean(nine)) == pytest.approx(1.01 + 0.9 * 0.02, abs=0.0005)


def test_random_loss_takes_its_share_of_what_passed_the_queue() -> None:
    """10 % of four million packets, give or take."""
    path = _path(lanes=2000, rate=1e9, loss=0.1, queue=10.0)
    lost = _send(path, 1.0, 2000).lost
    assert float(lost.sum()) / 4e6 == pytest.approx(0.1, abs=0.001)
    both = _path(lanes=2000, loss=0.1)
    sent = _send(both, 1.0, 10)
    assert (sent.lost + sent.arrived == 10).all()
    assert float(sent.arrived.mean()) == pytest.approx(5.4, abs=0.1)


def test_losses_come_in_bursts_of_the_stated_mean_length() -> None:
    """5 % lost, four in a row on average (Gilbert's chain)."""
    path = _path(lanes=400, rate=1e9, loss=0.05, burst=4.0)
    lost = np.array([_send(path, 1.0 + n / 100, 1).lost for n in range(1500)])[200:] > 0
    assert lost.mean() == pytest.approx(0.05, abs=0.005)
    starts = (lost[1:] & ~lost[:-1]).sum()
    assert lost[1:].sum() / starts == pytest.approx(4.0, abs=0.25)
    # Packets sent together follow the same chain.
    together = _path(lanes=400, rate=1e9, loss=0.05, burst=4.0, queue=1.0)
    shares = [_send(together, 1.0 + n / 100, 10).lost.mean() / 10 for n in range(200)]
    assert float(np.mean(shares[20:])) == pytest.approx(0.05, abs=0.01)


def test_an_interruption_cuts_both_directions_of_a_call_for_its_time() -> None:
    """0.5 s of every 2 s, at a time of its own for each pair of lanes."""
    path = _path(lanes=40, gone=0.5, every=2.0)
    cut = np.array([path.cut(np.full(40, n / 100)) for n in range(2000)])
    assert cut.mean() == pytest.approx(0.25, abs=0.002)
    assert (cut[:, 0::2] == cut[:, 1::2]).all() and (cut[:, 0] != cut[:, 2]).any()
    begins = np.flatnonzero(~cut[:-1, 0] & cut[1:, 0])
    assert set(np.diff(begins).tolist()) <= {199, 200, 201} and len(begins) >= 9
    arrived = _send(path, 5.0, 2).arrived
    assert arrived.tolist() == np.where(path.cut(np.full(40, 5.0)), 0, 2).tolist()
    assert not _path().cut(np.full(2, 5.0)).any()


def test_interruptions_may_come_more_than_once_a_second() -> None:
    """0.2 s of every 0.8 s."""
    path = _path(lanes=40, gone=0.2, every=0.8)
    cut = np.array([path.cut(np.full(40, n / 100)) for n in range(800)])
    assert cut.mean() == pytest.approx(0.25, abs=0.01)


def test_a_queue_is_overloaded_if_no_packet_of_others_fits() -> None:
    """8 ms for 1000 bytes at 1 Mbit/s: 42 ms of a queue of 50 leave room for one, 43 do not."""
    for waits, others, own, expected in (
        (0.0419, 0.8e6, 0.5, False), (0.0431, 0.8e6, 0.5, True),
        (0.0431, 0.8e6, 0.1, False),  # together no more than the rate
        (0.0431, 1.2e6, 0.0, True),
    ):  # fmt: skip
        path = _path(others=others, cross=others)
        path._last[:] = 1.0
        path._own_rate[:] = own * 1e6
        path._own[:] = 0.0
        path.backlog[:] = waits
        path.advance(np.full(2, 1.0))
        assert bool(path._overloaded.all()) is expected, (waits, others, own)


def test_a_queue_without_others_has_a_bound_where_another_line_has_others() -> None:
    """Two packets of 10 ms every 10 ms: the first line holds five and the one in service."""
    columns = {name: np.full(2, value) for name, value in STILL.items()}
    columns["others"], columns["cross"] = np.array([0.0, 0.5e6]), np.array([0.0, 0.5e6])
    path = Path(columns, np.random.default_rng(1))
    lost = 0
    for step in range(200):
        lost += int(_send(path, step * 0.01, 2).lost[0])
        assert path.backlog[0] <= 0.06 + 1e-9, step
    assert lost == pytest.approx(200 - 6, abs=2)


def test_an_overloaded_queue_is_served_while_paced_packets_enter() -> None:
    """Ten packets within 100 ms, of which others leave 1 / 1.5 of the line: the queue grows by what
    is beyond that."""
    path = _path(others=0.5e6, cross=0.5e6)
    path._last[:] = 1.0
    path._own_rate[:], path.backlog[:] = 1e6, 0.05
    sent = _send(path, 1.0, 10, span=0.1)
    entered = 10 - int(sent.lost[0])
    assert path._overloaded.all() and 4 <= entered <= 9
    served = 0.1 * (1 - 0.5 / 1.5)
    assert path.backlog[0] == pytest.approx(0.05 + entered * (0.01 - served / 10))


def test_a_policer_is_overloaded_if_its_tokens_do_not_pass_a_packet_of_others() -> None:
    """8 ms of tokens are needed, what comes until then included: others take their own share of
    that, at 1.5 times the rate more than comes."""
    for tokens, passed, others, own, expected in (
        (0.0079, 0.0, 1.5e6, 0.0, True), (0.0081, 0.0, 1.5e6, 0.0, False),
        (0.0081, 0.01, 1.5e6, 0.0, True),  # 5 ms less after 10 ms
        (0.0129, 0.01, 1.5e6, 0.0, True), (0.0131, 0.01, 1.5e6, 0.0, False),
        (0.0031, 0.01, 0.5e6, 0.9, False), (0.0029, 0.01, 0.5e6, 0.9, True),
    ):  # fmt: skip
        path = _path(others=others, cross=others, bucket=0.05)
        path._last[:] = 1.0
        path._own_rate[:] = own * 1e6
        path._own[:] = own * 1e6 * passed
        path._tokens[:] = tokens
        path.advance(np.full(2, 1.0 + passed))
        assert bool(path._overloaded.all()) is expected, (tokens, passed, others, own)


def test_an_overloaded_line_passes_others_in_proportion() -> None:
    """At 0.8 and 0.5 of the rate a full queue takes 1 of 1.3; a policer leaves what the call does
    not take, so that others get at most the rest."""
    path = _path(others=0.8e6, cross=0.8e6)
    path._last[:], path._own_rate[:], path.backlog[:] = 1.0, 0.5e6, 0.05
    assert path._load(np.full(2, 1.0), np.zeros(2)) == pytest.approx([0.8 / 1.3] * 2)
    assert path._shared == pytest.approx([1 / 1.3] * 2)
    policed = _path(others=0.8e6, cross=0.8e6, bucket=0.05)
    policed._last[:], policed._own_rate[:], policed._tokens[:] = 1.0, 0.5e6, 0.0
    assert policed._load(np.full(2, 1.0), np.zeros(2)) == pytest.approx([0.5] * 2)
    free = _path(others=0.8e6, cross=0.8e6)
    free._last[:], free._own_rate[:] = 1.0, 0.5e6
    assert free._load(np.full(2, 1.0), np.zeros(2)) == pytest.approx([0.8] * 2)
    assert not free._overloaded.any()


def test_the_calls_own_load_is_averaged_over_half_a_second() -> None:
    """From nothing to 0.6 Mbit/s: 1 - exp(-0.1 / 0.5) of it after 0.1 s."""
    path = _path(others=0.1e6, cross=0.1e6)
    path._last[:] = 1.0
    path._own[:] = 0.06e6
    path.advance(np.full(2, 1.1))
    assert path._own_rate == pytest.approx([0.6e6 * (1 - np.exp(-0.2))] * 2)
    assert path._own.tolist() == [0.0, 0.0]
    path.advance(np.full(2, 1.6))
    assert path._own_rate == pytest.approx([0.6e6 * (1 - np.exp(-0.2)) * np.exp(-1.0)] * 2)


def test_small_packets_pass_an_overloaded_policer_more_often() -> None:
    """Others of 1000 bytes. With any share of a packet's tokens left, and 1/1.5 more until the next
    of them, a packet of a quarter of the size fails in size^2 / (2 filled) of the cases, one of the
    same size in size - filled / 2; never more often than in proportion."""
    path = _path(lanes=4000, others=1.5e6, cross=1.5e6, bucket=0.05)
    path._overloaded[:], path._others_load[:], path._shared[:] = True, 1.5, 0.4
    filled, count = 1 / 1.5, np.full(4000, 1, np.int64)
    for size, passes in ((0.25, 1 - 0.25**2 / (2 * filled)), (1.0, 1 - (1.0 - filled / 2))):
        got = path._accepted_with_others(count, np.full(4000, size * 0.008), count * 9)
        assert got.mean() == pytest.approx(max(0.4, passes), abs=0.03)
        assert set(got.tolist()) <= {0, 1}
    path._shared[:] = 0.9
    got = path._accepted_with_others(count, np.full(4000, 0.008), count * 9)
    assert got.mean() == pytest.approx(0.9, abs=0.03)
    path._overloaded[:] = False
    assert set(path._accepted_with_others(count, np.full(4000, 0.008), count * 9).tolist()) == {9}
