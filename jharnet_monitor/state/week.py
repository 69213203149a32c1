"""A hub's signed results of one week for the state: its own judgements, one row per office.

The signed text is stored and forwarded unchanged, so that anyone who has the district's public key
can check the signature at any later time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.judge.calendar.period import week as week_named
from jharnet_monitor.judge.line.grounds import LineVerdict
from jharnet_monitor.model import parse_utc
from jharnet_monitor.report.sections.rating import Group
from jharnet_monitor.security.signing import is_signed, sign

PURPOSE = b"jharnet-monitor state week 1"
MOST_BYTES = 512_000
"""Size limit of a signed week; 1000 offices fit."""
MOST_OFFICES = 1000
ZONE = ZoneInfo("Asia/Kolkata")
"""The time zone in which the state's weeks begin."""

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Id = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")]
Ratio = Annotated[float, Field(ge=0, le=1)]
BitRate = Annotated[float, Field(ge=0, le=1e12)]
Number = Annotated[int, Field(ge=0, le=10_000_000)]


class WeekPart(BaseModel):
    """Base of a week's parts: immutable, and without unknown keys, infinities or NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class OfficeWeek(WeekPart):
    """One office; unknown values are null."""

    id: Id
    name: Name
    name_hi: Name
    subdivision: Name | None = None
    group: Group
    """Whether it can hold a conference of the grade that the district wants."""
    grade: Annotated[int, Field(ge=0, le=4)] | None
    calls: Number
    """Number of conference tests on which the grade is based."""
    availability: Ratio | None
    coverage: Ratio | None
    """Share of the time on which the availability is based."""
    promised: Ratio
    """Availability that the contract promises, or else the district's own threshold."""
    kept: bool | None
    """Whether the line kept the promise: power failures do not count; null if too little of the
    time was measured, or if outages decide of which the cause is not known."""
    outages: Number
    down_seconds: Annotated[float, Field(ge=0, le=1e6)]
    contracted: BitRate | None
    """Contracted speed towards the office, in bit/s."""
    delivered: BitRate | None
    """Median of the speed tests towards the office, in bit/s; null without tests outside office
    hours, since others measure what the office's own use leaves."""
    tests: Number
    rtt_seconds: Annotated[float, Field(ge=0, le=60)] | None
    loss: Ratio | None
    verdict: LineVerdict = Field(strict=False)
    """The action that the line needs."""
    slab: BitRate | None
    """The speed to order, in bit/s, if the verdict is an upgrade that the tariff offers."""


class DistrictWeek(WeekPart):
    """One district over one week."""

    format: Literal[1] = 1
    district: Id
    week: Annotated[str, Field(pattern=r"^\d{4}-W\d\d$")]
    made_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
    version: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[\w.+-]+$")]
    root: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None
    """Root of the hub's hash chain after the week's last sealed hour."""
    faults_open: Number
    made_up: bool = False
    """Whether the week comes from a demo."""
    offices: Annotated[tuple[OfficeWeek, ...], Field(max_length=MOST_OFFICES, strict=False)]

    @model_validator(mode="after")
    def _is_over(self) -> DistrictWeek:
        if self.made < self.period.end:
            raise ValueError("the results were made before the week ended")
        if len({office.id for office in self.offices}) < len(self.offices):
            raise ValueError("an office is listed twice")
        return self

    @property
    def made(self) -> datetime:
        """When the hub made it, in UTC."""
        return parse_utc(self.made_at)

    @property
    def period(self) -> Period:
        """The week; raises `ValueError`."""
        try:
            return week_named(self.week, ZONE)
        except UserError as error:
            raise ValueError(str(error)) from error


class SignedWeek(BaseModel):
    """A week as it is transmitted: the signed text, and its signature in base64."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    body: Annotated[str, Field(min_length=2, max_length=MOST_BYTES)]
    signature: Annotated[str, Field(min_length=88, max_length=88)]

    @property
    def sha256(self) -> str:
        """The hash of the signed text."""
        return hashlib.sha256(self.body.encode()).hexdigest()

    def read(self) -> DistrictWeek:
        """Parse the signed text without checking the signature; raises `UserError` in one line."""
        return read_week(self.body)

    def key_among(self, keys: Sequence[str]) -> str | None:
        """The one of these public keys that verifies the signature, or None."""
        body = self.body.encode()
        return next((k for k in keys if is_signed(k, PURPOSE, body, self.signature)), None)


def signed(week: DistrictWeek, key: Ed25519PrivateKey) -> SignedWeek:
    """Sign a week."""
    data = week.model_dump(mode="json")
    body = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return SignedWeek(body=body, signature=sign(key, PURPOSE, body.encode()))


def read_signed(text: bytes) -> SignedWeek:
    """Parse a signed week received over the network; raises `UserError`."""
    try:
        return SignedWeek.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"is no signed week: {_first(error)}") from None


def read_week(body: str) -> DistrictWeek:
    """Parse the week in a signed text; raises `UserError`."""
    try:
        return DistrictWeek.model_validate_json(body)
    except ValidationError as error:
        raise UserError(f"is no week of a district: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    problem: Any = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, problem["loc"])) or "the text"
    return f"{where[:100]}: {problem['msg'][:200]}"


def is_from_the_future(week: DistrictWeek, now: datetime) -> bool:
    """Whether the week claims to be made after `now`, by more than clocks may differ."""
    return week.made > now.astimezone(UTC) + timedelta(minutes=10)
