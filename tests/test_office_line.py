"""The line of an office: a call's, completed by other probes' measurements, each with its age."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import log
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.measured_rates import LATENCY, ROUTER, SPEED_TEST, TRAINS
from jharnet_monitor.judge.twin.office_line import CallLine, OfficeLine, derived, office_line
from jharnet_monitor.model import LONG_TESTS, Cause, Direction, Measurement, Outcome
from jharnet_monitor.probes.base import Failed, NoData, ProbeContext, Reading
from jharnet_monitor.probes.conference import run
from jharnet_monitor.probes.conference.relay import CallWay
from tests.call_support import LoopbackAgent
from tests.support import make_config

AT = datetime(2026, 11, 27, 6, 0, tzinfo=UTC)
DOWN, UP = Direction.DOWN, Direction.UP
CLEAR = DirectionModel(rate=4e6, queue=0.2, delay=0.03, queue_doubt=1.0)
"""A direction whose bottleneck the call did not meet."""
GUESSED = replace(CLEAR, rate=3e6, rate_doubt=0.03)
"""One whose rate packet pairs show, without a full line."""
FULL = replace(CLEAR, rate=1e6, rate_doubt=0.03, queue=0.3, queue_doubt=0.25)
CARRIED = 1.7e6
HOUR = 3600.0


def call(way: DirectionModel = CLEAR, *, met: bool = False, carried: float = CARRIED) -> CallLine:
    """A call with two equal directions."""
    both = frozenset({DOWN, UP}) if met else frozenset[Direction]()
    return CallLine(LineModel(way, way), both, {DOWN: carried, UP: carried})


def measurement(
    probe: str, age: float = 60.0, conditions: Mapping[str, Any] | None = None, **values: float
) -> Measurement:
    """A run that began `age` seconds before the call."""
    return Measurement(
        "potka", probe, AT - timedelta(seconds=age), 5.0, Outcome.OK, id=f"{probe}-{age:g}",
        conditions=conditions or {}, values=values,
    )  # fmt: skip


def speed_test_of(
    rate: float, error: float | None = 0.02, age: float = 60.0, limit: str | None = None,
    **values: float,
) -> Measurement:  # fmt: skip
    """A speed test of both directions, with its 95 % interval; without `error` a lower bound."""
    conditions: dict[str, Any] = {}
    for way in ("download", "upload"):
        name = f"{way}_bits_per_second"
        values |= {name: rate, f"{name}_low": rate * (1 - (error or 0.02))}
        if error is not None:
            values[f"{name}_high"] = rate * (1 + error)
        else:
            conditions[f"{way}_at_least"] = True
        if limit is not None:
            conditions[f"{way}_limited_by"] = limit
    return measurement("bandwidth", age, conditions, **values)


def bucket_of(rate: float, size: float, limit: str = "policer", age: float = HOUR) -> Measurement:
    """A long speed test that spent a token bucket of `size` bytes."""
    conditions: dict[str, Any] = {}
    values: dict[str, float] = {}
    for way in ("download", "upload"):
        name = f"{way}_sustained_bits_per_second"
        values |= {name: rate, f"{name}_low": 0.99 * rate, f"{name}_high": 1.01 * rate}
        conditions |= {f"{way}_limited_by": limit, f"{way}_bucket_bytes": size}
    return measurement("bandwidth", age, conditions, **values)


def long_tests(test: Measurement) -> dict[str, Measurement]:
    """It is the newest long test in both directions."""
    return dict.fromkeys(LONG_TESTS.values(), test)


def trains_of(rate: float, age: float = 60.0, *, at_least: bool = False) -> Measurement:
    """Packet trains of both directions."""
    conditions: dict[str, Any] = {"path": "trains"}
    for way in ("download", "upload"):
        mark = "capacity_at_least" if at_least else "capacity_uncertainty"
        conditions[f"{way}_{mark}"] = True if at_least else 0.03
    return measurement(
        "bandwidth", age, conditions,
        download_capacity_bits_per_second=rate, upload_capacity_bits_per_second=rate,
    )  # fmt: skip


def given(line: OfficeLine) -> dict[str, tuple[str, ...]]:
    """What each measurement gave."""
    return {source.series: source.gave for source in line.sources if source.gave}


def test_a_call_alone_is_its_own_line() -> None:
    """Nothing is added, so that the accuracy that was measured with calls alone holds for it."""
    close = replace(GUESSED, rate=1.8e6, rate_doubt=0.3)
    for way in (CLEAR, GUESSED, FULL, close):
        found = office_line(call(way), {}, AT)
        assert found.line == LineModel(way, way)
        assert not found.is_completed and found.sources == ()


def test_a_rate_that_the_call_did_not_meet_is_the_speed_tests() -> None:
    """Both directions get it with its interval; a rate above what any client sends matters when
    several share the line."""
    found = office_line(call(), {SPEED_TEST: speed_test_of(9e6)}, AT)
    assert (found.line.down.rate, found.line.up.rate) == (9e6, 9e6)
    assert found.line.down.rate_doubt == 0.03
    assert given(found) == {SPEED_TEST: ("down.rate", "up.rate")}
    assert found.line.changed(clients=3).down.rate == 3e6


@pytest.mark.parametrize("limit", [None, "shared"])
def test_a_lower_bound_raises_a_rate_and_never_lowers_one(limit: str | None) -> None:
    """A stream that reached its pace, or shared the line, says what the line carries at least."""
    error = 0.02 if limit else None
    found = office_line(call(), {SPEED_TEST: speed_test_of(9e6, error, limit=limit)}, AT)
    assert found.line.down.rate == pytest.approx(0.98 * 9e6)
    assert found.line.down.rate_doubt == 0.0
    for way in (CLEAR, GUESSED):
        low = office_line(call(way), {SPEED_TEST: speed_test_of(2e6, error, limit=limit)}, AT)
        assert low.line.down == way


def test_the_older_a_measurement_the_more_uncertain() -> None:
    """A tenth after a day, with the root of time; after a week nothing is left."""
    doubts = [
        office_line(call(), {SPEED_TEST: speed_test_of(3e6, 0.02, age)}, AT).line.down.rate_doubt
        for age in (24 * HOUR, 96 * HOUR)
    ]
    assert doubts == [pytest.approx(0.1, abs=0.002), pytest.approx(0.2, abs=0.002)]
    week = {SPEED_TEST: speed_test_of(3e6, 0.02, 7 * 24 * HOUR + 1)}
    assert office_line(call(), week, AT).line.down == CLEAR
    assert office_line(call(), {SPEED_TEST: speed_test_of(3e6, age=-1.0)}, AT).line.down == CLEAR
    loaded = speed_test_of(3e6)
    loaded = replace(loaded, conditions={"under_load": True})
    assert office_line(call(), {SPEED_TEST: loaded}, AT).line.down == CLEAR


def test_what_agrees_is_weighted_by_its_certainty() -> None:
    """A full line of 1 Mbit/s ± 3 % and a test of 1.04 ± 2 % a minute before."""
    full = call(FULL, met=True, carried=0.9e6)
    found = office_line(full, {SPEED_TEST: speed_test_of(1.04e6)}, AT)
    assert 1.02e6 < found.line.down.rate < 1.04e6
    old = office_line(full, {SPEED_TEST: speed_test_of(1.04e6, age=48 * HOUR)}, AT)
    assert 1e6 < old.line.down.rate < 1.01e6
    assert found.line.down.rate_doubt == 0.03
    assert old.line.down.rate_doubt == 0.03


def test_what_the_call_met_stays_where_a_measurement_contradicts_it() -> None:
    """The line was another one while the call lasted."""
    found = office_line(call(FULL, met=True, carried=0.9e6), {SPEED_TEST: speed_test_of(2e6)}, AT)
    assert found.line.down == FULL and not found.is_completed


def test_a_guessed_rate_gives_way_to_a_measured_one_with_doubt() -> None:
    """Half of the difference is left as uncertainty."""
    found = office_line(
        call(GUESSED, carried=0.9e6), {SPEED_TEST: speed_test_of(2e6)}, AT
    ).line.down
    assert found.rate == 2e6
    assert found.rate_doubt == pytest.approx(log(1.5) / 2, rel=0.01)


def test_a_rate_below_what_the_call_carried_is_not_the_lines() -> None:
    """Others used the line during the test, or it was slower then."""
    found = office_line(call(), {SPEED_TEST: speed_test_of(1.2e6)}, AT)
    assert found.line.down == CLEAR
    trains = {SPEED_TEST: speed_test_of(1.2e6), TRAINS: trains_of(2.3e6)}
    assert given(office_line(call(), trains, AT)) == {TRAINS: ("down.rate", "up.rate")}


def test_trains_speak_where_no_speed_test_bounds_the_rate() -> None:
    """They show the whole line; a speed test what a stream gets."""
    both = {SPEED_TEST: speed_test_of(3e6), TRAINS: trains_of(5.5e6)}
    assert office_line(call(), both, AT).line.down.rate == 3e6
    bound = {SPEED_TEST: speed_test_of(3e6, None), TRAINS: trains_of(5.5e6)}
    assert office_line(call(), bound, AT).line.down.rate == 5.5e6
    least = {TRAINS: trains_of(6e6, at_least=True)}
    assert office_line(call(), least, AT).line.down.rate == 6e6


def test_a_policers_bucket_that_outlasts_the_call() -> None:
    """Its rate holds once the bucket is spent, whatever a short test and trains say."""
    recent = {
        SPEED_TEST: speed_test_of(8e6, limit="policer"),
        TRAINS: trains_of(50e6),
        **long_tests(bucket_of(2e6, 1_000_000)),
    }
    found = office_line(call(), recent, AT)
    assert (found.line.down.rate, found.line.down.bucket) == (2e6, 4.0)
    assert given(found) == {LONG_TESTS[way]: (f"{way}.rate", f"{way}.bucket") for way in Direction}
    shaped = long_tests(bucket_of(2e6, 1_000_000, "shaper"))
    found = office_line(call(), shaped, AT)
    assert (found.line.down.rate, found.line.down.bucket) == (2e6, 0.0)
    # The call may have come through with more than that while the bucket lasted: 2 Mbit/s are
    # 0.3 more than the rate, for 27 s; and 2 Mbit/s more for 2 s only.
    for carried, rate in ((2e6, 1.7e6), (3.7e6, 4e6)):
        bucket = long_tests(bucket_of(1.7e6, 500_000 if carried > 3e6 else 1_000_000))
        found = office_line(call(carried=carried), bucket, AT)
        assert found.line.down.rate == rate
    # A newer short test without a mark does not make the bucket forgotten.
    recent[SPEED_TEST] = speed_test_of(8e6)
    assert office_line(call(), recent, AT).line.down.rate == 2e6


def test_a_policer_whose_bucket_no_long_test_saw() -> None:
    """It is small, so that the short test's rate is the line's; trains still pass it."""
    policed = {SPEED_TEST: speed_test_of(2e6, limit="policer"), TRAINS: trains_of(50e6)}
    found = office_line(call(), policed, AT).line.down
    assert (found.rate, found.bucket) == (2e6, 0.05)
    # A long test found the policer, too, and no bend.
    long_test = bucket_of(1.9e6, 0)
    conditions = {"download_limited_by": "policer"}
    found = office_line(
        call(), policed | long_tests(replace(long_test, conditions=conditions)), AT
    ).line.down
    assert (found.rate, found.bucket) == (1.9e6, 0.05)


def test_a_policer_that_the_call_took_for_loss_is_not_counted_twice() -> None:
    """Where the call came close to the policer's rate: what echo requests lost is the line's."""
    lossy = replace(CLEAR, loss=0.05, burst=1.2, loss_doubt=0.1)
    recent = long_tests(bucket_of(2e6, 100_000))
    found = office_line(call(lossy), recent, AT)
    assert (found.line.down.loss, found.line.down.burst, found.line.down.loss_doubt) == (0, 1, 0)
    assert "down.loss" in given(found)[LONG_TESTS[DOWN]]
    for ratio, loss in ((0.0, 0.0), (0.02, 0.02), (0.2, 0.05)):
        pings = {LATENCY: measurement("latency", loss_ratio=ratio)}
        again = office_line(call(lossy), recent | pings, AT)
        assert again.line.down.loss == loss
        assert ("down.loss" in given(again)[LONG_TESTS[DOWN]]) is (loss < 0.05)
    slow = office_line(call(lossy, carried=1.5e6), recent, AT).line.down
    assert slow.loss == 0.05 and slow.bucket
    assert office_line(call(lossy), {SPEED_TEST: speed_test_of(2e6)}, AT).line.down.loss == 0.05


def test_a_long_test_that_says_nothing_hides_no_short_one() -> None:
    """One without an upper end, or without a mark."""
    policed = {SPEED_TEST: speed_test_of(2e6, limit="policer")}
    for long_test in (speed_test_of(2e6), measurement("bandwidth", HOUR)):
        found = office_line(call(), policed | long_tests(long_test), AT).line.down
        assert (found.rate, found.bucket) == (2e6, 0.05)


def test_newer_trains_cast_doubt_on_a_slower_speed_test() -> None:
    """Others may have disturbed it; half of the difference becomes its uncertainty."""
    old = {SPEED_TEST: speed_test_of(2.5e6, age=2 * HOUR), TRAINS: trains_of(4e6)}
    found = office_line(call(carried=1e6), old, AT).line.down
    assert found.rate == pytest.approx(2.5e6, rel=0.01)
    assert found.rate_doubt == pytest.approx(log(4 / 2.5) / 2, abs=0.01)
    for test, trains in ((HOUR / 2, 4e6), (2 * HOUR, 2.6e6)):
        recent = {SPEED_TEST: speed_test_of(2.5e6, age=test), TRAINS: trains_of(trains)}
        assert office_line(call(carried=1e6), recent, AT).line.down.rate_doubt < 0.04


def test_trains_that_are_much_faster_than_a_speed_test_may_have_passed_a_bucket() -> None:
    """Up to twice its rate they are trusted; else its lower bound is all that is known."""
    for rate, known in ((11e6, 11e6), (13e6, 0.98 * 6e6)):
        recent = {SPEED_TEST: speed_test_of(6e6, None), TRAINS: trains_of(rate)}
        assert office_line(call(), recent, AT).line.down.rate == pytest.approx(known)


def test_a_queue_is_at_least_as_deep_as_a_speed_test_filled_it() -> None:
    """Only where the call did not see packets dropped."""
    test = speed_test_of(3e6, idle_rtt_seconds=0.05, download_loaded_rtt_seconds=0.95)
    found = office_line(call(), {SPEED_TEST: test}, AT)
    assert found.line.down.queue == pytest.approx(0.9)
    assert (found.line.down.queue_doubt, found.line.up.queue) == (0.5, 0.2)
    met = office_line(call(FULL, met=True, carried=0.9e6), {SPEED_TEST: test}, AT)
    assert met.line.down.queue == 0.3


def test_a_queue_that_a_long_test_overflowed_is_known() -> None:
    """Also a short one, whatever else waited in it."""
    test = bucket_of(3e6, 0)
    test = replace(test, conditions={"download_queue_seconds": 0.04})
    found = office_line(call(), {SPEED_TEST: speed_test_of(3e6)} | long_tests(test), AT)
    assert found.line.down.queue == 0.04
    assert found.line.down.queue_doubt == pytest.approx(0.25, abs=0.002)
    assert (found.line.up.queue, found.line.up.queue_doubt) == (0.2, 1.0)
    old = replace(test, started_at=AT - timedelta(days=9))
    aged = office_line(call(), long_tests(old), AT).line.down
    assert aged.queue == 0.04 and aged.queue_doubt == pytest.approx(0.39, abs=0.01)
    # The call itself saw 0.8 s of queue, and no packet dropped.
    deep = office_line(call(replace(GUESSED, queue=0.8)), long_tests(test), AT).line.down
    assert (deep.queue, deep.queue_doubt) == (0.8, 1.0)
    assert found.line.down.rate == 3e6
    assert given(found) == {
        SPEED_TEST: ("down.rate", "up.rate"), LONG_TESTS[DOWN]: ("down.queue",)
    }  # fmt: skip


def test_a_shorter_round_trip_of_echo_requests_is_the_lines() -> None:
    """Where a queue stood in the call; a longer one, or one of an hour ago, is not used. The round
    trip of a call without a queue is its own: echo requests end at the router."""
    full = call(FULL, met=True, carried=0.9e6)
    pings = measurement("latency", rtt_p50_seconds=0.04)
    line = office_line(full, {LATENCY: pings}, AT)
    assert line.line.down.delay + line.line.up.delay == pytest.approx(0.04)
    assert given(line) == {LATENCY: ("delay",)}
    for age, trip in ((60.0, 0.057), (60.0, 0.2), (HOUR, 0.04)):
        other = measurement("latency", age, rtt_p50_seconds=trip)
        assert office_line(full, {LATENCY: other}, AT).line.down.delay == 0.03
    assert office_line(call(), {LATENCY: pings}, AT).line.down.delay == 0.03


def test_others_that_left_room_are_the_routers() -> None:
    """A narrower line would not have room for both. Never more than the call left of the line."""
    router = measurement(
        "utilisation", 120.0, download_bits_per_second=0.9e6, upload_bits_per_second=9e3
    )
    recent = {SPEED_TEST: speed_test_of(4e6, age=2 * HOUR), ROUTER: router}
    found = office_line(call(), recent, AT)
    assert (found.line.down.others, found.line.up.others) == (0.9e6, 0.0)
    assert found.line.changed(rate=2e6).down.others == 0.9e6
    busy = replace(router, values={"download_bits_per_second": 3.9e6})
    found = office_line(call(), recent | {ROUTER: busy}, AT)
    assert found.line.down.others == pytest.approx(4e6 - CARRIED)
    full = office_line(call(FULL, met=True, carried=0.9e6), {ROUTER: router}, AT)
    assert full.line.down == FULL


def test_a_speed_test_with_others_shows_what_they_leave() -> None:
    """The whole line is faster as far as packet trains show. Without these, a call gets what a test
    got while they were there; an earlier test may have had the line to itself."""
    router = measurement("utilisation", download_bits_per_second=1e6)

    def down(test: Measurement, trains: float | None = None) -> DirectionModel:
        known = {SPEED_TEST: test, ROUTER: router}
        known |= {} if trains is None else {TRAINS: trains_of(trains)}
        return office_line(call(), known, AT).line.down

    same, earlier = speed_test_of(3e6), speed_test_of(3e6, age=2 * HOUR)
    for test in (same, earlier):
        assert down(test, 3.5e6).rate == pytest.approx(3.5e6)
        assert down(test, 5e6).rate == pytest.approx(4e6, rel=0.04)
        assert down(test, 2.9e6).rate == pytest.approx(3e6, rel=0.01)
        assert down(test, 5e6).others == 1e6
    assert (down(same).rate, down(same).others) == (3e6, 0.0)
    assert down(same, 20e6).rate == 3e6
    shaped = long_tests(bucket_of(2.5e6, 1_000_000, "shaper"))
    known = {ROUTER: router, TRAINS: trains_of(20e6)} | shaped
    assert office_line(call(), known, AT).line.down.rate == 2.5e6
    assert down(earlier).rate == pytest.approx(3e6, rel=0.01)
    assert down(earlier).others == 1e6


def test_what_the_call_carried_rules_out_lower_rates() -> None:
    """A rate of 2 Mbit/s ± 15 %, of which 1.7 came through: the rest of the distribution is left,
    with others' traffic beside it."""
    vague = {SPEED_TEST: speed_test_of(2e6, 0.29)}
    found = office_line(call(), vague, AT).line.down
    assert 2.05e6 < found.rate < 2.2e6
    assert 0.09 < found.rate_doubt < 0.13
    router = measurement("utilisation", download_bits_per_second=0.5e6)
    vague[SPEED_TEST] = speed_test_of(2e6, 0.29, age=1800.0)
    shared = office_line(call(), vague | {ROUTER: router}, AT).line.down
    assert shared.rate > 2.2e6 and shared.others == pytest.approx(0.3e6)
    assert office_line(call(carried=0.5e6), vague, AT).line.down.rate == 2e6


