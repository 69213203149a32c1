"""The line of a call from what its ends observed, the changes to it, and the message of an end."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from jharnet_monitor.judge.twin.clients import BUILT_IN, REFERENCE
from jharnet_monitor.judge.twin.estimate import line_of, observed_by_counts
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.whatif import BadChange, Change, parse_change

CLEAR = ObservedLine(
    rate=None, at_least=1.8e6, available=None, spread=0.0, queue=None, longest_queue=0.01,
    policed=False, bucket=None, jitter=0.0, loss=0.0, burst=1.0, lost=0, packets=5000, gone=0.0,
    transfer_on=0.0, transfer_off=0.0, every=0.0, usual_queue=0.0,
)  # fmt: skip
FULL = replace(
    CLEAR, rate=0.5e6, at_least=0.5e6, available=0.5e6, spread=0.05, queue=0.3, longest_queue=0.3,
    usual_queue=0.1,
)  # fmt: skip


def _way(round_trip: float = 0.06, **changes: Any) -> DirectionModel:
    return line_of(replace(CLEAR, **changes), CLEAR, round_trip).down


def test_a_line_without_bottleneck_is_4_mbit_with_an_unknown_queue() -> None:
    """Half of the round trip each way; the rate is not in doubt, the queue is."""
    assert _way() == DirectionModel(rate=4e6, queue=0.2, delay=0.03, queue_doubt=1.0)
    assert line_of(CLEAR, CLEAR, 0.06) == LineModel(_way(), _way())


def test_a_full_line_has_its_rate_and_its_queue() -> None:
    """The call's own queues are not the line's round trip."""
    way = line_of(FULL, CLEAR, 0.16).down
    assert (way.rate, way.queue) == (500e3, 0.3)
    assert (way.rate_doubt, way.queue_doubt) == (0.05, 0.25)
    assert way.delay == pytest.approx(0.03)
    # At least 30 % of the round trip are the line's.
    assert line_of(FULL, FULL, 0.16).up.delay == pytest.approx(0.3 * 0.16 / 2)


@pytest.mark.parametrize(
    ("changes", "trip"),
    [
        ({"usual_queue": 0.1, "jitter": 0.02}, 0.12),
        ({"usual_queue": 0.01, "jitter": 0.02}, 0.2),
        ({"usual_queue": None, "available": None, "longest_queue": 0.1}, 0.2),
        ({"usual_queue": None, "available": 1e6, "longest_queue": 0.1}, 0.15),
    ],
)
def test_the_calls_own_queue_is_not_the_lines_round_trip(
    changes: dict[str, Any], trip: float
) -> None:
    """The median queue less the jitter; from older agents half of the longest of a full line."""
    way = line_of(replace(CLEAR, **changes), CLEAR, 0.2)
    assert way.down.delay == way.up.delay == pytest.approx(trip / 2)


def test_the_spread_bounds_the_doubt_of_the_rate() -> None:
    """From 3 % to 30 %."""
    for spread, doubt in ((0.0, 0.03), (0.02, 0.03), (0.2, 0.2), (0.9, 0.3)):
        assert _way(rate=1e6, spread=spread).rate_doubt == doubt


def test_a_queue_is_20_ms_at_least_and_as_long_as_when_it_dropped_packets() -> None:
    """Where it never dropped a packet, it is at least as long as was seen."""
    for queue, longest, expected in (
        (0.3, 0.25, 0.3), (0.3, 0.4, 0.3), (0.3, 0.001, 0.3), (0.001, 0.3, 0.02),
    ):  # fmt: skip
        assert _way(rate=1e6, queue=queue, longest_queue=longest).queue == expected
    for longest, expected in ((0.5, 0.5), (0.1, 0.2)):
        way = _way(rate=1e6, longest_queue=longest)
        assert (way.queue, way.queue_doubt) == (expected, 1.0)
    assert _way(longest_queue=0.5).queue == 0.2  # no bottleneck, no queue


def test_jitter_is_without_the_hosts_and_the_packets_ahead() -> None:
    """√(20² - 5² - 2.8²) ms behind 1 Mbit/s, where 350 bytes take 2.8 ms."""
    way = _way(rate=1e6, jitter=0.02)
    serial = 0.5 * 5600 / 1e6
    assert way.jitter == pytest.approx((0.02**2 - 0.005**2 - serial**2) ** 0.5)
    policed = _way(rate=1e6, jitter=0.02, policed=True)  # no queue, no packets ahead
    assert policed.jitter == pytest.approx((0.02**2 - 0.005**2) ** 0.5)
    assert _way(jitter=0.004).jitter == 0.0
    assert _way(jitter=0.5).jitter == 0.03  # never beyond the delay


def test_a_policer_has_a_bucket() -> None:
    """50 ms if none was measured; other lines have none."""
    assert _way(rate=1e6, policed=True, bucket=0.4).bucket == 0.4
    assert _way(rate=1e6, policed=True).bucket == 0.05
    assert _way(rate=1e6, bucket=0.4).bucket == 0.0


@pytest.mark.parametrize(
    ("lost", "burst", "doubt"), [(3, 1.0, 0.5), (16, 1.0, 0.25), (16, 0.5, 0.25), (100, 4.0, 0.2)]
)
def test_loss_is_as_uncertain_as_its_bursts_are_few(lost: int, burst: float, doubt: float) -> None:
    """One over the root of the number of bursts, at most 0.5."""
    way = _way(loss=0.02, lost=lost, burst=burst)
    assert (way.loss, way.burst) == (0.02, max(1.0, burst))
    assert way.loss_doubt == pytest.approx(doubt)


def test_two_lost_packets_are_chance() -> None:
    """They count as no loss."""
    way = _way(loss=0.02, lost=2, burst=2.0)
    assert (way.loss, way.burst, way.loss_doubt) == (0.0, 1.0, 0.0)


def test_a_rate_during_transfers_is_not_the_lines() -> None:
    """The line carries at least what came through in its best second."""
    way = _way(rate=1e6, at_least=2e6, transfer_on=10.0, transfer_off=5.0)
    assert (way.rate, way.transfer_on, way.transfer_off) == (2e6, 10.0, 5.0)
    assert _way(rate=1e6, at_least=2e6).rate == 1e6


def test_an_interruption_is_one_if_both_ends_saw_it() -> None:
    """As long as the shorter of them, with its spacing; an end without arrivals cannot see it."""
    down, up = replace(CLEAR, gone=1.0, every=60.0), replace(CLEAR, gone=2.0, every=20.0)
    blind = replace(CLEAR, gone=None)
    for ways, expected in (((down, up), (1.0, 60.0)), ((up, down), (1.0, 60.0)),
                           ((down, CLEAR), (0.0, 0.0)), ((CLEAR, down), (0.0, 0.0)),
                           ((down, blind), (1.0, 60.0)), ((blind, up), (2.0, 20.0)),
                           ((blind, blind), (0.0, 0.0))):  # fmt: skip
        line = line_of(*ways, 0.06)
        assert (line.gone, line.every) == expected
    even = replace(down, every=30.0)
    assert line_of(even, down, 0.06).every == 30.0


def test_an_end_that_only_counts_packets() -> None:
    """Of a sender that adapts below its best, the line carries 1/0.85 of what arrived."""

    def seen(arrived: float, adapts: bool = True, capacity: float | None = None,
             line: ObservedLine | None = None) -> ObservedLine:  # fmt: skip
        return observed_by_counts(capacity, arrived, adapts, 20, 1000, 0.5, 0.03, line)

    limited = seen(0.85e6)
    assert limited.rate == limited.available == pytest.approx(1e6)
    assert (limited.at_least, limited.spread, limited.loss, limited.burst) == (0.85e6, 0.1, 0.02, 1)
    assert (limited.jitter, limited.queue, limited.longest_queue) == (0.03, None, 0.0)
    assert (limited.gone, limited.every, limited.usual_queue) == (None, 0.0, None)
    assert (limited.lost, limited.packets, limited.policed) == (20, 1000, False)
    assert (limited.transfer_on, limited.transfer_off) == (0.0, 0.0)
    assert seen(1.35e6).rate is None and seen(1.34e6).rate is not None
    assert (seen(0.85e6, adapts=False).rate, seen(0.85e6, adapts=False).spread) == (None, 0.0)
    assert seen(0.85e6, capacity=2e6).rate == 2e6
    other = replace(FULL, jitter=0.01, gone=1.0, every=9.0)
    mixed = seen(0.85e6, line=other)
    assert (mixed.rate, mixed.queue, mixed.longest_queue) == (0.5e6, 0.3, 0.3)
    assert (mixed.jitter, mixed.gone, mixed.every, mixed.usual_queue) == (0.01, 1.0, 9.0, 0.1)
    assert observed_by_counts(None, 0.0, False, 0, 0, 3.0, 0.0, None).loss == 0.0
    assert observed_by_counts(None, 0.0, False, 0, 0, 3.0, 0.0, None).burst == 3.0


def test_a_model_has_a_usual_line_by_default() -> None:
    """As its documentation says: no bottleneck that a client would meet, and nothing wrong."""
    way = DirectionModel()
    assert (way.rate, way.queue, way.delay, way.burst) == (20e6, 0.2, 0.02, 1.0)
    others = {"rate", "queue", "delay", "burst"}
    rest = [getattr(way, field.name) for field in fields(way) if field.name not in others]
    assert set(rest) == {0.0}
    assert (LineModel().gone, LineModel().every) == (0.0, 0.0)


def test_the_stored_line_is_the_line() -> None:
    """Six digits of what differs from the default; interruptions only if there are any."""
    line = LineModel(DirectionModel(rate=1.23456789e6), DirectionModel(loss=0.1), 1.0, 30.0)
    stored = line.to_json()
    assert stored == {"down": {"rate": 1.23457e6}, "up": {"loss": 0.1}, "gone": 1.0, "every": 30.0}
    assert LineModel.from_json(stored).to_json() == stored
    assert LineModel().to_json() == {"down": {}, "up": {}}
    again = LineModel.from_json({"down": {}, "up": {}})
    assert again == LineModel()
    with pytest.raises(TypeError):
        LineModel.from_json({"down": {"colour": 1}, "up": {}})


def test_transfers_in_either_direction_are_transfers() -> None:
    """And none without."""
    busy = DirectionModel(transfer_on=10.0)
    assert LineModel(down=busy).has_transfers and LineModel(up=busy).has_transfers
    assert not LineModel().has_transfers


def test_changes_apply_to_both_ways() -> None:
    """A new rate, loss or round trip is certain; loss that stays keeps its bursts."""
    way = DirectionModel(
        rate=1e6, loss=0.02, burst=3.0, jitter=0.04, delay=0.1, rate_doubt=0.1, queue_doubt=0.3,
        loss_doubt=0.2,
    )  # fmt: skip
    line = LineModel(way, way, 1.0, 9.0)
    changed = line.changed(rate=3e6, clients=3)
    expected = replace(way, rate=1e6, rate_doubt=0.0)
    assert changed == LineModel(expected, expected, 1.0, 9.0)
    assert line.changed(loss=0.01).up == replace(way, loss=0.01, loss_doubt=0.0)
    assert line.changed(loss=0.0).up == replace(way, loss=0.0, burst=1.0, loss_doubt=0.0)
    assert line.changed(round_trip=0.06).up == replace(way, delay=0.03, jitter=0.03)
    assert line.changed(round_trip=0.3).up == replace(way, delay=0.15)
    assert line.changed() == line


@pytest.mark.parametrize(
    ("given", "change"),
    [
        ({"rate": "30k"}, Change(rate=30e3)), ({"rate": "1000M"}, Change(rate=1e9)),
        ({"rate": "512 kbit/s"}, Change(rate=512e3)), ({"rate": "2.5Mbit/s"}, Change(rate=2.5e6)),
        ({"rate": "64000 bit/s"}, Change(rate=64e3)), ({"rate": " "}, Change()),
        ({"loss": "50%"}, Change(loss=0.5)), ({"loss": "1.5"}, Change(loss=0.015)),
        ({"rtt": "1ms"}, Change(rtt=0.001)), ({"rtt": "5 s"}, Change(rtt=5.0)),
        ({"clients": "20"}, Change(clients=20)), ({"clients": "1"}, Change()),
        ({"client": "room"}, Change(client="room")), ({}, Change()),
    ],
)  # fmt: skip
def test_a_question_is_read_in_its_units(given: dict[str, str], change: Change) -> None:
    """The limits themselves are allowed."""
    assert parse_change(given, {client.name: client for client in BUILT_IN}) == change


@pytest.mark.parametrize("given", [
    {"rate": "29k"}, {"rate": "1001M"}, {"loss": "50.1%"}, {"rtt": "0.9ms"}, {"rtt": "5.01s"},
    {"clients": "21"}, {"clients": "-1"}, {"clients": ""}, {"rate": "4 M M"}, {"loss": "1ms"},
    {"clients": "00200"}, {"clients": "1" + 4400 * "0"}, {"clients": "0001" + 4400 * "0"},
    {"loss": 40 * "0" + "60"}, {"rate": 38 * "0" + "4M0"}, {"rtt": 40 * " " + "9s"},
])  # fmt: skip
def test_a_question_beyond_the_limits_is_refused(given: dict[str, str]) -> None:
    """With the parameter's name."""
    with pytest.raises(BadChange, match=next(iter(given))):
        parse_change(given, {})


