"""The schema of a lab file: what each direction of each link does to packets.

Unknown keys are rejected. Values are in SI units once read, and written with units again when
dumped, so that a dump can be read back.
"""

from __future__ import annotations

from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from jharnet_monitor.config.fields import Identifier
from jharnet_monitor.config.units import Duration, Rate, Ratio, parse_duration, parse_size
from jharnet_monitor.errors import UserError

MAX_OFFICES = 254
"""The number of an office is the third byte of its addresses."""

_RESERVED = ("headquarters", "hq", "uplink")


def _decimal(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _milliseconds(value: float) -> str:
    return _decimal(value * 1000) + " ms"


def _percent(value: float) -> str:
    return _decimal(value * 100) + "%"


def _megabits(value: float) -> str:
    return _decimal(value / 1e6) + " Mbit/s"


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def _expand_loss(value: object) -> object:
    """Expand the short form `1%` to `{mean: 1%}`."""
    return {"mean": value} if isinstance(value, str | int | float) else value


def _bucket_size(value: object) -> object:
    """Validate the size of a bucket: `190 kB`, or `1.5s` of its rate; kept as it is written."""
    try:
        parse_size(value)
    except ValueError:
        try:
            parse_duration(value)
        except ValueError:
            raise ValueError(f"must be like `190 kB` or `1.5s`, not `{value}`") from None
    return value


_Duration = Annotated[Duration, PlainSerializer(_milliseconds)]
_Ratio = Annotated[Ratio, PlainSerializer(_percent)]
_Rate = Annotated[Rate, AfterValidator(_positive), PlainSerializer(_megabits)]


class _LabModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Loss(_LabModel):
    """Packets lost on the line: independently, or with `burst` in bursts (Gilbert-Elliott).

    `mean` is the share of all packets that is lost, `burst` the mean number lost in a row. Within a
    burst all packets are lost, outside of it none.
    """

    mean: _Ratio = 0.0
    burst: Annotated[float, Field(ge=1, le=10_000)] | None = None

    @model_validator(mode="after")
    def _burst_is_long_enough(self) -> Loss:
        if self.burst and self.mean >= self.burst / (1 + self.burst):
            raise ValueError(
                f"bursts of {self.burst:g} packets cannot lose {_percent(self.mean)}: "
                "lower `mean` or lengthen `burst`"
            )
        return self


class Bucket(_LabModel):
    """A token bucket before the line: `rate` in the long run, `size` at once.

    `size` is in bytes, or in seconds of the rate. Without a `queue` it is a policer, which drops a
    packet for which there are no tokens; with one it is a shaper, in which such a packet waits for
    at most that time. With a line that is faster than the bucket's rate this is also what operators
    sell as a burst: the line's rate until the bucket is spent, then the bucket's.
    """

    rate: _Rate
    size: Annotated[str, BeforeValidator(_bucket_size)]
    queue: _Duration = 0.0

    @property
    def bytes(self) -> float:
        """The size in bytes."""
        try:
            return float(parse_size(self.size))
        except ValueError:
            return parse_duration(self.size) * self.rate / 8


class LinkDirection(_LabModel):
    """One direction of a link. A packet waits in the queue, is sent at `rate`, then delayed.

    A token `bucket`, if there is one, stands before the queue. Without `rate` any number of packets
    is sent at once. `queue` is the longest time that a packet may wait; beyond it, packets are
    dropped at the tail. The delay is drawn uniformly from `delay` ± `jitter`. Packets never
    overtake each other: one that would arrive before its predecessor arrives together with it. Lost
    packets also use the line.
    """

    delay: _Duration = 0.0
    jitter: _Duration = 0.0
    loss: Annotated[Loss, BeforeValidator(_expand_loss)] = Loss()
    rate: _Rate | None = None
    queue: _Duration = 0.2
    bucket: Bucket | None = None

    @model_validator(mode="after")
    def _jitter_within_delay(self) -> LinkDirection:
        if self.jitter > self.delay:
            raise ValueError("`jitter` must not be more than `delay`")
        return self

    def changed(self, key: str, value: object) -> LinkDirection:
        """A copy with one key changed; raises `UserError` that names the valid keys or values."""
        if key not in LinkDirection.model_fields:
            known = ", ".join(LinkDirection.model_fields)
            raise UserError(f"unknown key `{key}`; a direction has {known}")
        try:
            return LinkDirection.model_validate(self.model_dump() | {key: value})
        except ValidationError as error:
            raise UserError(f"`{key}` {_reason(error)}") from None


class Blackout(_LabModel):
    """Nothing passes for the time `for`: `at` that time after the start, then repeated `every`."""

    at: _Duration
    for_: Annotated[_Duration, AfterValidator(_positive)] = Field(alias="for")
    every: Annotated[_Duration, AfterValidator(_positive)] | None = None

    @model_validator(mode="after")
    def _ends_before_next(self) -> Blackout:
        if self.every is not None and self.every <= self.for_:
            raise ValueError("`every` must be longer than `for`")
        return self


class LinkSpec(_LabModel):
    """Both directions of a link. `down` is towards the office or, on the uplink, headquarters."""

    down: LinkDirection = LinkDirection()
    up: LinkDirection = LinkDirection()
    blackouts: tuple[Blackout, ...] = ()
    congestion_control: str | None = None
    """For TCP in the namespaces at this end; the lab's if not set."""


class LabSpec(_LabModel):
    """The lab file."""

    seed: int = 1
    """Seed of all random draws: the same seed and packets give the same losses."""
    congestion_control: str | None = None
    """For TCP in all namespaces; the kernel's default if not set."""
    uplink: LinkSpec = LinkSpec()
    offices: Annotated[dict[Identifier, LinkSpec], Field(min_length=1, max_length=MAX_OFFICES)]

    @model_validator(mode="after")
    def _no_reserved_office_names(self) -> LabSpec:
        for name in _RESERVED:
            if name in self.offices:
                raise ValueError(f"no office may be named `{name}`: the lab uses that name itself")
        return self


def _reason(error: ValidationError) -> str:
    return error.errors()[0]["msg"].removeprefix("Value error, ")


def parse_spec(data: object, source: str = "lab") -> LabSpec:
    """Validate a lab given as plain data; raises `UserError` that names the key.

    `source` is the origin of the data in the error message.
    """
    try:
        return LabSpec.model_validate(data)
    except ValidationError as error:
        path = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{source}: {path}: {_reason(error)}") from None


def parse_setting(text: str) -> tuple[str, str, Any]:
    """Parse `down.loss=2%` into direction, key and value; raises `UserError`.

    >>> parse_setting("down.loss={mean: 2%, burst: 4}")
    ('down', 'loss', {'mean': '2%', 'burst': 4})
    """
    path, equals, value = text.partition("=")
    direction, _, key = path.strip().partition(".")
    if not equals or direction not in ("up", "down") or not key:
        raise UserError(f"`{text}` must be like `down.loss=2%` or `up.rate=4 Mbit/s`")
    try:
        return direction, key, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError):
        # PyYAML converts `0b_` and `!!bool x` unchecked
        raise UserError(f"`{value}` is not a value: write it like `2%` or `10 Mbit/s`") from None
