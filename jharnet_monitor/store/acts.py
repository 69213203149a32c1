"""What people did: events like all others, so the hash chain seals who did what, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jharnet_monitor.store.event_log import LoggedEvent

OF_PEOPLE = "@"
"""In place of an office's id: people's acts are no evidence on an office's line."""
ACT = "act"
"""The kind of event."""


@dataclass(frozen=True, slots=True)
class Act:
    """One act. `by` is `account NAME`, `API token`, or `user NAME` for a command on the hub;
    `from_` the address that it came from; `about` what it concerned, such as the office."""

    what: str
    by: str
    from_: str
    about: Mapping[str, Any]
    at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The data of the event."""
        return {"what": self.what, "by": self.by, "from": self.from_, "about": dict(self.about)}

    @classmethod
    def of(cls, event: LoggedEvent) -> Act:
        """The act that an event records."""
        data = event.data
        return cls(data["what"], data["by"], data["from"], data["about"], event.at)
