"""The shape of a lab file: what each direction of each link does to packets.

Strict and frozen; SI units once read, and units again when dumped, so that a dump can be read.
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
from jharnet_monitor.config.units import Duration, Rate, Ratio
from jharnet_monitor.errors import UserError

MAX_OFFICES = 254
"""An office's number is the third byte of its addresses."""

_RESERVED = ("headquarters", "hq", "uplink")


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _seconds(value: float) -> str:
    return _number(value * 1000) + " ms"


def _percent(value: float) -> str:
    return _number(value * 100) + "%"


def _megabits(value: float) -> str:
    return _number(value / 1e6) + " Mbit/s"


def _positive(value: float) -> float:
    if value <= 0:
        raise ValueError("must be more than 0")
    return value


def _bare_share(value: object) -> object:
    """`1%` is short for `{mean: 1%}`."""
    return {"mean": value} if isinstance(value, str | int | float) else value


_Duration = Annotated[Duration, PlainSerializer(_seconds)]
_Ratio = Annotated[Ratio, PlainSerializer(_percent)]
_Rate = Annotated[Rate, AfterValidator(_positive), PlainSerializer(_megabits)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Loss(_Section):
    """Packets lost on the line: each by itself, or with `burst` in bursts (Gilbert-Elliott).

    `mean` is the share of all packets that is lost, `burst` the mean number lost in a row. In a
    burst every packet is lost, outside of it none.
    """

    mean: _Ratio = 0.0
    burst: Annotated[float, Field(ge=1, le=10_000)] | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Loss:
        if self.burst and self.mean >= self.burst / (1 + self.burst):
            raise ValueError(
                f"bursts of {self.burst:g} packets cannot lose {_percent(self.mean)}: "
                "lower `mean` or lengthen `burst`"
            )
        return self


class Way(_Section):
    """One direction of a link. A packet waits in the queue, is sent at `rate`, then travels.

    Without `rate` the line takes any number of packets at once. `queue` is how long a packet may
    have to wait before it is dropped at the tail. The journey takes a time drawn evenly from
    delay ± jitter; packets never overtake each other, so that a packet drawn shorter than the one
    before it arrives together with that one. Lost packets have used the line.
    """

    delay: _Duration = 0.0
    jitter: _Duration = 0.0
    loss: Annotated[Loss, BeforeValidator(_bare_share)] = Loss()
    rate: _Rate | None = None
    queue: _Duration = 0.2

    @model_validator(mode="after")
    def _jitter_within_delay(self) -> Way:
        if self.jitter > self.delay:
            raise ValueError("`jitter` must not be more than `delay`")
        return self

    def changed(self, key: str, value: object) -> Way:
        """This direction with one key set; raises `UserError` with what would be right."""
        if key not in Way.model_fields:
            known = ", ".join(Way.model_fields)
            raise UserError(f"unknown key `{key}`; a direction has {known}")
        try:
            return Way.model_validate(self.model_dump() | {key: value})
        except ValidationError as error:
            raise UserError(f"`{key}` {_reason(error)}") from None


class Blackout(_Section):
    """Nothing passes for `for`, first at `at` after the start, then again `every` so often."""

    at: _Duration
    for_: Annotated[_Duration, AfterValidator(_positive)] = Field(alias="for")
    every: Annotated[_Duration, AfterValidator(_positive)] | None = None

    @model_validator(mode="after")
    def _ends_before_the_next(self) -> Blackout:
        if self.every is not None and self.every <= self.for_:
            raise ValueError("`every` must be longer than `for`")
        return self


class LinkSpec(_Section):
    """Both directions of a line. `down` is towards the office (for the uplink: headquarters)."""

    down: Way = Way()
    up: Way = Way()
    blackouts: tuple[Blackout, ...] = ()
    congestion_control: str | None = None
    """For TCP in the namespaces at this end; the lab's if not given."""


class LabSpec(_Section):
    """The whole file."""

    seed: int = 1
    """Of every random draw: the same seed and the same packets give the same losses."""
    congestion_control: str | None = None
    """For TCP in every namespace; the kernel's default if not given."""
    uplink: LinkSpec = LinkSpec()
    offices: Annotated[dict[Identifier, LinkSpec], Field(min_length=1, max_length=MAX_OFFICES)]

    @model_validator(mode="after")
    def _office_names_are_free(self) -> LabSpec:
        for name in _RESERVED:
            if name in self.offices:
                raise ValueError(f"no office may be called `{name}`: the lab uses that name itself")
        return self


def _reason(error: ValidationError) -> str:
    return error.errors()[0]["msg"].removeprefix("Value error, ")


def parse_spec(data: object, source: str = "lab") -> LabSpec:
    """A lab from plain data, such as a test has it; raises `UserError` that names the key."""
    try:
        return LabSpec.model_validate(data)
    except ValidationError as error:
        path = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UserError(f"{source}: {path}: {_reason(error)}") from None


def parse_setting(text: str) -> tuple[str, str, Any]:
    """`down.loss=2%` as direction, key and value; raises `UserError`.

    >>> parse_setting("down.loss={mean: 2%, burst: 4}")
    ('down', 'loss', {'mean': '2%', 'burst': 4})
    """
    path, equals, value = text.partition("=")
    direction, _, key = path.strip().partition(".")
    if not equals or direction not in ("up", "down") or not key:
        raise UserError(f"`{text}` must be like `down.loss=2%` or `up.rate=4 Mbit/s`")
    try:
        return direction, key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"`{value}` is no value: write it like `2%` or `10 Mbit/s`") from None
