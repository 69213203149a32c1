"""From two readings of an interface's counters to the rates between them, or why there are none.

A counter alone tells nothing: it begins anew with the router, one of 32 bits also every 34 s on a
full 1 Gbit/s (RFC 2863, 3.1.6), and either may be cleared by hand. A rate is given only where it is
certain what happened between the readings. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TICKS_MODULUS, TICKS_PER_SECOND = 1 << 32, 100
"""sysUpTime counts hundredths of a second, and begins anew after 497 days."""
CLOCKS_DIFFER_SECONDS, CLOCKS_DIFFER_SHARE = 3.0, 0.02
"""As long as a question may be under way, and as wrong as a router's clock may go. By more than
that, the router has started anew."""
WIDE = 64
"""Bits of a counter that nothing on earth fills."""


class Unknown(StrEnum):
    """Why two readings give no rate."""

    RESTARTED = "restarted"
    """The router, or its counters, began anew between them."""
    AMBIGUOUS = "ambiguous"
    """A 32-bit counter may have gone round more than once."""


@dataclass(frozen=True, slots=True)
class Way:
    """What went one way since the counters began; `packets` is None where they are not counted."""

    octets: int
    packets: int | None = None


@dataclass(frozen=True, slots=True)
class Counters:
    """What a router told of one interface at one moment.

    `at` is that moment on our monotonic clock, in seconds; `ticks` is the router's own sysUpTime.
    `inward` is from the line into the router. Octets include `header` bytes of framing a packet.
    `speed` (ifSpeed) is in bit/s; `discontinuity` is ifCounterDiscontinuityTime.
    """

    at: float
    ticks: int
    inward: Way
    outward: Way
    bits: int = WIDE
    header: int = 0
    speed: float | None = None
    discontinuity: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Mean rates in bit/s over `seconds`, by the router's own clock."""

    seconds: float
    inward: float
    outward: float


def rates(before: Counters, after: Counters) -> Rates | Unknown:
    """The rates between two readings, without framing where packets are counted.

    >>> early = Counters(at=0.0, ticks=100, inward=Way(1000), outward=Way(0))
    >>> late = Counters(at=10.0, ticks=1100, inward=Way(6000), outward=Way(2500))
    >>> rates(early, late)
    Rates(seconds=10.0, inward=4000.0, outward=2000.0)
    >>> rates(late, early)
    <Unknown.RESTARTED: 'restarted'>
    """
    elapsed = after.at - before.at
    seconds = (after.ticks - before.ticks) % TICKS_MODULUS / TICKS_PER_SECOND
    tolerance = CLOCKS_DIFFER_SECONDS + CLOCKS_DIFFER_SHARE * elapsed
    if seconds == 0 or abs(seconds - elapsed) > tolerance or _begun_anew(before, after):
        return Unknown.RESTARTED
    if after.bits < WIDE and (after.speed is None or after.speed * seconds / 8 >= 1 << after.bits):
        return Unknown.AMBIGUOUS
    inward = _octets(before.inward, after.inward, after)
    outward = _octets(before.outward, after.outward, after)
    return Rates(seconds, inward * 8 / seconds, outward * 8 / seconds)


def _begun_anew(before: Counters, after: Counters) -> bool:
    """Whether the counters say so themselves; of a 32-bit one only the router's word is left."""
    if (before.bits, before.discontinuity) != (after.bits, after.discontinuity):
        return True
    cleared = (
        after.inward.octets < before.inward.octets or after.outward.octets < before.outward.octets
    )
    return after.bits == WIDE and cleared


def _octets(before: Way, after: Way, counters: Counters) -> int:
    """What went one way in between, a wrap of the counter included."""
    modulus = 1 << counters.bits
    octets = (after.octets - before.octets) % modulus
    if before.packets is None or after.packets is None:
        return octets
    packets = (after.packets - before.packets) % modulus
    return max(0, octets - packets * counters.header)
