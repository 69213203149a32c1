"""Rates from two readings of a router interface's counters (IF-MIB), or why there are none. Pure.

Counters restart with the router, a 32-bit octet counter also wraps every 34 s on a full 1 Gbit/s
line (RFC 2863, section 3.1.6), and both can be cleared by hand. A rate is given only if what
happened between the readings is certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TICKS_MODULUS, TICKS_PER_SECOND = 1 << 32, 100
"""sysUpTime (RFC 3418) counts hundredths of a second in 32 bits and wraps after 497 days."""
CLOCK_TOLERANCE_SECONDS, CLOCK_TOLERANCE_SHARE = 3.0, 0.02
"""Longest delay of an SNMP request, and largest error of a router's clock. If the clocks differ by
more, the router has restarted."""
FAULT_MODULUS = 1 << 32
"""Errors and discards are counted in 32 bits, on any router."""
UPDATE_SECONDS = 15.0
"""Longest interval at which a router updates its counters: a reading may show the octets of so much
more time than lies between the readings."""
COUNTER64 = 64
"""Bits of the counters that do not wrap in practice (ifHCInOctets and others)."""


class NoRate(StrEnum):
    """Why two readings give no rate."""

    RESTARTED = "restarted"
    """The router restarted, or its counters were reset, between the readings."""
    AMBIGUOUS = "ambiguous"
    """A 32-bit counter may have wrapped more than once."""


@dataclass(frozen=True, slots=True)
class InterfaceCount:
    """Counts of one direction since the counters' start; None for what is not available.

    `errors` are packets that were damaged, `discards` those for which there was no room.
    """

    octets: int
    packets: int | None = None
    errors: int | None = None
    discards: int | None = None


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    """One reading of an interface's counters.

    `at` is its time in seconds of our monotonic clock, `ticks` the router's sysUpTime. `inbound` is
    from the line into the router. Octets include `header` bytes of framing per packet. `speed`
    (ifSpeed) is in bit/s; `discontinuity` is ifCounterDiscontinuityTime.
    """

    at: float
    ticks: int
    inbound: InterfaceCount
    outbound: InterfaceCount
    bits: int = COUNTER64
    header: int = 0
    speed: float | None = None
    discontinuity: int = 0


@dataclass(frozen=True, slots=True)
class InterfaceRates:
    """Mean rates in bit/s over `seconds` of the router's own clock, and shares of packets that
    were damaged or discarded; None for what was not counted."""

    seconds: float
    inbound: float
    outbound: float
    inbound_errors: float | None = None
    outbound_errors: float | None = None
    inbound_discards: float | None = None
    outbound_discards: float | None = None


def rates_between(before: InterfaceCounters, after: InterfaceCounters) -> InterfaceRates | NoRate:
    """The rates between two readings; framing is subtracted if packets are counted.

    >>> count = InterfaceCount
    >>> early = InterfaceCounters(at=0.0, ticks=100, inbound=count(1000), outbound=count(0))
    >>> late = InterfaceCounters(at=10.0, ticks=1100, inbound=count(6000), outbound=count(2500))
    >>> rates = rates_between(early, late)
    >>> rates.seconds, rates.inbound, rates.outbound, rates.inbound_errors
    (10.0, 4000.0, 2000.0, None)
    >>> rates_between(late, early)
    <NoRate.RESTARTED: 'restarted'>
    """
    elapsed = after.at - before.at
    seconds = (after.ticks - before.ticks) % TICKS_MODULUS / TICKS_PER_SECOND
    tolerance = CLOCK_TOLERANCE_SECONDS + CLOCK_TOLERANCE_SHARE * elapsed
    if seconds == 0 or abs(seconds - elapsed) > tolerance or _discontinuous(before, after):
        return NoRate.RESTARTED
    if any(_cleared(*pair, after, seconds) for pair in _directions(before, after)):
        return NoRate.RESTARTED
    can_wrap_twice = after.speed is None or after.speed * seconds / 8 >= 1 << after.bits
    if after.bits < COUNTER64 and can_wrap_twice:
        return NoRate.AMBIGUOUS
    inbound, outbound = (_octets(*pair, after) for pair in _directions(before, after))
    return InterfaceRates(
        seconds,
        inbound * 8 / seconds,
        outbound * 8 / seconds,
        *(
            _share(*pair, what, after.bits)
            for what in ("errors", "discards")
            for pair in _directions(before, after)
        ),
    )


def _directions(
    before: InterfaceCounters, after: InterfaceCounters
) -> tuple[tuple[InterfaceCount, InterfaceCount], ...]:
    """The two readings of each direction, inbound first."""
    return (before.inbound, after.inbound), (before.outbound, after.outbound)


def _share(before: InterfaceCount, after: InterfaceCount, what: str, bits: int) -> float | None:
    """The share of packets that were damaged or discarded; None if it was not counted."""
    counts = [getattr(one, what) for one in (before, after)]
    if None in (*counts, before.packets, after.packets):
        return None
    bad = (counts[1] - counts[0]) % FAULT_MODULUS
    good = ((after.packets or 0) - (before.packets or 0)) % (1 << bits)
    return bad / (bad + good) if bad + good else None


def _discontinuous(before: InterfaceCounters, after: InterfaceCounters) -> bool:
    """Whether the counters were reset; a 32-bit counter can also wrap, so a decrease proves
    nothing.
    """
    if (before.bits, before.discontinuity) != (after.bits, after.discontinuity):
        return True
    decreased = any(late.octets < early.octets for early, late in _directions(before, after))
    return after.bits == COUNTER64 and decreased


def _cleared(
    before: InterfaceCount, after: InterfaceCount, counters: InterfaceCounters, seconds: float
) -> bool:
    """Whether a 32-bit counter decreased, but cannot have wrapped.

    It was cleared by hand if a wrap means more octets than the interface can carry, or damaged or
    discarded packets over more than half of the counter's range.
    """
    for what in ("errors", "discards"):
        early, late = getattr(before, what), getattr(after, what)
        if None not in (early, late) and (late - early) % FAULT_MODULUS >= FAULT_MODULUS // 2:
            return True
    if counters.speed is None or after.octets >= before.octets:
        return False
    octets = (after.octets - before.octets) % (1 << counters.bits)
    return octets * 8 > counters.speed * (seconds + UPDATE_SECONDS)


def _octets(before: InterfaceCount, after: InterfaceCount, counters: InterfaceCounters) -> int:
    """Octets of one direction between the readings, allowing for a wrap of the counter."""
    modulus = 1 << counters.bits
    octets = (after.octets - before.octets) % modulus
    if before.packets is None or after.packets is None:
        return octets
    packets = (after.packets - before.packets) % modulus
    return max(0, octets - packets * counters.header)
