"""The rollout of a version to the agents: its offices, their order, and its progress."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.formats import moment
from jharnet_monitor.i18n.words import words
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
    unable: Mapping[str, str] = field(default_factory=dict)
    """By office: why its machine cannot get the release, which says nothing about the release."""
    lasted: Mapping[str, str] = field(default_factory=dict)
    """By updated office: when the hub found it connected with the release after its soak."""

    def with_updated(self, office: str, at: datetime) -> Rollout:
        """The rollout after an office was found to run the release."""
        return replace(self.with_able(office), updated={**self.updated, office: format_utc(at)})

    def with_lasted(self, running: Collection[str], soak: float, now: datetime) -> Rollout:
        """The rollout after these offices were found to be connected with the release; it is
        noted once of each that was updated at least `soak` seconds ago.
        """
        new = {
            one: format_utc(now)
            for one in running
            if one in self.updated
            and one not in self.lasted
            and now >= parse_utc(self.updated[one]) + timedelta(seconds=soak)
        }
        return replace(self, lasted={**self.lasted, **new}) if new else self

    def with_failed(self, office: str, why: str) -> Rollout:
        """The rollout after an office refused the release or rolled it back, maybe after it had
        kept it for a while.
        """
        updated = {one: at for one, at in self.updated.items() if one != office}
        lasted = {one: at for one, at in self.lasted.items() if one != office}
        failed = {**self.failed, office: why}
        return replace(self, updated=updated, lasted=lasted, failed=failed)

    def with_unable(self, office: str, why: str) -> Rollout:
        """The rollout after an office was found to be unable to get the release."""
        return replace(self, unable={**self.unable, office: why})

    def with_able(self, office: str) -> Rollout:
        """The rollout after an office that was unable became able."""
        left = {one: why for one, why in self.unable.items() if one != office}
        return replace(self, unable=left)

    def is_over(self, office: str) -> bool:
        """Whether the rollout has ended for an office."""
        return office in self.updated or office in self.failed or office in self.unable

    def concerns(self, office: str) -> bool:
        """Whether the release is offered to an office, now or in a later stage."""
        return self.offices is None or office in self.offices

    def is_same_offer(self, other: Rollout) -> bool:
        """Whether both are the same offer of the same release."""
        return (self.serial, self.began) == (other.serial, other.began)

    def due(
        self,
        agents: Sequence[str],
        first: Sequence[str],
        soak: float,
        now: datetime,
    ) -> list[str]:
        """The offices that may get it now; none once an office has failed.

        `agents` are the offices with an agent, `first` those that get it before all others, and
        `soak` the seconds that must pass after that. The others wait until each of the first has
        been connected with the release after that time.

        >>> from datetime import UTC
        >>> noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
        >>> later = noon + timedelta(hours=1)
        >>> one, agents = Rollout("0.2.0", 7, "e", format_utc(noon)), ["potka", "boram"]
        >>> one.due(agents, [], 3600, noon)
        ['potka']
        >>> ran = one.with_updated("potka", noon)
        >>> ran.due(agents, [], 3600, later)
        []
        >>> ran.with_lasted(["potka"], 3600, noon).due(agents, [], 3600, later)
        []
        >>> lasted = ran.with_lasted(["potka"], 3600, later)
        >>> lasted.due(agents, [], 3600, later)
        ['boram']
        >>> lasted.with_failed("boram", "it crashed").due([*agents, "dumaria"], [], 0, later)
        []

        An office that is unable is skipped, also among the first:

        >>> other = one.with_unable("potka", "it is for x86_64, and this is aarch64")
        >>> other.due([*agents, "dumaria"], ["potka"], 3600, noon)
        ['boram']
        """
        return self.stage(agents, first, soak, now).due

    def stage(
        self,
        agents: Sequence[str],
        first: Sequence[str],
        soak: float,
        now: datetime,
    ) -> Stage:
        """Like `due`, with the reason for which all other offices wait; times are in the zone of
        `now`.

        >>> from datetime import UTC
        >>> noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
        >>> one = Rollout("0.2.0", 7, "e", format_utc(noon)).with_updated("potka", noon)
        >>> one.stage(["potka", "boram"], [], 3600, noon).others_wait
        'waits until the soak of potka is over at 26.11.2026, 13:00 UTC'
        """
        if self.failed:
            return Stage([], f"halted: {', '.join(self.failed)} refused it or went back")
        left = [one for one in agents if not self.is_over(one)]
        if self.offices is not None:
            return Stage([one for one in left if one in self.offices], "not offered to this office")
        before = self._first(agents, first)
        waiting = [one for one in before if one in left]
        if waiting:
            return Stage(waiting, f"waits for {', '.join(waiting)} to run it")
        over = {one: parse_utc(self.updated[one]) + timedelta(seconds=soak) for one in before}
        last = max(over, key=lambda one: over[one], default=None)
        if last is not None and now < over[last]:
            at = moment(over[last], now.tzinfo, words("en"))
            return Stage([], f"waits until the soak of {last} is over at {at}")
        gone = [one for one in before if one not in self.lasted]
        if gone:
            return Stage([], f"waits for {', '.join(gone)} to be connected with it again")
        return Stage(left, "")

    def _first(self, agents: Sequence[str], first: Sequence[str]) -> list[str]:
        """The offices that get it before all others: of `first`, or else of all, those able to."""
        able = [one for one in agents if one not in self.unable]
        return [one for one in first if one in able] or able[:1]


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a rollout is: the offices that may get the release now, and why others wait."""

    due: list[str]
    others_wait: str


def read_rollout(directory: Path) -> Rollout | None:
    """Read the stored rollout; None if there is none. Raises `UserError`."""
    path = directory / FILE
    try:
        data: dict[str, Any] = json.loads(path.read_text("utf-8"))
        offices = data.pop("offices")
        known = {one.name for one in fields(Rollout)}  # a later hub may have stored more
        kept = {key: value for key, value in data.items() if key in known}
        return Rollout(**kept, offices=None if offices is None else tuple(offices))
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
