"""What falls in the same moment in several offices' calls has one cause: no office's line.

Lines of their own do not fail together. Headquarters' line and headquarters' computer are what the
calls of a drill share; where that line was not full, nothing can be said of the offices. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

WINDOW_SECONDS = 2.0
"""A cause of all calls shows in each within this long: reports come four times a second, and a
sender pauses for as long as its queue needs to drain."""
SETTLED_SECONDS = 10.0
"""Before this the calls begin, and every line that is too slow shows so at the same time."""
FEWEST_CALLS = 3
SHARE = 0.5
"""Of all calls that were held, so many at least fell together."""


def stepped_down_together(moments: Mapping[str, float], calls: int) -> frozenset[str]:
    """The offices whose calls stepped down in the same moment; none where it may be chance.

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