def test_a_long_text_is_shortened_in_the_answer() -> None:
    """40 characters of a value, 60 of a name."""
    with pytest.raises(BadChange) as bad:
        parse_change({"rate": "x" * 99}, {})
    assert bad.value.args[0].count("x") == 40
    with pytest.raises(BadChange) as bad:
        parse_change({"y" * 99: "1"}, {})
    assert bad.value.args[0].count("y" * 60) == 1 and "y" * 61 not in bad.value.args[0]
    with pytest.raises(BadChange) as bad:
        parse_change({"client": "z" * 99}, {})
    assert "z" * 60 in bad.value.args[0] and "z" * 61 not in bad.value.args[0]


def test_a_change_does_what_the_line_does() -> None:
    """Every part of the question reaches the line."""
    line = LineModel()
    change = Change(rate=4e6, loss=0.01, rtt=0.1, clients=2)
    assert change.applied(line) == line.changed(4e6, 0.01, 0.1, 2)
    assert Change().to_json() == {
        "rate": None, "loss": None, "rtt": None, "clients": 1, "client": "one-to-one",
    }  # fmt: skip


def test_the_clients_are_those_of_the_help() -> None:
    """Rates of coded video: Chromium alone, in a group, a room system in 1080p, audio only."""
    assert [(one.name, one.max_video, one.max_height) for one in BUILT_IN] == [
        ("one-to-one", 1.7e6, 720), ("group", 2.5e6, 720), ("room", 4e6, 1080), ("audio", 0.0, 0),
    ]  # fmt: skip
    assert BUILT_IN[0] is REFERENCE


@pytest.mark.parametrize(("key", "value", "valid"), [
    ("rate", 0, True), ("rate", 1e10, True), ("rate", 1.1e10, False), ("rate", -0.1, False),
    ("rate", None, True), ("at_least", None, False), ("lost", True, False), ("policed", 0, False),
    ("policed", None, False), ("usual_queue", None, True), ("jitter", "1", False),
])  # fmt: skip
def test_a_message_is_checked_key_by_key(key: str, value: object, valid: bool) -> None:
    """Numbers from 0 to 10 billion, and nothing where nothing may have been seen."""
    message = {field.name: getattr(CLEAR, field.name) for field in fields(CLEAR)} | {key: value}
    if valid:
        assert getattr(ObservedLine.from_json(message), key) == value
    else:
        with pytest.raises(ValueError, match=key):
            ObservedLine.from_json(message)
    with pytest.raises(ValueError, match="mapping"):
        ObservedLine.from_json([message])
