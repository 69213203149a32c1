"""The fault ledger: what was reported to the operator, and how long it took to restore the line.

Each entry of the ledger is an event that the hash chain seals. A fault is the combination of its
entries; of several values of a field the last counts. Nothing is overwritten: an earlier value
stays in its entry. Pure, so that a dossier derives the same from the same events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from jharnet_monitor.config import Config, Office
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState, format_utc, parse_utc

FAULT = "fault"
"""Kind of the events."""
OF_THE_LINE = (OfficeState.LINK_DOWN, OfficeState.UNREACHABLE)
"""Outages that the operator may have to repair; `unreachable` until the cause is known."""
REPORTED_LATE = timedelta(days=1)
"""How long after an outage's end it may still be reported as that outage."""
EDGE = timedelta(minutes=5)
"""Largest difference between the booked start of an outage and the measured one."""
REPEATS = timedelta(days=90)
"""Faults of one office within this time are repeats."""
TEXTS = ("docket", "reported_by", "reported_to", "note")
MOMENTS = ("reported_at", "began_at", "restored_at")


class StopReason(StrEnum):
    """Why the operator's clock is stopped: what the operator cannot repair."""

    POWER = "power"
    ACCESS = "access"
    """The operator's staff had no access."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A period that does not count against the operator; `end` is None while it lasts."""

    begin: datetime
    end: datetime | None
    reason: StopReason

    def to_json(self) -> dict[str, Any]:
        """As an entry holds it."""
        end = None if self.end is None else format_utc(self.end)
        return {"from": format_utc(self.begin), "to": end, "reason": self.reason.value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stop:
        """Read it back; raises `ValueError`, `KeyError` or `TypeError`."""
        end = data["to"]
        reason = StopReason(data["reason"])
        return cls(parse_utc(data["from"]), None if end is None else parse_utc(end), reason)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, as combined from its entries."""

    id: str
    """The office's id and the fault's number there: `potka-3`."""
    office: str
    reported_at: datetime
    docket: str = ""
    """The operator's docket number."""
    reported_by: str = ""
    reported_to: str = ""
    began_at: datetime | None = None
    restored_at: datetime | None = None
    note: str = ""
    stops: tuple[Stop, ...] = ()
    withdrawn: bool = False
    """Booked by mistake: it is not counted."""
    entries: int = 1

    def seconds(self, until: datetime) -> float:
        """Seconds from the report to the restoration, or to `until` while it is open, without
        stopped time.
        """
        end = until if self.restored_at is None else self.restored_at
        stopped = _union((one.begin, one.end or end) for one in self.stops)
        standing = sum(
            max((min(last, end) - max(first, self.reported_at)).total_seconds(), 0.0)
            for first, last in stopped
        )
        return max((end - self.reported_at).total_seconds() - standing, 0.0)

    def to_json(self) -> dict[str, Any]:
        """As the API gives it."""

        def moment(at: datetime | None) -> str | None:
            return None if at is None else format_utc(at)

        return {
            "id": self.id,
            "office": self.office,
            **{name: getattr(self, name) for name in TEXTS},
            **{name: moment(getattr(self, name)) for name in MOMENTS},
            "stops": [one.to_json() for one in self.stops],
            "withdrawn": self.withdrawn,
        }


def _union(times: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """The periods in order, overlapping ones joined."""
    joined: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(times):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end)
        else:
            joined.append((begin, end))
    return joined


def ledger(events: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Fault]:
    """The faults of a ledger, ordered by report time. `events` are pairs of office and entry data,
    in order. Raises `ValueError` for an entry that cannot be read.
    """
    found: dict[str, Fault] = {}
    for office, data in events:
        try:
            name, values = data["fault"], _fields(data["set"])
            known = found.get(name)
            if known is None:
                found[name] = Fault(id=str(name), office=office, **values)
            else:
                found[name] = replace(known, entries=known.entries + 1, **values)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"an entry of the fault ledger cannot be read: {error!r}") from error
    valid = (one for one in found.values() if not one.withdrawn)
    return sorted(valid, key=lambda one: (one.reported_at, one.id))


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a fault that an entry sets."""
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if name in MOMENTS:
            fields[name] = None if value is None else parse_utc(value)
        elif name in TEXTS:
            fields[name] = str(value)
        elif name == "stops":
            fields[name] = tuple(Stop.from_json(one) for one in value)
        elif name == "withdrawn":
            fields[name] = bool(value)
        else:
            raise ValueError(f"unknown field {name!r}")
    return fields


def next_id(office: str, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """The id of an office's next fault."""
    known = {data["fault"] for name, data in entries if name == office}
    return f"{office}-{len(known) + 1}"


