"""Counts the bytes spent of each office's budget on the district's current day."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from threading import Lock

from jharnet_monitor.store import SpentBytes

_QUARTER = timedelta(minutes=15)
"""Midnight of every time zone is at a quarter of an hour."""


class Spending:
    """What was spent on each line on the current day. May be used from any thread.

    An entry counts once, whether it was charged, was read from the store, or both, in any order.
    One across midnight counts on both days, so that neither can be overspent.

    >>> from datetime import UTC
    >>> midnight = datetime(2026, 11, 25, tzinfo=UTC)
    >>> spending = Spending()
    >>> spending.begin_day(midnight)
    True
    >>> test = SpentBytes("potka", midnight - timedelta(seconds=9), midnight, 4000)
    >>> spending.note("id", test); spending.note("id", test)
    >>> spending.add("potka", 500, midnight + timedelta(hours=1))
    >>> spending.today("potka"), spending.today("boram")
    (4500, 0)
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._midnight: datetime | None = None
        self._entries: dict[object, SpentBytes] = {}
        """Those since the day before, which another time zone may move into the current day."""
        self._today: Counter[str] = Counter()

    def begin_day(self, midnight: datetime) -> bool:
        """Count from this midnight on; returns whether it is another one than before."""
        with self._lock:
            before = self._midnight or midnight
            if self._midnight == midnight:
                return False
            # If the clock was ahead for a while, nothing of the day that goes on is forgotten.
            oldest = min(before, midnight) - timedelta(days=1)
            kept = {key: one for key, one in self._entries.items() if one.ended >= oldest}
            self._midnight, self._entries, self._today = midnight, kept, Counter()
            for one in kept.values():
                self._count(one)
            return True

    def note(self, key: object, spent: SpentBytes) -> None:
        """Note what is identified by a key, unless it is known."""
        with self._lock:
            if key not in self._entries:
                self._entries[key] = spent
                self._count(spent)

    def add(self, office: str, amount: int, at: datetime) -> None:
        """Add bytes that no key identifies."""
        quarter = at - (at - datetime.min.replace(tzinfo=at.tzinfo)) % _QUARTER
        with self._lock:
            earlier = self._entries.get((office, quarter))
            total = amount if earlier is None else earlier.amount + amount
            self._entries[office, quarter] = SpentBytes(office, quarter, quarter, total)
            self._count(SpentBytes(office, quarter, quarter, amount))

    def today(self, office: str) -> int:
        """Bytes that were spent on an office's line on the current day."""
        return self._today[office]

    def _count(self, one: SpentBytes) -> None:
        if self._midnight is not None and one.is_within(
            self._midnight, self._midnight + timedelta(days=1)
        ):
            self._today[one.office] += one.amount
