"""The bytes that updates spent on the current day, stored beside the rollout."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path

from jharnet_monitor.security.tokens import write_secret

log = logging.getLogger(__name__)

FILE = "spent.json"


class UpdateBudget:
    """Counts each office's bytes of a day; a restart of the hub does not reset the count."""

    def __init__(self, directory: Callable[[], Path]) -> None:
        self._directory = directory
        self._day: date | None = None
        self._spent: dict[str, int] = {}
        self._writing = asyncio.Lock()

    async def restore(self) -> None:
        """Read what was spent before the hub restarted; a file that cannot be read is logged."""
        path = self._directory() / FILE
        try:
            data = json.loads(await asyncio.to_thread(path.read_text, "utf-8"))
            self._day = date.fromisoformat(data["day"])
            self._spent = {str(office): int(amount) for office, amount in data["bytes"].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            log.error("%s: the bytes that updates spent today cannot be read: %s", path, error)

    def spent(self, office: str, day: date) -> int:
        """Bytes that updates spent on an office's line on a day."""
        return self._spent.get(office, 0) if day == self._day else 0

    async def charge(self, office: str, day: date, amount: int) -> None:
        """Count bytes before they are sent; raises as `write_secret` does."""
        if day != self._day:
            self._day, self._spent = day, {}
        self._spent[office] = self._spent.get(office, 0) + amount
        async with self._writing:
            text = json.dumps({"day": self._day.isoformat(), "bytes": self._spent}) + "\n"
            await asyncio.to_thread(write_secret, self._directory() / FILE, text, replace=True)
