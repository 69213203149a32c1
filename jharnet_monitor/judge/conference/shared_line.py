"""What headquarters' own line, which all calls of a drill share, carried in one direction. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jharnet_monitor.judge.conference.drill import UplinkDirection

FULL_SHARE = 0.9
"""Share of its contract at which the line counts as full, since its other traffic is not known
here."""


@dataclass(frozen=True, slots=True)
class Share:
    """One office's call in one direction; rates in bit/s."""

    office: str
    rate: float
    """What arrived at the end."""
    capacity: float | None
    """What arrived when the call had to step down; None if it never had to."""
    alone: float | None
    """What the office's line carried when it was tested by itself; None if it was not."""


def shared_line(
    calls: Sequence[Share], peak_rate: float | None, wanted: float, contracted: float | None
) -> UplinkDirection:
    """Judge one direction of the line; `wanted` is the rate of one call; all rates in bit/s.

    `peak_rate` is the most that arrived of all calls within the same second (None: not observed).
    The rates of the calls before they stepped down must not be added, because they did so at
    different times.

    A call steps down because of its office's own line or because of the shared one. It was the
    shared one where at least half of all calls (and at least two) received less than their own
    lines carry alone, or where the contract was reached.

    >>> alone = [Share(f"o{n}", 0.7e6, 0.9e6, 3.6e6) for n in range(4)]
    >>> line = shared_line(alone, 3.1e6, 1.5e6, 34e6)
    >>> line.full, line.supported_calls
    (True, 2)
    >>> shared_line([Share("o0", 0.3e6, 0.4e6, 0.4e6)], 0.4e6, 1.5e6, 34e6).full
    False
    """
    if not calls:
        return UplinkDirection(peak_rate=peak_rate)
    rate = sum(call.rate for call in calls)
    peak = rate if peak_rate is None else max(rate, peak_rate)
    stepped_down = [call for call in calls if call.capacity is not None]
    held_back = tuple(
        call.office for call in stepped_down if call.alone is not None and call.alone >= wanted
    )
    at_contract = bool(stepped_down) and contracted is not None and peak >= FULL_SHARE * contracted
    full = at_contract or len(held_back) >= max(2, len(calls) / 2)
    return UplinkDirection(
        rate=rate,
        peak_rate=peak,
        full=full,
        supported_calls=int(peak / wanted) if full else len(calls) - len(stepped_down),
        held_back=held_back,
    )
