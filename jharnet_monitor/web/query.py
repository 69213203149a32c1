"""Parses requests; invalid ones are refused with one line that says what is valid."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import MultiMapping

from jharnet_monitor.config.calls import LONGEST_DRILL, SHORTEST_DRILL
from jharnet_monitor.errors import is_one_line
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Window
from jharnet_monitor.web.errors import Refusal, unknown_office

DEFAULT_LIMIT = 1000
LARGEST_LIMIT = 10_000
LONGEST_TEXT = 200
LONGEST_WINDOW = timedelta(days=31)
LOOKED_AHEAD = timedelta(days=400)
"""How far maintenance is planned ahead, and listed."""
BODY_SECONDS = 10.0
MOST_FIELDS = 100
FORM = "application/x-www-form-urlencoded"

_PARAMETERS = ("office", "probe", "since", "until", "limit")


@dataclass(frozen=True, slots=True)
class MeasurementQuery:
    """A query for `/api/v1/measurements`."""

    office: str | None
    probe: str | None
    since: datetime | None
    until: datetime | None
    limit: int


def parse_measurement_query(
    query: MultiMapping[str], offices: Sequence[str], probes: Sequence[str]
) -> MeasurementQuery:
    """Parse the query string; raises `Refusal`."""
    for name in query:
        if name not in _PARAMETERS:
            raise Refusal(400, f"unknown parameter `{name[:60]}`; use {', '.join(_PARAMETERS)}")
        if len(query.getall(name)) > 1:
            raise Refusal(400, f"`{name}` is given more than once")
    office, probe = query.get("office"), query.get("probe")
    if office is not None and office not in offices:
        raise unknown_office(office, list(offices))
    if probe is not None and probe not in probes:
        raise Refusal(400, f"no probe `{probe[:60]}`; there are {', '.join(probes)}")
    since, until = parse_moment(query, "since"), parse_moment(query, "until")
    if since and until:
        in_order(query, "since", since, "until", until)
    return MeasurementQuery(office, probe, since, until, _limit(query))


def in_order(
    query: Mapping[str, Any], first: str, begin: datetime, second: str, end: datetime
) -> None:
    """Raise `Refusal` unless the first moment is before the second."""
    if begin >= end:
        raise Refusal(
            400,
            f"`{first}` {in_its_zone(begin, query, first)} must be before "
            f"`{second}` {in_its_zone(end, query, second)}",
        )


def parse_moment(query: Mapping[str, Any], name: str) -> datetime | None:
    """A time with time zone; None where it is not given; raises `Refusal`."""
    text = query.get(name)
    if text is None:
        return None
    text = _stated(text)
    try:
        return parse_utc(text)
    except (ValueError, OverflowError):
        raise Refusal(
            400,
            f"`{name}` must be a time with time zone, such as 2026-11-25T06:00:00Z, "
            f"not `{text[:60]}`",
        ) from None


def _stated(value: Any) -> str:
    """A time as it was written: a `+` that was not escaped arrives as a space."""
    return re.sub(r" (\d\d:?\d\d)$", r"+\1", str(value))


def in_its_zone(moment: datetime, query: Mapping[str, Any], *names: str) -> str:
    """A moment for a message, in the zone of the first of `names` that has a time, so that people
    find what they wrote; in UTC where none has."""
    for name in names:
        try:
            zone = datetime.fromisoformat(_stated(query.get(name))).tzinfo
        except ValueError:
            continue
        if zone not in (None, UTC):
            return moment.astimezone(zone).isoformat(timespec="seconds")
    return format_utc(moment)


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= LARGEST_LIMIT:
        raise Refusal(
            400, f"`limit` must be a whole number from 1 to {LARGEST_LIMIT}, not `{text[:60]}`"
        )
    return int(text)


async def _read_body(request: web.Request) -> bytes:
    """A request's body; raises `Refusal` for one that is compressed, broken or late."""
    coding = request.headers.get("Content-Encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise Refusal(400, "the body must not be compressed: leave out `Content-Encoding`")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
    except (web.RequestPayloadError, ConnectionError):
        raise Refusal(400, "the body broke off, or is not as its headers say") from None


async def read_object(request: web.Request) -> dict[str, Any]:
    """A request's body as JSON object; an empty body is an empty object; raises `Refusal`."""
    body = await _read_body(request)
    if not body.strip():
        return {}
    try:
        data = json.loads(body)
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refusal(400, "the body has half a character, such as \\ud800 alone") from None
    except (ValueError, RecursionError):
        raise Refusal(400, "the body must be a JSON object") from None
    if not isinstance(data, dict):
        raise Refusal(400, "the body must be a JSON object")
    return data


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a form, each once; raises `Refusal`."""
    body = await _read_body(request)
    if not body.strip():
        return {}
    charset = (request.charset or "utf-8").lower()
    if request.content_type != FORM or charset not in ("utf-8", "utf8"):
        raise Refusal(400, f"a form is sent as {FORM}, in UTF-8")
    fields: dict[str, str] = {}
    try:
        for name, value in parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        ):
            fields.setdefault(name, value)
    except ValueError:
        raise Refusal(400, f"a form has at most {MOST_FIELDS} fields, in UTF-8") from None
    return fields


def parse_line(data: Mapping[str, Any], key: str) -> str:
    """A text that is stored and shown: one line, without control characters; empty where it is not
    given. Raises `Refusal`."""
    value = data.get(key, "")
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not is_one_line(value):
        raise Refusal(400, f"`{key}` must be one line of at most {LONGEST_TEXT} characters")
    return value.strip()


def refuse_unknown_keys(data: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `Refusal` for a key that means nothing here."""
    for name in data:
        if name not in known:
            raise Refusal(400, f"unknown key `{name[:60]}`; use {', '.join(known)}")


def parse_drill(data: Mapping[str, Any], default_profile: Profile) -> tuple[Profile, float]:
    """Parse profile and minutes of a drill to start; raises `Refusal`."""
    refuse_unknown_keys(data, ("profile", "minutes"))
    minutes = data.get("minutes", 5)
    try:
        profile = Profile.named(data.get("profile", default_profile))
    except ValueError as error:
        raise Refusal(400, str(error)) from None
    if (
        isinstance(minutes, bool)
        or not isinstance(minutes, int | float)
        or not SHORTEST_DRILL <= minutes <= LONGEST_DRILL
    ):
        raise Refusal(
            400, f"`minutes` must be a number from {SHORTEST_DRILL:g} to {LONGEST_DRILL:g}"
        )
    return profile, float(minutes)


def parse_window(data: Mapping[str, Any], offices: Sequence[str], now: datetime) -> Window:
    """Parse planned maintenance, which must not be over yet; raises `Refusal`."""
    refuse_unknown_keys(data, ("office", "from", "to", "reason"))
    office, reason = data.get("office"), parse_line(data, "reason")
    if office is not None and office not in offices:
        raise unknown_office(str(office), list(offices))
    begin, end = parse_moment(data, "from"), parse_moment(data, "to")
    if begin is None or end is None:
        raise Refusal(
            400, "planned maintenance needs `from` and `to`, such as 2026-11-25T06:00:00Z"
        )
    in_order(data, "from", begin, "to", end)
    if end - begin > LONGEST_WINDOW:
        raise Refusal(400, f"a planned window lasts at most {LONGEST_WINDOW.days} days")
    if end <= now:
        raise Refusal(
            400,
            f"`to` {in_its_zone(end, data, 'to')} is in the past; announce maintenance before it "
            f"ends (now: {in_its_zone(now, data, 'to')})",
        )
    if begin - now > LOOKED_AHEAD:
        raise Refusal(
            400,
            f"`from` {in_its_zone(begin, data, 'from')} is too far ahead; maintenance is "
            f"announced at most {LOOKED_AHEAD.days} days before it begins",
        )
    return Window(office, begin, end, reason)
