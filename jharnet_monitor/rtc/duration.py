"""How long a call lasts: as long as it was told to, and more if its rung changed late. Pure."""

from __future__ import annotations

WINDOW = 0.4
"""Share of the call that one rung must have been held for, to be judged ..."""
LEAST = 3.0
"""... and seconds, if the call is that long."""
OVERTIME = 1.5
"""A call may last this many times its length for that ..."""
DRAINING = 8.0
"""... and so many seconds more, where a rung has just begun: nothing can be told of it yet."""


def call_complete(talked: float, held: float, seconds: float) -> bool:
    """Whether a call of `seconds` may end that talked so long, the last rung held for so long.

    >>> [call_complete(*each, 30.0) for each in ((29, 29), (30, 30), (30, 5), (45, 5), (45, 1))]
    [False, True, False, True, False]
    """
    least = min(seconds, LEAST)
    over = talked - OVERTIME * seconds
    if over >= DRAINING:
        return True
    return talked >= seconds and held >= (least if over >= 0 else max(least, WINDOW * seconds))
