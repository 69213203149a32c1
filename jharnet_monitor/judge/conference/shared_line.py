"""What one line bore that all calls of a drill share: headquarters' own uplink. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NEARLY = 0.9
"""Of its contract, a line is full: what it carries beside the calls is not known here."""


@dataclass(frozen=True, slots=True)
class Share:
    """One office's call in one direction, in bit/s."""

    office: str
    carried: float
    """What came through at the end."""
    capacity: float | None
    """What came through when a rung overloaded the way; None if none did."""
    alone: float | None
    """What the office's line carried when it was tested by itself; None if it was not."""


@dataclass(frozen=True, slots=True)
class SharedLine:
    """What became of all calls together in one direction."""

    carried: float
    """bit/s at the end."""
    bore: float
    """bit/s that came through at most, of all calls in the same seconds."""
    full: bool
    """The shared line was the limit, not the offices' own lines."""
    held_back: tuple[str, ...]
    """Offices that had less than their own line carries alone."""
    pictures: int
    """Calls of the drill's rate that it bears; where it was not full, at least so many."""


def shared_line(
    calls: Sequence[Share], most: float | None, wanted: float, contracted: float | None
) -> SharedLine:
    """Judge one direction; `wanted` is the rate of one call, all rates in bit/s.

    `most` is what all calls together had at most in the same seconds (None: not seen); what each
    had before it stepped down, at its own moment, may not be summed up.

    A call steps down because of its office's line or because of the one that all share. It was
    the shared one where half of all calls (two at least) had less than their own lines carry
    alone, or where the contract was reached.

    >>> alone = [Share(f"o{n}", 0.7e6, 0.9e6, 3.6e6) for n in range(4)]
    >>> line = shared_line(alone, 3.1e6, 1.5e6, 34e6)
    >>> line.full, line.pictures
    (True, 2)
    >>> shared_line([Share("o0", 0.3e6, 0.4e6, 0.4e6)], 0.4e6, 1.5e6, 34e6).full
    False
    """
    carried = sum(c.carried for c in calls)
    bore = carried if most is None else max(carried, most)
    short = [c for c in calls if c.capacity is not None]
    held_back = tuple(c.office for c in short if c.alone is not None and c.alone >= wanted)
    at_contract = bool(short) and contracted is not None and bore >= NEARLY * contracted
    full = at_contract or len(held_back) >= max(2, len(calls) / 2)
    return SharedLine(
        carried=carried,
        bore=bore,
        full=full,
        held_back=held_back,
        pictures=int(bore / wanted) if full else sum(c.capacity is None for c in calls),
    )
