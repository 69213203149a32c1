"""What the arrivals of a call show of others' transfers and of policers, on known lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from jharnet_monitor.judge.twin.arrivals import observe
from jharnet_monitor.judge.twin.observed_transfers import (
    ObservedTransfers,
    transfers_by_loss,
    transfers_by_queue,
)
from jharnet_monitor.judge.twin.policer import fitted_policer
from jharnet_monitor.judge.twin.trace import Column, PacketColumns, Trace
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LinkDirection

NOTHING = np.zeros(0)
EMPTY = PacketColumns(NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING)
CLOCKS, DELAY, SIZE = 100.0, 0.02, 1000.0
OWN = 0.4e6
"""bit/s of 50 packets a second."""


def even(seconds: float = 30.0, gap: float = 0.02) -> Column:
    """Packets at even distances."""
    return np.arange(0, seconds, gap)


def trace(sent: Column, takes: Any) -> Trace:
    """A stream whose packets take some seconds each; NaN for a lost one."""
    at = sent + CLOCKS + np.broadcast_to(np.asarray(takes, float), sent.shape)
    size = np.full(len(sent), SIZE)
    return Trace(PacketColumns(sent, at, size, sent, NOTHING, NOTHING), EMPTY)


def by_queue(
    queue: Callable[[Column], Any], sent: Column | None = None, rate: float | None = None
) -> ObservedTransfers | None:
    """What the queue that meets these packets shows."""
    times = even() if sent is None else sent
    found = trace(times, DELAY + queue(times))
    return transfers_by_queue(
        found, found.standing > 0.015, np.zeros(len(found.standing), bool), rate
    )


def during(*spans: tuple[float, float], depth: float = 0.1) -> Callable[[Column], Column]:
    """A queue of that depth in the spans."""

    def queue(at: Column) -> Column:
        found: Column = np.zeros(len(at))
        for begin, end in spans:
            found[(at >= begin) & (at < end)] += depth
        return found

    return queue


def test_transfers_have_a_length_and_a_pause() -> None:
    """4 s and 5 s of them with 6 s between; times at the ends of the call are not whole."""
    found = by_queue(during((4, 8), (14, 19)))
    assert found is not None
    assert found.on == pytest.approx(4.5, abs=0.15)
    assert found.off == pytest.approx(6 + 11, abs=0.5)  # the last was not seen to end
    assert found.during.sum() == pytest.approx(90, abs=3)
    found = by_queue(during((0, 4), (8, 12), (16, 20), (24, 30)))
    assert found is not None
    assert found.off == pytest.approx(4.0, abs=0.15)
    assert found.on == pytest.approx((4 + 4 + 6) / 2, abs=0.3)  # the last was not seen to end
    # Gaps of half a second, in which the sender of a transfer lets the queue drain, belong to it.
    found = by_queue(during((4, 8), (8.5, 12)))
    assert found is not None and found.on == pytest.approx(8.0, abs=0.15)


@pytest.mark.parametrize(
    ("spans", "seen"),
    [(((4, 6.5),), False), (((4, 7.1),), True), (((4, 6.5), (12, 14.5)), True), ((), False)],
)
def test_a_single_short_queue_is_no_transfer(spans: Any, seen: bool) -> None:
    """It must last for 2.8 s, or several for 2.4 s each."""
    assert (by_queue(during(*spans)) is not None) is seen


def test_without_times_of_an_empty_line_nothing_is_known() -> None:
    """A queue that always stands may be steady traffic."""
    assert by_queue(during((0, 28.5))) is None


def test_what_the_call_sends_itself_is_no_transfer() -> None:
    """It sends twice as much for 5 s, and its queue takes 3 s to drain; then one grows again."""
    sent = np.concatenate([even(5), 5 + even(5, 0.01), 10 + even(20)])
    drains = during((5, 10))

    def queue(at: Column) -> Column:
        return drains(at) + np.where(at >= 10, np.clip(0.1 * (13 - at) / 3, 0, 0.1), 0.0)

    assert by_queue(queue, sent) is None
    found = by_queue(lambda at: queue(at) + during((12, 16), depth=0.2)(at), sent)
    assert found is not None and found.during[50:112].sum() == 0


def test_a_line_that_the_call_fills_is_not_filled_by_others() -> None:
    """Its own 0.4 Mbit/s are more than 85 % of the line's rate, or less."""
    queue = during((4, 8), (14, 19))
    assert by_queue(queue, rate=1.1 * OWN) is None
    assert by_queue(queue, rate=1.3 * OWN) is not None


