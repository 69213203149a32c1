"""From counters to rates: wraps, restarts and framing, and no rate where nothing is certain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jharnet_monitor.judge.line.counters import Counters, Rates, Unknown, Way, rates

BEFORE = Counters(at=50.0, ticks=1_000_00, inward=Way(10_000), outward=Way(20_000))
NARROW = replace(BEFORE, bits=32, speed=10e6)


def after(before: Counters, octets: int, seconds: float = 300.0) -> Counters:
    """The same router later, when `octets` more had gone each way."""
    modulus = 1 << before.bits
    return replace(
        before,
        at=before.at + seconds,
        ticks=(before.ticks + round(seconds * 100)) % (1 << 32),
        inward=replace(before.inward, octets=(before.inward.octets + octets) % modulus),
        outward=replace(before.outward, octets=(before.outward.octets + octets) % modulus),
    )


@pytest.mark.parametrize("start", [0, 10_000, (1 << 32) - 1000, (1 << 40)])
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("ticks", [0, (1 << 32) - 5000])
def test_rates_over_every_wrap(start: int, bits: int, ticks: int) -> None:
    """A 32-bit counter that went round once, and an uptime that did, change no rate."""
    way = Way(start % (1 << bits))
    before = replace(BEFORE, ticks=ticks, inward=way, outward=way, bits=bits, speed=10e6)
    assert rates(before, after(before, 150_000_000)) == Rates(300.0, 4e6, 4e6)


@pytest.mark.parametrize(
    ("before", "changed"),
    [
        (BEFORE, {"ticks": 200_00}),  # it has been running for 200 s only
        (BEFORE, {"ticks": 2_000_00}),  # and here for longer than we were away
        (BEFORE, {"discontinuity": 1_100_00}),
        (BEFORE, {"inward": Way(9_000)}),  # cleared by hand
        (NARROW, {"ticks": 200_00, "inward": Way(9_000)}),
        (NARROW, {"bits": 64}),  # another interface, or another router
        (BEFORE, {"ticks": BEFORE.ticks}),  # its clock stands
    ],
)
def test_no_rate_over_a_restart(before: Counters, changed: dict[str, object]) -> None:
    """Counters that began anew are no traffic, and no silence."""
    assert rates(before, replace(after(before, 5_000), **changed)) is Unknown.RESTARTED  # type: ignore[arg-type]


@pytest.mark.parametrize(("speed", "known"), [(100e6, True), (1e9, False), (None, False)])
def test_a_narrow_counter_may_go_round_twice(speed: float | None, known: bool) -> None:
    """At 1 Gbit/s a 32-bit counter lasts 34 s: five minutes later it means nothing."""
    before = replace(NARROW, speed=speed)
    assert isinstance(rates(before, after(before, 5_000)), Rates) is known


def test_a_router_whose_clock_is_a_little_wrong() -> None:
    """One per cent is a bad clock, not a restart; the rate is by the router's own time."""
    later = after(BEFORE, 3_000)
    later = replace(later, ticks=later.ticks + 300)
    assert rates(BEFORE, later) == Rates(303.0, 3_000 * 8 / 303, 3_000 * 8 / 303)


def test_framing_is_taken_off_by_the_packet() -> None:
    """A hundred full Ethernet frames are a hundred IP packets of 1500 bytes."""
    before = replace(BEFORE, header=18, inward=Way(0, 7), outward=Way(0))
    later = replace(after(before, 151_800), inward=Way(151_800, 107))
    found = rates(before, later)
    assert isinstance(found, Rates)
    assert found.inward == 150_000 * 8 / 300
    assert found.outward == 151_800 * 8 / 300  # its packets are not counted