@pytest.mark.parametrize("carried", [1.19e6, 1.3e6, 1.9e6])
def test_a_rate_is_never_left_far_below_what_came_through(carried: float) -> None:
    """However far beyond the distribution that is, and with less uncertainty than before."""
    vague = office_line(
        call(replace(CLEAR, rate=1e6, rate_doubt=0.1), carried=carried),
        {SPEED_TEST: speed_test_of(1.9e6, 0.05)}, AT,
    ).line.down  # fmt: skip
    assert vague.rate >= 0.99 * carried
    narrow = office_line(
        call(replace(CLEAR, rate=1e6, rate_doubt=0.03, queue_doubt=1.0), carried=carried),
        long_tests(replace(bucket_of(1e6, 0), conditions={"download_queue_seconds": 0.3})), AT,
    ).line.down  # fmt: skip
    assert narrow.rate >= 0.99 * carried and narrow.rate_doubt == 0.03


def test_the_line_is_derived_again_from_what_is_stored() -> None:
    """Also after it was written and read, with all that could have spoken."""
    recent = {
        SPEED_TEST: speed_test_of(7.123456789e6, age=5000.4, idle_rtt_seconds=0.0412345678,
                            download_loaded_rtt_seconds=0.7123456789),
        TRAINS: trains_of(6.5e6), **long_tests(bucket_of(1e6, 2e5)),
        LATENCY: measurement("latency", 33.3, rtt_p50_seconds=0.0412345678),
        ROUTER: measurement("utilisation", download_bits_per_second=1234567.8),
    }  # fmt: skip
    for one in (call(), call(GUESSED), call(FULL, met=True, carried=0.7e6)):
        found = office_line(one, recent, AT)
        stored = json.loads(json.dumps(found.to_json(), allow_nan=False))
        again = derived(stored)
        assert again.line == found.line and given(again) == given(found)
        assert {each["series"] for each in stored["measured"]} == set(recent)