def test_a_queue_that_grows_slowly_is_no_transfer() -> None:
    """Steady traffic that just reaches the rate lets it grow; a transfer fills it at once."""
    assert by_queue(lambda at: np.clip((at - 4) / 60, 0, 0.1) * (at < 12)) is None


def test_a_policer_shows_transfers_by_its_losses() -> None:
    """A transfer empties its bucket for a second; a burst of losses is shorter."""
    rng = np.random.default_rng(1)
    takes = np.full(1500, DELAY)
    for begin in (300, 900):
        takes[begin : begin + 50] = np.where(rng.random(50) < 0.4, np.nan, DELAY)
    none = np.zeros(300, bool)
    found = trace(even(), takes)
    seen = transfers_by_loss(found, none[: len(found.standing)])
    assert seen is not None
    assert 0.5 <= seen.on <= 1.1
    takes = np.full(1500, DELAY)
    takes[300:312] = takes[900:912] = np.nan
    found = trace(even(), takes)
    assert transfers_by_loss(found, none[: len(found.standing)]) is None


@pytest.mark.parametrize("bucket", [0.2, 0.4, 1.0])
@pytest.mark.parametrize("rate", [0.3, 0.7])
def test_a_policers_rate_and_bucket_are_found(rate: float, bucket: float) -> None:
    """The call begins at once with 1.6 Mbit/s for two seconds, and sends 0.2 afterwards."""
    settings = {"bucket": {"rate": f"{rate} Mbit/s", "size": f"{bucket * 1000:.0f}ms"}}
    pipe = Pipe("p", LinkDirection.model_validate(settings | {"delay": "20ms"}), 1)
    sent = np.concatenate([even(2.5, 0.005), 2.5 + even(27, 0.04)])
    due = np.array([pipe.admit(CLOCKS + float(at), int(SIZE)) for at in sent])
    found = fitted_policer(trace(sent, np.where(due < 0, np.nan, due - CLOCKS - sent)))
    assert found is not None
    assert found.rate == pytest.approx(rate * 1e6, rel=0.07)
    assert found.bucket == pytest.approx(bucket, rel=0.35)
    assert found.lost == 0


def test_loss_that_no_policer_explains_has_none() -> None:
    """At random, as often at a low rate as at a high one; or hardly any."""
    rng = np.random.default_rng(1)
    sent = np.concatenate([even(2.5, 0.005), 2.5 + even(27, 0.04)])
    takes = np.where(rng.random(len(sent)) < 0.3, np.nan, DELAY)
    assert fitted_policer(trace(sent, takes)) is None
    assert fitted_policer(trace(sent, np.full(len(sent), DELAY))) is None


def test_reports_of_the_sender_count_for_the_rate() -> None:
    """A line of 0.5 Mbit/s that is filled carries 0.1 Mbit/s of them."""
    pipe = Pipe("p", LinkDirection.model_validate({"rate": "0.5 Mbit/s", "queue": "300ms"}), 1)
    sent = np.concatenate([even(5, 0.01), 5 + even(20, 0.04)])
    of_reports = np.random.default_rng(1).uniform(0, 5, 80)
    due = {at: pipe.admit(CLOCKS + at, int(SIZE)) for at in sorted([*sent, *of_reports])}
    reports = [due[at] for at in of_reports]
    arrived = np.array([due[at] if due[at] >= 0 else np.nan for at in sent])
    stream = PacketColumns(sent, arrived, np.full(len(sent), SIZE), sent, NOTHING, NOTHING)
    known = np.array([at for at in reports if at >= 0])
    assert len(known) > 20
    with_reports = observe(stream, EMPTY, (known, np.full(len(known), SIZE)))
    assert with_reports is not None and with_reports.rate == pytest.approx(0.5e6, rel=0.02)
    without = observe(stream, EMPTY)
    assert without is not None and without.rate is not None and without.rate < 0.48e6
