"""The rollout of a version to the agents: its offices, their order, and its progress."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jharnet_monitor.errors import UserError
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.security.tokens import write_secret

FILE = "rollout.json"


@dataclass(frozen=True, slots=True)
class Rollout:
    """A release that is rolled out. `offices` are those that a person named; None means all
    offices, in stages."""

    version: str
    serial: int
    by: str
    began: str
    offices: tuple[str, ...] | None = None
    updated: Mapping[str, str] = field(default_factory=dict)
    """By office: when the hub found that it runs the release."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """By office: why it rolled back or refused. One failure halts the other offices."""

    def with_updated(self, office: str, at: datetime) -> Rollout:
        """The rollout after an office was found to run the release."""
        return replace(self, updated={**self.updated, office: format_utc(at)})

    def with_failed(self, office: str, why: str) -> Rollout:
        """The rollout after an office refused the release or rolled it back."""
        return replace(self, failed={**self.failed, office: why})

    def is_over(self, office: str) -> bool:
        """Whether the rollout has ended for an office."""
        return office in self.updated or office in self.failed

    def due(
        self, agents: Sequence[str], first: Sequence[str], soak: float, now: datetime
    ) -> list[str]:
        """The offices that may get it now; none once an office has failed.

        `agents` are the offices with an agent, `first` those that get it before all others, and
        `soak` the seconds for which it must run there.

        >>> from datetime import UTC
        >>> noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
        >>> one = Rollout("0.2.0", 7, "e", format_utc(noon))
        >>> one.due(["potka", "boram"], [], 3600, noon)
        ['potka']
        >>> one = one.with_updated("potka", noon)
        >>> [one.due(["potka", "boram"], [], 3600, noon + timedelta(minutes=m)) for m in (59, 60)]
        [[], ['boram']]
        >>> one.with_failed("boram", "it crashed").due(["potka", "dumaria"], [], 0, noon)
        []
        """
        if self.failed:
            return []
        if self.offices is not None:
            return [one for one in agents if one in self.offices and not self.is_over(one)]
        before = list(first) or list(agents[:1])
        waiting = [one for one in before if one in agents and not self.is_over(one)]
        if waiting:
            return waiting
        ran_since = [parse_utc(self.updated[one]) for one in before if one in self.updated]
        if ran_since and now < max(ran_since) + timedelta(seconds=soak):
            return []
        return [one for one in agents if not self.is_over(one)]


def read_rollout(directory: Path) -> Rollout | None:
    """Read the stored rollout; None if there is none. Raises `UserError`."""
    path = directory / FILE
    try:
        data: dict[str, Any] = json.loads(path.read_text("utf-8"))
        offices = data.pop("offices")
        return Rollout(**data, offices=None if offices is None else tuple(offices))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it, and offer again") from None


def write_rollout(directory: Path, rollout: Rollout | None) -> None:
    """Store the rollout, so that it survives a restart of the hub; raises `UserError`."""
    if rollout is None:
        (directory / FILE).unlink(missing_ok=True)
    else:
        write_secret(directory / FILE, json.dumps(asdict(rollout)) + "\n", replace=True)