def test_values_that_say_nothing_are_left_out() -> None:
    """An interval without an upper end, a rate of 0, a missing mark."""
    odd = {
        SPEED_TEST: measurement("bandwidth", download_bits_per_second=0.0),
        TRAINS: measurement("bandwidth", download_capacity_bits_per_second=5e6),
        **long_tests(measurement("bandwidth", conditions={"download_queue_seconds": "deep"})),
        ROUTER: measurement("utilisation", router_uptime_seconds=5.0),
        LATENCY: measurement("latency", loss_ratio=0.1),
        "service/e-office": measurement("service"),
    }
    found = office_line(call(), odd, AT)
    assert found.line == LineModel(CLEAR, CLEAR) and not found.is_completed


def _attempts(monkeypatch: pytest.MonkeyPatch, *outcomes: Failed | NoData | None) -> ProbeContext:
    """A context whose attempts at a call end so, each with 1000 bytes on the line; None is a
    call that works."""
    left = list(outcomes)

    async def hold(*given: Any) -> tuple[Reading, None]:
        given[-1].bytes = 1000
        if (outcome := left.pop(0)) is not None:
            raise outcome
        return Reading({"grade": 4.0}), None

    ways = [CallWay("turn:10.0.0.1?transport=tcp"), CallWay("turns:10.0.0.1?transport=tcp")]
    monkeypatch.setattr(run, "_hold", hold)
    monkeypatch.setattr(run, "relayed_ways", lambda _: ways)
    config = make_config()
    agent: Any = LoopbackAgent(in_browser=True)
    return ProbeContext(config, config.offices[0], ManualClock(AT), agent)


