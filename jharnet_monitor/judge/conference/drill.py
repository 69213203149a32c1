"""A drill: the record of a conference with every office at the same time, and how it is judged.

Pages, signed sheet, weekly report and dossier all judge a drill with the functions at the end.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

from jharnet_monitor.model import MADE_UP, Direction, Outcome, format_utc, parse_utc
from jharnet_monitor.profiles import Profile

LIMITED_BY_UPLINK = "uplink"
"""`limited_by` of a call that headquarters' own line held back."""
BEING_STORED = "it is being stored"
"""`unstored` of a drill that has just ended."""


class DrillState(StrEnum):
    """Whether a drill is over."""

    RUNNING = "running"
    DONE = "done"
    """It was held to its end."""
    STOPPED = "stopped"
    """It broke off: the hub was stopped, or a result could not be recorded."""


class DrillPhase(StrEnum):
    """What a running drill does."""

    WAITING = "waiting"
    """Until the running tests have released headquarters' line."""
    CONFERENCE = "conference"
    """Headquarters sends to all offices and receives from all."""
    GALLERY = "gallery"
    """Each office receives small pictures of all others, and sends its own."""


class StartedBy(StrEnum):
    """Who started a drill."""

    HAND = "hand"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class DrillDirection:
    """One direction of a call that is over: its quantities, named without `down_` or `up_`."""

    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))

    @property
    def bits_per_second(self) -> float | None:
        """What arrived at the end of the call, as IP rate."""
        return self.values.get("bits_per_second")

    @property
    def capacity_bits_per_second(self) -> float | None:
        """What arrived when the call had to step down; None if it never had to."""
        return self.values.get("capacity_bits_per_second")

    @property
    def stepped_after_seconds(self) -> float | None:
        """When in the call it had to step down for the last time; None if it never had to."""
        return self.values.get("stepped_after_seconds")

    @property
    def video_loss_ratio(self) -> float | None:
        """Lost video packets / sent ones."""
        return self.values.get("video_loss_ratio")

    @property
    def height(self) -> float | None:
        """Lines of the picture."""
        return self.values.get("height")

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> DrillDirection:
        """Read the contract's form; raises `ValueError` for what is no number."""
        return cls({name: _required_number(data or {}, name) for name in data or {}})


