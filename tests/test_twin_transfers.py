"""Other TCP transfers on the twin's path: slow start, CUBIC (RFC 9438), HyStart++ (RFC 9406)."""

from __future__ import annotations

import numpy as np
import pytest

from jharnet_monitor.judge.twin.path import _Transfers

RATE, DELAY, SEGMENT = 10e6, 0.02, 12_000.0
ONE = np.ones(1)


def _transfers(on: float = 1e6, off: float = 0.0, lanes: int = 1) -> _Transfers:
    columns = {"transfer_on": on, "transfer_off": off, "delay": DELAY}
    filled = {name: np.full(lanes, value) for name, value in columns.items()}
    return _Transfers(filled, np.random.default_rng(1))


def _load(transfers: _Transfers, now: float, passed: float, backlog: float = 0.0) -> float:
    share = transfers.load(now * ONE, passed * ONE, backlog * ONE, RATE * ONE)
    return float(share[0])


def _meet(transfers: _Transfers, now: float, backlog: float, loss: float = 0.0) -> None:
    overflow = np.full(1, loss == 0)
    transfers.meet(overflow, now * ONE, loss * ONE, RATE * ONE, backlog * ONE)


def test_slow_start_begins_with_ten_segments_and_doubles_every_round_trip() -> None:
    """10 segments (RFC 6928) in a round trip of 41 ms."""
    transfers, trip = _transfers(), 2 * DELAY + 0.001
    assert _load(transfers, 1.0, 0.0) * RATE == pytest.approx(10 * SEGMENT / trip)
    assert _load(transfers, 1.0 + trip, trip) * RATE == pytest.approx(20 * SEGMENT / trip)
    assert _load(transfers, 1.0 + 3 * trip, 2 * trip) * RATE == pytest.approx(80 * SEGMENT / trip)
    assert transfers.burst(RATE * ONE)[0] == pytest.approx(4 * SEGMENT / RATE)


@pytest.mark.parametrize(("segments", "backlog", "ends"), [
    (20, 0.031, True), (20, 0.029, False), (15, 0.05, False),
])  # fmt: skip
def test_slow_start_ends_at_30_ms_of_queue_from_16_segments_on(
    segments: int, backlog: float, ends: bool
) -> None:
    """Afterwards the window falls to 0.7 of what it was; before, it goes on doubling."""
    transfers, trip = _transfers(), 2 * DELAY + 0.001
    _load(transfers, 1.0, 0.0)
    loaded = trip + backlog
    grown = _load(transfers, 1.1, loaded * np.log2(segments / 10), backlog)
    expected = (0.7 if ends else 1.0) * segments * SEGMENT / loaded
    assert grown * RATE == pytest.approx(expected)


def test_after_a_loss_the_window_follows_cubic() -> None:
    """W(t) = 0.4 (t - K)³ + W_max with K = ∛(0.3 W_max / 0.4), or Reno's estimate if larger."""
    transfers, trip, backlog = _transfers(), 2 * DELAY + 0.001, 0.3
    _load(transfers, 1.0, 0.0)
    _load(transfers, 1.1, (trip + backlog) * np.log2(50), backlog)  # 500 segments in slow start
    _meet(transfers, 2.0, backlog)
    most = RATE * (2 * DELAY + backlog) / SEGMENT  # what the line held
    turn = (most * 0.3 / 0.4) ** (1 / 3)
    for since in (0.0, 1.0, turn, turn + 3, 20.0):
        cubic = 0.4 * (since - turn) ** 3 + most
        reno = 0.7 * most + 0.53 * since / (trip + backlog)
        window = min(max(cubic, reno) * SEGMENT, 3e6 * 8)
        found = _load(transfers, 2.0 + since, 0.01, backlog)
        assert found * RATE == pytest.approx(window / (trip + backlog)), since
    assert pytest.approx(3 * (1 - 0.7) / (1 + 0.7), abs=0.001) == 0.53  # RFC 9438, 4.3
    _meet(transfers, 2.0 + 20.0, 0.0)
    again = _load(transfers, 22.0, 0.01) * RATE
    assert again == pytest.approx(0.7 * RATE * 2 * DELAY / trip)


def test_a_transfer_reacts_once_a_round_trip() -> None:
    """A second overflow 80 ms after the first, at a round trip of 40 ms, belongs to the first."""
    for later, reacts in ((0.08, False), (0.1, True)):
        transfers = _transfers()
        _load(transfers, 1.0, 0.0)
        _meet(transfers, 2.0, 0.2)
        before = _load(transfers, 2.0 + later, 0.01)
        _meet(transfers, 2.0 + later, 0.1)
        assert (_load(transfers, 2.0 + later, 0.01) < 0.9 * before) is reacts


def test_random_loss_hits_by_the_segments_that_were_sent() -> None:
    """Ten segments at 5 % loss: 1 - e^-0.5 of the transfers shrink."""
    lanes, trip = 4000, 2 * DELAY + 0.001
    transfers, each = _transfers(lanes=lanes), np.ones(4000)
    transfers.load(1.0 * each, 0.0 * each, 0.0 * each, RATE * each)
    transfers.load(1.0 * each, 0.0 * each, 0.0 * each, RATE * each)
    at_first = transfers.load(2.0 * each, 1e-9 * each, 0.0 * each, RATE * each)
    transfers.load(2.0 * each, trip * each, 0.0 * each, RATE * each)  # 20 segments by its end
    transfers.meet(np.zeros(lanes, bool), 2.0 * each, 0.05 * each, RATE * each, 0.0 * each)
    after = transfers.load(2.0 * each, 0.0 * each, 0.0 * each, RATE * each)
    assert np.mean(after < 1.9 * at_first) == pytest.approx(1 - np.exp(-0.05 * 20), abs=0.03)


def test_a_transfer_pauses_and_starts_again() -> None:
    """10 s on, 30 s off: it runs a quarter of the time, from ten segments on each time."""
    transfers, trip = _transfers(10.0, 30.0), 2 * DELAY + 0.001
    loads = np.array([_load(transfers, n / 10, 0.0) for n in range(1600)])
    assert np.mean(loads > 0) == pytest.approx(0.25, abs=0.002)
    assert loads.max() * RATE == pytest.approx(10 * SEGMENT / trip)
    begins = int(np.flatnonzero((loads[1:] > 0) & (loads[:-1] == 0))[0]) + 1
    _load(transfers, 200.0 + begins / 10, 5 * trip)
    off = _transfers(0.0)
    assert _load(off, 1.0, 1.0) == 0.0 and off.burst(RATE * ONE)[0] == 0.0