@pytest.mark.parametrize("failure", [Failed(Cause.INTERRUPTED), NoData(Cause.HOST_OVERLOADED)])
async def test_a_relayed_call_that_ends_early_is_not_a_blocked_transport(
    monkeypatch: pytest.MonkeyPatch, failure: Failed | NoData
) -> None:
    """The relay carried it until the line was interrupted, as a direct call might have been."""
    context = _attempts(monkeypatch, Failed(Cause.UDP_BLOCKED), failure)
    with pytest.raises(type(failure)) as found:
        await run.run(context)
    assert found.value.cause is failure.cause
    assert found.value.conditions == {
        "transport": "turn-tcp", "transports_blocked": "udp", "bytes_spent": 2000,
    }  # fmt: skip


@pytest.mark.parametrize("works", [False, True])
async def test_the_bytes_of_all_attempts_at_a_call_are_spent(
    monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    """An attempt that a firewall ends took of the budget, too."""
    blocked = Cause.UDP_BLOCKED, Cause.DTLS_FAILED, Cause.NO_MEDIA
    attempts: list[Failed | None] = [Failed(cause) for cause in blocked]
    context = _attempts(monkeypatch, *attempts[:2], None if works else attempts[2])
    try:
        conditions = dict((await run.run(context)).conditions)
    except Failed as error:
        assert not works and error.cause is Cause.UDP_BLOCKED
        conditions = error.conditions
    assert conditions["bytes_spent"] == 3000
    tried = "udp, turn-tcp" if works else "udp, turn-tcp, turn-tls"
    assert conditions["transports_blocked"] == tried


@pytest.mark.parametrize("relayed", [False, True])
async def test_a_relayed_calls_round_trip_is_its_own(
    monkeypatch: pytest.MonkeyPatch, relayed: bool
) -> None:
    """It went another way than echo requests do. The line's time is that of the first attempt, as
    is that of the measurement, whatever attempts came before the one that succeeded."""
    clock, lines = ManualClock(AT), list[OfficeLine]()
    trip = {LATENCY: measurement("latency", rtt_p50_seconds=0.04)}
    config = make_config()
    agent: Any = LoopbackAgent(in_browser=True)
    context = ProbeContext(config, config.offices[0], clock, agent, recent=trip)

    async def hold(*_: Any) -> tuple[Reading, CallLine]:
        await clock.advance(70.0)
        if relayed and clock.now() < AT + timedelta(seconds=100):
            raise Failed(Cause.UDP_BLOCKED)
        return Reading({"grade": 4.0}), call(FULL, met=True, carried=0.9e6)

    async def with_twin(_: ProbeContext, reading: Reading, line: OfficeLine) -> Reading:
        lines.append(line)
        return reading

    monkeypatch.setattr(run, "_hold", hold)
    monkeypatch.setattr(run, "_with_twin", with_twin)
    monkeypatch.setattr(run, "relayed_ways", lambda _: [CallWay("turn:10.0.0.1?transport=tcp")])
    await run.run(context)
    (line,) = lines
    assert line.at == AT
    assert given(line) == ({} if relayed else {LATENCY: ("delay",)})