@dataclass(frozen=True, slots=True)
class LiveCallDirection:
    """One direction of a call that runs; None where there is no figure yet."""

    height: int | None
    """Lines of the picture; 0 for none."""
    bits_per_second: float | None

    def to_json(self) -> dict[str, Any]:
        """The contract's form."""
        return {"height": self.height, "bits_per_second": self.bits_per_second}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LiveCallDirection:
        """Read the contract's form."""
        return cls(_count(data, "height"), _number(data, "bits_per_second"))


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call that runs, as it stood within the last second; `down` is towards the office."""

    seconds: float
    """Since the first media packet."""
    down: LiveCallDirection
    up: LiveCallDirection
    rtt_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The contract's form."""
        return {
            "seconds": self.seconds,
            "down": self.down.to_json(),
            "up": self.up.to_json(),
            "rtt_seconds": self.rtt_seconds,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LiveCall:
        """Read the contract's form."""
        return cls(
            seconds=_required_number(data, "seconds"),
            down=LiveCallDirection.from_json(data["down"]),
            up=LiveCallDirection.from_json(data["up"]),
            rtt_seconds=_number(data, "rtt_seconds"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillCall:
    """The result of one call of a drill; `outcome` is None until it is over."""

    outcome: Outcome | None = None
    cause: str | None = None
    limited_by: str | None = None
    worse_way: Direction | None = None
    """The direction that set the grade."""
    down: DrillDirection = DrillDirection()
    """Towards the office."""
    up: DrillDirection = DrillDirection()
    """From the office."""
    measurement: str | None = None
    """The id of the call's measurement."""

    def direction(self, direction: Direction) -> DrillDirection:
        """What arrived in one direction."""
        return self.down if direction is Direction.DOWN else self.up


@dataclass(frozen=True, slots=True)
class DrillGallery(DrillCall):
    """An office's gallery call. It has no grade: no office sends HD in a gallery."""

    pictures: int | None = None
    """How many of all small pictures the office's line carried; None where that is not known."""

    def to_json(self) -> dict[str, Any]:
        """The contract's form."""
        return _call_json(self) | {"pictures": self.pictures}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DrillGallery:
        """Read the contract's form."""
        return cls(pictures=_count(data, "pictures"), **_call(data))


@dataclass(frozen=True, slots=True)
class DrillOffice(DrillCall):
    """One office in a drill: its conference call, and its gallery call after it."""

    office: str
    joined: bool = False
    """Whether its call was established."""
    grade: float | None = None
    """0 to 4, as measured."""
    gallery: DrillGallery | None = None
    live: LiveCall | None = None
    """While its call runs."""
    borderline: int | None = None
    """The other grade that the call may as well have, if the twin answered."""

    def to_json(self) -> dict[str, Any]:
        """The contract's form; `live`, `measurement` and `borderline_grade` only where there is
        one.
        """
        live = {} if self.live is None else {"live": self.live.to_json()}
        other = {} if self.borderline is None else {"borderline_grade": self.borderline}
        return {
            "office": self.office,
            "joined": self.joined,
            **_call_json(self),
            "grade": self.grade,
            "gallery": None if self.gallery is None else self.gallery.to_json(),
            **live,
            **other,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DrillOffice:
        """Read the contract's form."""
        gallery, live = data.get("gallery"), data.get("live")
        return cls(
            office=_text(data, "office"),
            joined=bool(data["joined"]),
            grade=_number(data, "grade"),
            gallery=None if gallery is None else DrillGallery.from_json(gallery),
            live=None if live is None else LiveCall.from_json(live),
            borderline=_count(data, "borderline_grade"),
            **_call(data),
        )


@dataclass(frozen=True, slots=True)
class UplinkDirection:
    """What headquarters' own line carried of all calls together in one direction; rates in bit/s.

    If no call was held to its end, only `peak_rate` is known and the rest is None.
    """

    rate: float | None = None
    """At the end of the conference."""
    peak_rate: float | None = None
    """The most that arrived of all calls within the same second."""
    full: bool | None = None
    """This line was the limit, not the offices' own lines."""
    supported_calls: int | None = None
    """How many calls of the drill's profile it carries; if it was not full, at least this many."""
    held_back: tuple[str, ...] | None = None
    """Offices that received less than their own lines carry."""
    gallery_rate: float | None = None
    """Of all gallery calls together."""

    def to_json(self, way: Direction) -> dict[str, Any]:
        """The contract's form, each key with the direction's name before it."""
        return {
            f"{way}_bits_per_second": self.rate,
            f"{way}_most_bits_per_second": self.peak_rate,
            f"{way}_full": self.full,
            f"{way}_calls": self.supported_calls,
            f"{way}_held_back": None if self.held_back is None else list(self.held_back),
            f"{way}_gallery_bits_per_second": self.gallery_rate,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], way: Direction) -> UplinkDirection | None:
        """Read the contract's form; None if it has nothing about this direction."""
        if not any(name.startswith(f"{way}_") for name in data):
            return None
        full, held_back = data.get(f"{way}_full"), data.get(f"{way}_held_back")
        return cls(
            rate=_number(data, f"{way}_bits_per_second"),
            peak_rate=_number(data, f"{way}_most_bits_per_second"),
            full=None if full is None else bool(full),
            supported_calls=_count(data, f"{way}_calls"),
            held_back=None if held_back is None else tuple(str(office) for office in held_back),
            gallery_rate=_number(data, f"{way}_gallery_bits_per_second"),
        )


@dataclass(frozen=True, slots=True)
class UplinkLoad:
    """Headquarters' own line, which all calls share; rates in bit/s."""

    contracted: float | None = None
    wanted: float | None = None
    """Of one call of the drill's profile; None until the drill is over."""
    down: UplinkDirection | None = None
    """Towards the offices; None until the drill is over."""
    up: UplinkDirection | None = None

    def direction(self, direction: Direction) -> UplinkDirection | None:
        """One direction."""
        return self.down if direction is Direction.DOWN else self.up

    def to_json(self) -> dict[str, Any]:
        """The contract's form; what is known only after the drill is left out before."""
        data: dict[str, Any] = {"contracted_bits_per_second": self.contracted}
        if self.wanted is not None:
            data["wanted_bits_per_second"] = self.wanted
        for direction in Direction:
            load = self.direction(direction)
            if load is not None:
                data |= load.to_json(direction)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> UplinkLoad:
        """Read the contract's form."""
        return cls(
            contracted=_number(data, "contracted_bits_per_second"),
            wanted=_number(data, "wanted_bits_per_second"),
            down=UplinkDirection.from_json(data, Direction.DOWN),
            up=UplinkDirection.from_json(data, Direction.UP),
        )


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill. While it runs, each change is a new record (`dataclasses.replace`).

    >>> drill = Drill("d1", DrillState.DONE, Profile.P720, parse_utc("2026-11-25T06:00:00Z"),
    ...               (DrillOffice("potka", joined=True, grade=3.0),))
    >>> drill.to_json()["offices"][0]["grade"]
    3.0
    >>> Drill.from_json(drill.to_json()) == drill
    True
    """

    id: str
    state: DrillState
    profile: Profile
    started_at: datetime
    offices: tuple[DrillOffice, ...]
    uplink: UplinkLoad = UplinkLoad()
    minutes: float | None = None
    """Length of the conference; None in records without it."""
    by: StartedBy | None = None
    phase: DrillPhase | None = None
    """While it runs."""
    pictures: int | None = None
    """Small pictures that each office receives in the gallery; None without a gallery."""
    absent: tuple[str, ...] | None = None
    """Offices whose calls were not established; None until the drill is over."""
    unstored: str | None = None
    """Why a drill that is over is not in the database; None once it is, and while it runs."""
    made_up: bool = False
    """It never took place: it belongs to the past of `demo --history`."""
    refused: bool = False
    """The database refuses it for good, so that nobody tries again; `unstored` says why."""
    unsummarised: str | None = None
    """Why nothing is said of headquarters' line: the summary failed. The offices' results stand."""
    at_once: int | None = None
    """Most calls at a time; None where all offices were called at once."""

    @property
    def running(self) -> bool:
        """Whether it is not over yet."""
        return self.state is DrillState.RUNNING

    @property
    def rounds(self) -> int:
        """How many groups of offices were called one after another.

        >>> offices = tuple(DrillOffice(name) for name in "abcde")
        >>> at = parse_utc("2026-11-25T06:00:00Z")
        >>> drill = Drill("d1", DrillState.DONE, Profile.P720, at, offices)
        >>> drill.rounds, replace(drill, at_once=2).rounds
        (1, 3)
        """
        return calling_rounds(len(self.offices), self.at_once)

    @property
    def joined(self) -> tuple[DrillOffice, ...]:
        """The offices that took part."""
        return tuple(office for office in self.offices if office.joined)

    def office(self, office_id: str) -> DrillOffice:
        """One office; raises `KeyError` for one that is not in the drill."""
        for office in self.offices:
            if office.office == office_id:
                return office
        raise KeyError(office_id)

    def with_office(self, changed: DrillOffice) -> Drill:
        """The drill with another record of one office."""
        offices = (changed if one.office == changed.office else one for one in self.offices)
        return replace(self, offices=tuple(offices))

    def to_json(self) -> dict[str, Any]:
        """The form of the contract, as the API answers it and the store keeps it."""
        optional = {
            "phase": self.phase,
            "minutes": self.minutes,
            "by": self.by,
            "pictures": self.pictures,
            "absent": None if self.absent is None else list(self.absent),
            "unstored": self.unstored,
            MADE_UP: self.made_up or None,
            "refused": self.refused or None,
            "unsummarised": self.unsummarised,
            "at_once": self.at_once,
        }
        return {
            "id": self.id,
            "state": self.state.value,
            "profile": self.profile.value,
            "started_at": format_utc(self.started_at),
            **{name: value for name, value in optional.items() if value is not None},
            "offices": [office.to_json() for office in self.offices],
            "uplink": self.uplink.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Drill:
        """Read the contract's form, with or without its optional keys, so that records of earlier
        versions can be read; raises `ValueError` that names what is wrong.
        """
        try:
            by, phase, absent = data.get("by"), data.get("phase"), data.get("absent")
            return cls(
                id=_text(data, "id"),
                state=DrillState(data["state"]),
                profile=Profile.named(data["profile"]),
                started_at=parse_utc(_text(data, "started_at")),
                offices=tuple(DrillOffice.from_json(office) for office in data["offices"]),
                uplink=UplinkLoad.from_json(data.get("uplink") or {}),
                minutes=_number(data, "minutes"),
                by=None if by is None else StartedBy(by),
                phase=None if phase is None else DrillPhase(phase),
                pictures=_count(data, "pictures"),
                absent=None if absent is None else tuple(str(office) for office in absent),
                unstored=data.get("unstored"),
                made_up=data.get(MADE_UP) is True,
                refused=bool(data.get("refused")),
                unsummarised=data.get("unsummarised"),
                at_once=_count(data, "at_once"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a drill: {error!r}") from error


def calling_rounds(offices: int, at_once: int | None) -> int:
    """How many groups so many offices are called in, at most `at_once` at a time."""
    return 1 if at_once is None else max(1, math.ceil(offices / at_once))


def last_held(drills: Sequence[Drill]) -> Drill:
    """Of one or more drills by their beginning the last one held to its end; the last one where
    none was.
    """
    return next((one for one in reversed(drills) if one.state is DrillState.DONE), drills[-1])


def required_grade(profile: Profile, wanted: int) -> int:
    """The grade with which an office passes: the district's own (`wanted`), as far as a drill of
    that profile can show it.

    >>> required_grade(Profile.P180, 3), required_grade(Profile.P720, 3)
    (2, 3)
    """
    return min(wanted, profile.best_grade)


def passed(office: DrillOffice, required: int) -> bool:
    """Whether an office held the conference with at least the `required_grade`."""
    return office.outcome is Outcome.OK and office.grade is not None and office.grade >= required


def limit_on_shared_line(
    office: DrillOffice, uplink: UplinkDirection, alone: float | None
) -> str | None:
    """What limited a call whose worse direction went over headquarters' line.

    A full headquarters' line is not charged to the office: the limit is `uplink` if the office's
    own line carries more `alone` (bit/s), and `unknown` if that was never tested.
    """
    if office.limited_by != "rate" or not uplink.full:
        return office.limited_by
    if office.office in (uplink.held_back or ()):
        return LIMITED_BY_UPLINK
    return "unknown" if alone is None else office.limited_by


@dataclass(frozen=True, slots=True)
class SupportedCalls:
    """How many calls of the drill's profile headquarters' line supports in one direction."""

    bound: Literal["about", "at_least", "none"]
    calls: int


def supported_calls(uplink: UplinkDirection | None) -> SupportedCalls | None:
    """How many calls headquarters' line supports in one direction; None where that is not known.

    >>> supported_calls(UplinkDirection(full=True, supported_calls=0))
    SupportedCalls(bound='none', calls=0)
    >>> supported_calls(UplinkDirection(full=False, supported_calls=0)) is None
    True
    """
    if uplink is None or uplink.supported_calls is None:
        return None
    calls = uplink.supported_calls
    if uplink.full:
        return SupportedCalls("about" if calls else "none", calls)
    return SupportedCalls("at_least", calls) if calls else None


def _call_json(call: DrillCall) -> dict[str, Any]:
    """What all calls have; `measurement` only where there is one."""
    data = {
        "outcome": None if call.outcome is None else call.outcome.value,
        "cause": call.cause,
        "limited_by": call.limited_by,
        "worse_way": call.worse_way,
        "up": dict(call.up.values),
        "down": dict(call.down.values),
    }
    return data if call.measurement is None else data | {"measurement": call.measurement}


def _call(data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `DrillCall`."""
    outcome, worse_way = data.get("outcome"), data.get("worse_way")
    texts = ("cause", "limited_by", "measurement")
    return {
        "outcome": None if outcome is None else Outcome(outcome),
        "worse_way": Direction(worse_way) if worse_way else None,
        "down": DrillDirection.from_json(data.get("down")),
        "up": DrillDirection.from_json(data.get("up")),
        **{name: _text(data, name) if data.get(name) else None for name in texts},
    }


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a text")
    return value


def _number(data: Mapping[str, Any], key: str) -> float | None:
    """A number as it was written; None if it is missing."""
    return None if data.get(key) is None else _required_number(data, key)


def _required_number(data: Mapping[str, Any], key: str) -> float:
    value = data[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{key} must be a number")
    return value


def _count(data: Mapping[str, Any], key: str) -> int | None:
    value = _number(data, key)
    return None if value is None else int(value)
