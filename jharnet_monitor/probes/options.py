"""What may be asked of a probe that is run by hand: checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jharnet_monitor.errors import UserError
from jharnet_monitor.profiles import Profile


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AskedLatency(_Asked):
    """A burst of echo requests, ten a second."""

    packets: Annotated[int, Field(ge=1, le=600)] | None = None


class AskedBandwidth(_Asked):
    """Which path: hub to office, its capacity alone, or from the office to the Internet."""

    path: Literal["jharnet", "trains", "internet"] | None = None


class AskedConference(_Asked):
    """How good a picture at most, for how long, and by which codec."""

    profile: Annotated[Profile, Field(strict=False)] | None = None
    seconds: Annotated[float, Field(ge=3, le=600)] | None = None
    codec: Literal["vp8", "h264"] | None = None


class AskedUtilisation(_Asked):
    """What the line carried since the router was last asked; nothing to choose."""


_ASKED: dict[str, type[_Asked]] = {
    "latency": AskedLatency,
    "bandwidth": AskedBandwidth,
    "conference": AskedConference,
    "utilisation": AskedUtilisation,
}


def checked(probe: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, checked; raises `UserError` in one line.

    >>> checked("conference", {"seconds": 10})
    {'seconds': 10.0}
    """
    try:
        asked = _ASKED[probe].model_validate(dict(options))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(_ASKED[probe].model_fields)
        raise UserError(f"{probe}: {where}: {first['msg']}; it takes {known}") from None
    return asked.model_dump(exclude_none=True)
