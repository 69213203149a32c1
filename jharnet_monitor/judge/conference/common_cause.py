"""Finds calls of several offices that step down at the same moment, which have a common cause.
Independent lines do not fail together. The calls of a drill share headquarters' line and computer;
if that line was not full, such calls are no evidence about the offices. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

WINDOW_SECONDS = 2.0
"""A common cause shows in all calls within this time: reports come four times a second, and a
sender pauses until its queue has drained."""
SETTLED_SECONDS = 10.0
"""Before this time the calls start, and all lines that are too slow step down together."""
FEWEST_CALLS = 3
SHARE = 0.5
"""Least share of all calls that must step down together."""


def stepped_down_together(moments: Mapping[str, float], calls: int) -> frozenset[str]:
    """The offices whose calls stepped down at the same moment; none if it may be chance.

    `moments` are in seconds from the drill's beginning, `calls` is how many calls were held.

    >>> sorted(stepped_down_together({"a": 22.1, "b": 22.9, "c": 23.5, "d": 71.0}, 5))
    ['a', 'b', 'c']
    >>> stepped_down_together({"a": 3.0, "b": 3.1, "c": 3.2}, 3)
    frozenset()
    """
    late = sorted((at, office) for office, at in moments.items() if at >= SETTLED_SECONDS)
    together: set[str] = set()
    for first, _ in late:
        group = {office for at, office in late if first <= at <= first + WINDOW_SECONDS}
        if len(group) >= max(FEWEST_CALLS, SHARE * calls):
            together |= group
    return frozenset(together)
