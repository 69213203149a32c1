"""From interface counters to rates: wraps, restarts and framing; no rate in case of doubt."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jharnet_monitor.judge.line.interface_counters import (
    InterfaceCount,
    InterfaceCounters,
    InterfaceRates,
    NoRate,
    rates_between,
)

BEFORE = InterfaceCounters(
    at=50.0, ticks=1_000_00, inbound=InterfaceCount(10_000), outbound=InterfaceCount(20_000)
)
NARROW = replace(BEFORE, bits=32, speed=10e6)


def after(before: InterfaceCounters, octets: int, seconds: float = 300.0) -> InterfaceCounters:
    """A later reading of the same router, with `octets` more in each direction."""
    modulus = 1 << before.bits
    return replace(
        before,
        at=before.at + seconds,
        ticks=(before.ticks + round(seconds * 100)) % (1 << 32),
        inbound=replace(before.inbound, octets=(before.inbound.octets + octets) % modulus),
        outbound=replace(before.outbound, octets=(before.outbound.octets + octets) % modulus),
    )


@pytest.mark.parametrize("start", [0, 10_000, (1 << 32) - 1000, (1 << 40)])
@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("ticks", [0, (1 << 32) - 5000])
def test_rates_over_every_wrap(start: int, bits: int, ticks: int) -> None:
    """One wrap of a 32-bit counter, or of the uptime, does not affect the rate."""
    way = InterfaceCount(start % (1 << bits))
    before = replace(BEFORE, ticks=ticks, inbound=way, outbound=way, bits=bits, speed=10e6)
    assert rates_between(before, after(before, 150_000_000)) == InterfaceRates(300.0, 4e6, 4e6)


@pytest.mark.parametrize(
    ("before", "changed"),
    [
        (BEFORE, {"ticks": 200_00}),  # it has been up for 200 s only
        (BEFORE, {"ticks": 2_000_00}),  # more time passed on its clock than on ours
        (BEFORE, {"discontinuity": 1_100_00}),
        (BEFORE, {"inbound": InterfaceCount(9_000)}),  # counters cleared by hand
        (NARROW, {"ticks": 200_00, "inbound": InterfaceCount(9_000)}),
        (NARROW, {"inbound": InterfaceCount(9_000)}),  # 32 bits cleared by hand, no wrap
        (NARROW, {"bits": 64}),  # another interface or router
        (BEFORE, {"ticks": BEFORE.ticks}),  # its clock stopped
    ],
)
def test_no_rate_over_a_restart(before: InterfaceCounters, changed: dict[str, object]) -> None:
    """Counters that restarted show neither traffic nor silence."""
    assert rates_between(before, replace(after(before, 5_000), **changed)) is NoRate.RESTARTED  # type: ignore[arg-type]


@pytest.mark.parametrize(("speed", "known"), [(100e6, True), (1e9, False), (None, False)])
def test_a_32_bit_counter_may_wrap_twice(speed: float | None, known: bool) -> None:
    """At 1 Gbit/s a 32-bit counter wraps every 34 s: over five minutes it means nothing."""
    before = replace(NARROW, speed=speed)
    assert isinstance(rates_between(before, after(before, 5_000)), InterfaceRates) is known


def test_a_router_with_an_inaccurate_clock() -> None:
    """A clock that is 1 % wrong is no restart; the rate is by the router's own time."""
    later = after(BEFORE, 3_000)
    later = replace(later, ticks=later.ticks + 300)
    assert rates_between(BEFORE, later) == InterfaceRates(303.0, 3_000 * 8 / 303, 3_000 * 8 / 303)


def test_framing_is_subtracted_per_packet() -> None:
    """A hundred full Ethernet frames are a hundred IP packets of 1500 bytes."""
    before = replace(BEFORE, header=18, inbound=InterfaceCount(0, 7), outbound=InterfaceCount(0))
    later = replace(after(before, 151_800), inbound=InterfaceCount(151_800, 107))
    found = rates_between(before, later)
    assert isinstance(found, InterfaceRates)
    assert found.inbound == 150_000 * 8 / 300
    assert found.outbound == 151_800 * 8 / 300  # its packets are not counted
