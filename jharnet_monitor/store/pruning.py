"""Which records of a sealed hour may be missing: those that retention pruned, and nothing else.

Retention removes all records of a kind of one sealed hour. In the same transaction it adds the
event `pruned`, which names the hour by its root and counts what was removed; the next hour's link
seals it. The kinds in `chunks.pruned` are no evidence by themselves: they lie outside the hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jharnet_monitor.config.units import parse_duration
from jharnet_monitor.model import format_utc

OF_THE_DATABASE = ""
"""In place of an office's id: events that concern the records themselves."""
PRUNED = "pruned"
"""The kind of event that retention adds."""
SETTINGS = "settings"
"""The kind of event that holds the settings in force, at the hub's start and after a change."""


@dataclass(frozen=True, slots=True)
class PruningRule:
    """What retention may prune: kinds of records, and the least age of an hour whatever the sealed
    settings say.

    Without arguments it may prune nothing.
    """

    kinds: frozenset[str] = frozenset()
    least_age: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Pruning:
    """One event `pruned`: when, and how many records of each kind of the hour were removed."""

    at: datetime
    records: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PruningLog:
    """The events `pruned` by the root of their hour.

    `since` is when the program first sealed such events or settings; hours pruned before that have
    none. It is None in a database that no such program has written yet.
    """

    prunings: Mapping[str, tuple[Pruning, ...]]
    since: datetime | None
    age_limits: tuple[tuple[datetime, timedelta], ...] = ()
    """How long measurements are kept by the sealed settings (`retention.raw`), each from a moment
    on, oldest first."""

    @classmethod
    def of(cls, events: Iterable[tuple[str, datetime, str]]) -> PruningLog:
        """Read events, each its kind, when it was recorded, and its data as JSON.

        One that does not have the form of `pruning_data` allows nothing.
        """
        found: dict[str, tuple[Pruning, ...]] = {}
        since: datetime | None = None
        age_limits: list[tuple[datetime, timedelta]] = []
        for kind, at, data in events:
            if kind in (PRUNED, SETTINGS):
                since = at if since is None else min(since, at)
            if kind == SETTINGS and (age := _read_retention(data)) is not None:
                age_limits.append((at, age))
            if kind == PRUNED and (detail := _read(at, data)) is not None:
                root, pruning = detail
                found[root] = (*found.get(root, ()), pruning)
        return cls(found, since, tuple(age_limits))

    def has(self, root: str, kind: str) -> bool:
        """Whether an event says that this kind of records of the hour was pruned."""
        return any(kind in one.records for one in self.prunings.get(root, ()))

    def problem(
        self, rule: PruningRule, root: str, begin: datetime, kind: str, records: int, now: datetime
    ) -> str | None:
        """Why the records of a kind of an hour must not be missing; None if they may be.

        `records` is how many were sealed. Without an event, `now` at the latest is when they were
        pruned.
        """
        if kind not in rule.kinds:
            return f"the {records} records of `{kind}` are missing, and retention never prunes them"
        events = [one for one in self.prunings.get(root, ()) if kind in one.records]
        if any(one.records[kind] != records for one in events):
            return f"had {records} records of `{kind}`, but pruned were {events[0].records[kind]}"
        at = min((one.at for one in events), default=self.since or now)
        least = max(rule.least_age, self._age_limit_at(at)) if events else rule.least_age
        if at < begin + least:
            detail = (
                f"when they were {(at - begin).days} days old" if events else "without an event"
            )
            days = least.days
            return f"the {records} records of `{kind}` were removed {detail}; kept are {days} days"
        return None

    def _age_limit_at(self, moment: datetime) -> timedelta:
        """How long measurements were kept by the settings in force at a moment."""
        return next((age for at, age in reversed(self.age_limits) if at <= moment), timedelta())


def pruning_data(root: str, begin: datetime, records: Mapping[str, int]) -> dict[str, Any]:
    """The data of an event `pruned`: the hour by its link's root and begin, and the counts."""
    return {"root": root, "begin": format_utc(begin), "records": dict(records)}


def _read_retention(data: str) -> timedelta | None:
    """`retention.raw` of an event `settings`; None if it only says that nothing changed."""
    try:
        return timedelta(seconds=parse_duration(json.loads(data)["settings"]["retention"]["raw"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _read(at: datetime, data: str) -> tuple[str, Pruning] | None:
    try:
        content = json.loads(data)
        records = {str(kind): int(count) for kind, count in content["records"].items()}
        return str(content["root"]), Pruning(at, records)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