def restore_limit(config: Config, office: Office) -> float:
    """The time in which the operator must restore an office's line, in seconds."""
    own = None if office.link is None else office.link.restore_within
    return config.thresholds.restore_within if own is None else own


def measured_outage(fault: Fault, spans: Sequence[Span]) -> Span | None:
    """The measured outage that was reported: the one at the booked start, else the last that had
    started by the time of the report and had not ended more than a day before.
    """
    out = [span for span in spans if span.state in OF_THE_LINE]
    if fault.began_at is not None:
        at = fault.began_at
        return next((s for s in out if s.start - EDGE <= at < s.end), None)
    before = [s for s in out if s.start <= fault.reported_at <= s.end + REPORTED_LATE]
    return before[-1] if before else None


@dataclass(frozen=True, slots=True)
class JudgedFault:
    """A fault with the measured outage, and the operator's time for it."""

    fault: Fault
    outage: Span | None
    over_at: datetime | None
    """When the measured outage ended; proposed as the time of restoration."""
    seconds: float
    """Time to restore so far, without stopped time."""
    limit: float
    repeats: int
    """Faults of this office in the `REPEATS` up to this one, itself included."""

    @property
    def within(self) -> bool:
        """Whether the operator's time was kept, so far."""
        return self.seconds <= self.limit

    @property
    def is_open(self) -> bool:
        """Whether no restoration is booked yet."""
        return self.fault.restored_at is None


@dataclass(frozen=True, slots=True)
class Unbooked:
    """An outage longer than the operator's time without a booked fault; one is proposed."""

    office: str
    outage: Span


def judge_faults(
    config: Config, faults: Sequence[Fault], spans: Mapping[str, Sequence[Span]], until: datetime
) -> list[JudgedFault]:
    """Each fault with its measured outage; `spans` are the states of each office."""
    offices = {office.id: office for office in config.offices}
    found = []
    for one in faults:
        if one.office not in offices:
            continue
        outage = measured_outage(one, spans.get(one.office, ()))
        over = outage is not None and outage.end < until
        found.append(
            JudgedFault(
                fault=one,
                outage=outage,
                over_at=outage.end if outage is not None and over else None,
                seconds=one.seconds(until),
                limit=restore_limit(config, offices[one.office]),
                repeats=sum(
                    other.office == one.office
                    and one.reported_at - REPEATS < other.reported_at <= one.reported_at
                    for other in faults
                ),
            )
        )
    return found


def unbooked(
    config: Config,
    faults: Sequence[Fault],
    spans: Mapping[str, Sequence[Span]],
    own: Mapping[str, Sequence[Span]],
) -> list[Unbooked]:
    """The outages of the line that exceeded the operator's time and are not booked. `spans` are
    those that a fault may be booked for, `own` those that are charged to each office.
    """
    found = []
    for office in config.offices:
        measured = spans.get(office.id, ())
        booked = [measured_outage(one, measured) for one in faults if one.office == office.id]
        limit = restore_limit(config, office)
        found += [
            Unbooked(office.id, span)
            for span in own.get(office.id, ())
            if span.state in OF_THE_LINE
            and (span.end - span.start).total_seconds() > limit
            and not any(one and one.start <= span.start and span.end <= one.end for one in booked)
        ]
    return sorted(found, key=lambda one: (one.outage.start, one.office))
