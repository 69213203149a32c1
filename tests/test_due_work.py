"""Work that the hub does when it is due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.errors import StoreError
from jharnet_monitor.mail.due_work import DueWork

BEGIN = datetime(2026, 11, 26, tzinfo=UTC)


class Numbers(DueWork[int]):
    """Three numbers to be taken, of which one can fail."""

    def __init__(self) -> None:
        self.clock = ManualClock(BEGIN)
        super().__init__(self.clock)
        self.open, self.tried, self.fails = [1, 2, 3], list[int](), 2
        self.failures: list[int] = []

    async def _due(self, now: datetime) -> Sequence[int]:
        return tuple(self.open)

    async def _do(self, work: int, now: datetime) -> None:
        self.tried.append(work)
        if work == self.fails:
            raise StoreError("gone")
        self.open.remove(work)

    def _note_failure(self, error: Exception) -> timedelta:
        self.failures.append(self._failures)
        return timedelta(minutes=10 * self._failures)


async def test_a_failure_is_repeated_after_a_delay() -> None:
    """In order; what follows waits for it. The delay grows, and ends when the clock is set back."""
    numbers = Numbers()
    await numbers.run_once()
    assert numbers.tried == [1, 2]
    numbers.clock.step(9 * 60)
    await numbers.run_once()
    assert numbers.tried == [1, 2]
    numbers.clock.step(60)
    await numbers.run_once()
    assert (numbers.tried, numbers.failures) == ([1, 2, 2], [1, 2])
    numbers.clock.step(-3600)
    numbers.fails = 0
    await numbers.run_once()
    assert (numbers.tried[3:], numbers.open) == ([2, 3], [])
    numbers.open, numbers.fails = [4], 4
    await numbers.run_once()
    assert numbers.failures == [1, 2, 1]
