"""The claims: all figures of the letter and the sheets, and their form in `claims.json`.

The documents are made from these claims and from nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jharnet_monitor.dossier.assessment_json import (
    assessment_from_json,
    assessment_to_json,
    interval_from_json,
    interval_to_json,
    rounded,
)
from jharnet_monitor.judge.line.assess import Assessment
from jharnet_monitor.judge.line.verdict import LineVerdict
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.model import MADE_UP, Direction, OfficeState, format_utc, parse_utc


@dataclass(frozen=True, slots=True)
class ConferenceClaims:
    """What the conference tests of an office came to (see `report.data.summary.Conference`)."""

    grade: int | None
    tests: int
    missed: int
    outside_hours: bool
    limited_by: str | None
    cause: str | None
    able: Interval | None
    """Share of the tests that reached the district's grade."""

    def to_json(self) -> dict[str, Any]:
        """As in `claims.json`."""
        return {
            "grade": self.grade,
            "tests": self.tests,
            "missed": self.missed,
            "outside_hours": self.outside_hours,
            "limited_by": self.limited_by,
            "cause": self.cause,
            "able": interval_to_json(self.able),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConferenceClaims:
        """Read what `to_json` has written."""
        return cls(**{**data, "able": interval_from_json(data["able"])})


@dataclass(frozen=True, slots=True)
class LatencyClaims:
    """Latency of an office's minutes, in seconds."""

    p50: Interval | None
    p95: Interval | None
    jitter: Interval | None

    def to_json(self) -> dict[str, Any]:
        """As in `claims.json`."""
        return {
            "p50": interval_to_json(self.p50),
            "p95": interval_to_json(self.p95),
            "jitter": interval_to_json(self.jitter),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LatencyClaims:
        """Read what `to_json` has written."""
        return cls(**{name: interval_from_json(figure) for name, figure in data.items()})


@dataclass(frozen=True, slots=True)
class RetestClaims:
    """Speed tests outside office hours before and after repetition.

    A test below the mark is repeated, and only the repetition counts; `first` are the medians if no
    test had been repeated, `counted` those of the tests that count, both in bit/s.
    """

    repeated: int
    """Tests at any time that were to be repeated."""
    first: Mapping[Direction, Interval | None]
    counted: Mapping[Direction, Interval | None]

    def to_json(self) -> dict[str, Any]:
        """As in `claims.json`."""
        return {
            "repeated": self.repeated,
            "first": {way.value: interval_to_json(one) for way, one in self.first.items()},
            "counted": {way.value: interval_to_json(one) for way, one in self.counted.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RetestClaims:
        """Read what `to_json` has written."""
        ways = {
            name: {Direction(way): interval_from_json(figure) for way, figure in data[name].items()}
            for name in ("first", "counted")
        }
        return cls(**{**data, **ways})


@dataclass(frozen=True, slots=True)
class AvailabilityClaims:
    """An office's time by state; ratios are None where nothing is known."""

    ratio: float | None
    without_power: float | None
    coverage: float | None
    worst: float | None
    """The ratio if all time that is not known were down."""
    best: float | None
    """The ratio if all time that is not known were up."""
    seconds: Mapping[OfficeState, float]
    outages: Mapping[OfficeState, int]

    def to_json(self) -> dict[str, Any]:
        """As in `claims.json`."""
        return {
            "ratio": rounded(self.ratio),
            "without_power": rounded(self.without_power),
            "coverage": rounded(self.coverage),
            "worst": rounded(self.worst),
            "best": rounded(self.best),
            "seconds": {state.value: rounded(spent) for state, spent in self.seconds.items()},
            "outages": {state.value: times for state, times in self.outages.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AvailabilityClaims:
        """Read what `to_json` has written."""
        states = {
            name: {OfficeState(state): figure for state, figure in data[name].items()}
            for name in ("seconds", "outages")
        }
        return cls(**{**data, **states})


@dataclass(frozen=True, slots=True)
class OfficeClaims:
    """Everything that is claimed of one office."""

    measurements: int
    conference: ConferenceClaims
    latency: LatencyClaims
    availability: AvailabilityClaims
    retests: RetestClaims
    assessment: Assessment

    def to_json(self) -> dict[str, Any]:
        """As in `claims.json`, where the judgement on the line is kept with the rest."""
        return {
            "measurements": self.measurements,
            "conference": self.conference.to_json(),
            "latency": self.latency.to_json(),
            "availability": self.availability.to_json(),
            "retests": self.retests.to_json(),
            **assessment_to_json(self.assessment),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OfficeClaims:
        """Read what `to_json` has written."""
        return cls(
            measurements=data["measurements"],
            conference=ConferenceClaims.from_json(data["conference"]),
            latency=LatencyClaims.from_json(data["latency"]),
            availability=AvailabilityClaims.from_json(data["availability"]),
            retests=RetestClaims.from_json(data["retests"]),
            assessment=assessment_from_json(data),
        )


@dataclass(frozen=True, slots=True)
class DistrictClaims:
    """What is claimed of all offices together; moments are None where nothing was measured."""

    offices: int
    tested: int
    able: int
    measurements: int
    first: datetime | None
    last: datetime | None
    until: datetime
    verdicts: Mapping[LineVerdict, tuple[str, ...]]
    """The offices of each main verdict, by their ids."""

    def to_json(self) -> dict[str, Any]:
        """As in `claims.json`."""
        return {
            "offices": self.offices,
            "tested": self.tested,
            "able": self.able,
            "measurements": self.measurements,
            "first": None if self.first is None else format_utc(self.first),
            "last": None if self.last is None else format_utc(self.last),
            "until": format_utc(self.until),
            "verdicts": {verdict.value: list(names) for verdict, names in self.verdicts.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DistrictClaims:
        """Read what `to_json` has written."""
        moments = ("first", "last", "until")
        read = {name: None if data[name] is None else parse_utc(data[name]) for name in moments}
        verdicts = {LineVerdict(name): tuple(offices) for name, offices in data["verdicts"].items()}
        return cls(**{**data, **read, "verdicts": verdicts})


@dataclass(frozen=True, slots=True)
class DrillClaims:
    """How many offices took part in a drill, and how many of them passed."""

    id: str
    started_at: datetime
    offices: int
    joined: int
    able: int
    share: Interval | None
    """Of those that took part."""

    def to_json(self) -> dict[str, Any]:
        """As in `claims.json`."""
        return {
            "id": self.id,
            "started_at": format_utc(self.started_at),
            "offices": self.offices,
            "joined": self.joined,
            "able": self.able,
            "share": interval_to_json(self.share),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DrillClaims:
        """Read what `to_json` has written."""
        started_at, share = parse_utc(data["started_at"]), interval_from_json(data["share"])
        return cls(**{**data, "started_at": started_at, "share": share})


@dataclass(frozen=True, slots=True)
class Claims:
    """Everything that a dossier claims; `offices` by their ids, in the configuration's order."""

    offices: Mapping[str, OfficeClaims]
    district: DistrictClaims
    drills: tuple[DrillClaims, ...]
    made_up: bool = False
    """Nothing of it was measured, which the file then says."""

    def to_json(self) -> dict[str, Any]:
        """As in `claims.json`."""
        return {
            "offices": {name: one.to_json() for name, one in self.offices.items()},
            "district": self.district.to_json(),
            "drills": [drill.to_json() for drill in self.drills],
            **({MADE_UP: True} if self.made_up else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Claims:
        """Read what `to_json` has written, or a file of that form; figures are as written there.

        Raises `KeyError`, `TypeError`, `ValueError` or `AttributeError` for any other form.
        """
        return cls(
            offices={name: OfficeClaims.from_json(one) for name, one in data["offices"].items()},
            district=DistrictClaims.from_json(data["district"]),
            drills=tuple(DrillClaims.from_json(drill) for drill in data["drills"]),
            made_up=data.get(MADE_UP) is True,
        )

    @property
    def assessments(self) -> dict[str, Assessment]:
        """The judgement on each office's line."""
        return {name: one.assessment for name, one in self.offices.items()}
