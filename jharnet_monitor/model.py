"""The shared vocabulary: measurements, outcomes, causes, states, routes, directions, time.

This module imports only the table of quantities, whose names it re-exports. All its classes are
immutable.
"""

from __future__ import annotations

import json
import math
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from jharnet_monitor.quantities import (
    QUANTITIES,
    QUANTITY_NAMES,
    Label,
    Quantity,
    out_of_range,
    quantity,
)

__all__ = [
    "AT_LEAST",
    "HEADQUARTERS",
    "LIVE_STATES",
    "LONG_TESTS",
    "MADE_UP",
    "QUANTITIES",
    "QUANTITY_NAMES",
    "RETEST",
    "ROUND_TRIPS",
    "ROUND_TRIP_UNIT",
    "Cause",
    "CountedIds",
    "Direction",
    "Label",
    "Measurement",
    "OfficeState",
    "Outcome",
    "Quantity",
    "Route",
    "format_utc",
    "out_of_range",
    "parse_utc",
    "quantity",
    "series_key",
]


class Outcome(StrEnum):
    """The outcome of a probe. What is not known is never reported as up, down or 0."""

    OK = "ok"
    FAILED = "failed"
    """The network was the reason."""
    NO_DATA = "no_data"
    """It could not be measured: no agent, host overloaded, budget spent."""


class OfficeState(StrEnum):
    """The state of an office; the last two become known only after an outage."""

    UP = "up"
    UNREACHABLE = "unreachable"
    """No answer; whether link or power failed is not yet known."""
    LAN_DOWN = "lan_down"
    """The router answers, nothing behind it does, and the agent did not sign off."""
    AGENT_OFF = "agent_off"
    """The router answers; the agent signed off or never connected."""
    UPLINK_DOWN = "uplink_down"
    """Headquarters' own uplink is down, so the office's state is not known."""
    MONITOR_DOWN = "monitor_down"
    """The hub was not running, or it may not ping and no agent of the office is connected."""
    PLANNED = "planned"
    UNKNOWN = "unknown"
    LINK_DOWN = "link_down"
    POWER_DOWN = "power_down"


LIVE_STATES = tuple(
    s for s in OfficeState if s not in (OfficeState.LINK_DOWN, OfficeState.POWER_DOWN)
)
"""The states that can be known while they last."""


class Cause(StrEnum):
    """Why a measurement is not `ok`; `i18n.words` has the texts."""

    # no_data: it could not be measured
    NO_AGENT = "no_agent"
    AGENT_BUSY = "agent_busy"
    AGENT_LOST = "agent_lost"
    AGENT_TOO_OLD = "agent_too_old"
    NEEDS_PROGRAM = "needs_program"
    NOT_ON_WINDOWS = "not_on_windows"
    PAGE_OUTDATED = "page_outdated"
    BUDGET_SPENT = "budget_spent"
    CONFERENCE_ON = "conference_on"
    UNREACHABLE = "unreachable"
    UPLINK_DOWN = "uplink_down"
    UPLINK_BUSY = "uplink_busy"
    HOST_OVERLOADED = "host_overloaded"
    NOT_SENT = "not_sent"
    TOO_UNEVEN = "too_uneven"
    NAME_NOT_RESOLVED = "name_not_resolved"
    NOT_CONFIGURED = "not_configured"
    ROUTER_SILENT = "router_silent"
    SNMP_REFUSED = "snmp_refused"
    INTERNAL_ERROR = "internal_error"
    BAD_REPORT = "bad_report"
    HELD_BACK = "held_back"
    # failed: the network was the reason
    NO_REPLY = "no_reply"
    NO_ROUTE = "no_route"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    UDP_BLOCKED = "udp_blocked"
    DTLS_FAILED = "dtls_failed"
    SIGNALLING_FAILED = "signalling_failed"
    NO_MEDIA = "no_media"
    OFFLINE = "offline"
    BLOCKED = "blocked"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TLS_ERROR = "tls_error"
    CONNECTION_FAILED = "connection_failed"
    PROXY_FAILED = "proxy_failed"
    CERTIFICATE_INVALID = "certificate_invalid"
    HTTP_ERROR = "http_error"
    REDIRECTED = "redirected"
    WRONG_PAGE = "wrong_page"


class Route(StrEnum):
    """The route that was measured: `path` in conditions, in the store and in metrics."""

    JHARNET = "jharnet"
    """Between the office and headquarters; the default if the conditions name none."""
    TRAINS = "trains"
    """Like `JHARNET`, by packet trains only: an estimate of the capacity, not a throughput."""
    INTERNET = "internet"
    """Between the office, or headquarters, and a server on the Internet."""
    DRILL = "drill"
    """A call of a drill's conference; since all offices call at once it does not grade one line."""
    GALLERY = "gallery"
    """A call of a drill's gallery, in which every office sends a small picture."""
    AGENT_GATEWAY = "agent_gateway"
    """From the agent to the router of its own office."""
    AGENT_HUB = "agent_hub"
    """From the agent to the hub."""
    PAGE = "page"
    """Like `JHARNET`, to the join page in a browser: datagrams that the hub sends and times."""
    PAGE_HUB = "page_hub"
    """From the join page in a browser to the hub: delay and silence of its own session."""

    @property
    def by_agent(self) -> bool:
        """Whether the agent measures it on its own; the hub does not count these runs."""
        return self in (Route.AGENT_GATEWAY, Route.AGENT_HUB, Route.PAGE_HUB)

    @property
    def by_page(self) -> bool:
        """Whether it is a page in a browser that measures it, and not an agent program."""
        return self is Route.PAGE_HUB


class Direction(StrEnum):
    """A direction of the line, seen from the office (or, on its uplink, from headquarters).

    >>> [f"{direction}: {direction.transfer}" for direction in Direction]
    ['down: download', 'up: upload']
    """

    DOWN = "down"
    """Towards the office."""
    UP = "up"
    """From the office."""

    transfer: str
    """The name in quantities of speed tests and counters: `download` or `upload`."""

    def __init__(self, value: str) -> None:
        self.transfer = f"{value}load"  # made once: a report asks for it a hundred thousand times


LONG_TESTS: Mapping[Direction, str] = MappingProxyType(
    {direction: f"bandwidth/sustained/{direction}" for direction in Direction}
)
"""In place of a series: the newest speed test with a long stream in a direction."""


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


HEADQUARTERS = "headquarters"
"""Used in place of an office's id for headquarters' measurements of its own line."""
MADE_UP = "made_up"
"""The condition of invented measurements, and the first event of a database that holds them. `demo
--history` writes both; every page and paper then says that the data are made up."""
RETEST = "retest"
"""Condition of a speed test below the threshold: `due` on the first test, which does not count,
`done` on its repetition, which does."""
AT_LEAST = "at_least"
"""Condition of a call by hand that held all that it was asked for, which was less than the planned
calls try: its grade is a lower bound, and does not count."""

ROUND_TRIPS = "round_trips"
"""The kind of record that holds the round trip of every packet of a measurement."""
ROUND_TRIP_UNIT = 1e-5
"""Seconds: what a round trip of a packet is kept in whole multiples of."""
MOST_ROUND_TRIPS = 10_000
_LONGEST_ROUND_TRIP = 2**31


class CountedIds:
    """Ids of measurements that no other process makes: `PREFIX`, 12 random digits, and a count.

    For what is measured every minute: a count takes a tenth of the space of a random id.

    >>> ids = CountedIds("hub.")
    >>> first, second = ids(), ids()
    >>> first.startswith("hub."), first[-2:], second[-2:], first[:-1] == second[:-1]
    (True, '-1', '-2', True)
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix + secrets.token_hex(6)
        self._count = 0

    def __call__(self) -> str:
        """The next id."""
        self._count += 1
        return f"{self._prefix}-{self._count}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one probe on one office.

    `started_at` is UTC. `duration` is in seconds on a monotonic clock. `conditions` describe the
    run (`under_load`, `path`, `limited_by`, host overload ...). `values` hold only quantities of
    `QUANTITIES`, and only those that were measured. `round_trips` holds the round trip of every
    packet in the order of sending, in whole `ROUND_TRIP_UNIT`s, None for one without a reply or
    without a certain time; it is stored beside the measurement and not read back with it.

    >>> m = Measurement("potka", "latency", datetime(2026, 11, 25, tzinfo=UTC), 3.0, Outcome.OK,
    ...                 values={"rtt_p50_seconds": 0.041}, id="m1")
    >>> m.to_json()["values"]
    {'rtt_p50_seconds': 0.041}
    >>> Measurement.from_json(m.to_json()) == m
    True
    """

    office: str
    probe: str
    started_at: datetime
    duration: float
    outcome: Outcome
    cause: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    round_trips: Sequence[int | None] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.started_at.utcoffset() is None:
            raise ValueError("started_at must have a time zone")
        object.__setattr__(self, "started_at", self.started_at.astimezone(UTC))
        object.__setattr__(self, "conditions", _frozen(self.conditions))
        object.__setattr__(self, "values", _frozen(self.values))

    def to_json(self) -> dict[str, Any]:
        """The JSON form that the API returns and agents send."""
        return {
            "id": self.id,
            "office": self.office,
            "probe": self.probe,
            "started_at": format_utc(self.started_at),
            "duration_seconds": self.duration,
            "outcome": self.outcome.value,
            "cause": self.cause,
            "conditions": dict(self.conditions),
            "values": dict(self.values),
            **({ROUND_TRIPS: list(self.round_trips)} if self.round_trips else {}),
        }

    @property
    def ended_at(self) -> datetime:
        """When it ended."""
        return self.started_at + timedelta(seconds=self.duration)

    @property
    def route(self) -> Route | None:
        """The route; None for one that this version does not know, as a later one may store."""
        try:
            return Route(self.conditions.get("path", Route.JHARNET))
        except ValueError:
            return None

    @property
    def subject(self) -> str:
        """What was measured: the service that was visited, else the route."""
        return str(self.conditions.get("service", self.conditions.get("path", Route.JHARNET)))

    @property
    def series(self) -> str:
        """The key of its series: the probe, and the subject unless that is JharNet's line."""
        return series_key(self.probe, self.subject)

    @property
    def bytes_spent(self) -> int:
        """Bytes of the office's budget that it used: measured, or estimated if it broke off."""
        spent = self.values.get("bytes_spent", self.conditions.get("bytes_spent", 0))
        return int(spent)

    @property
    def is_conclusive(self) -> bool:
        """Whether it counts in judgements; a low speed test that is to be repeated does not, nor a
        call that tried less than the planned ones.
        """
        return self.conditions.get(RETEST) != "due" and not self.conditions.get(AT_LEAST)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """Parse the JSON form; raises `ValueError` that says what is wrong."""
        try:
            measurement = cls(
                office=_text(data, "office"),
                probe=_text(data, "probe"),
                started_at=parse_utc(_text(data, "started_at")),
                duration=float(data["duration_seconds"]),
                outcome=Outcome(data["outcome"]),
                cause=None if data.get("cause") is None else _text(data, "cause"),
                conditions=data.get("conditions") or {},
                values={str(k): float(v) for k, v in (data.get("values") or {}).items()},
                id=_text(data, "id"),
                round_trips=_round_trips(data.get(ROUND_TRIPS, ())),
            )
            json.dumps(dict(measurement.conditions), ensure_ascii=False, allow_nan=False).encode()
            Route(measurement.conditions.get("path", Route.JHARNET))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a measurement: {error!r}") from error
        if not all(map(math.isfinite, (measurement.duration, *measurement.values.values()))):
            raise ValueError("values must be finite numbers")
        unknown = set(measurement.values) - set(QUANTITY_NAMES.get(measurement.probe, ()))
        if unknown:
            raise ValueError(f"{measurement.probe} has no quantity {', '.join(sorted(unknown))}")
        if wrong := out_of_range(measurement.probe, measurement.values):
            raise ValueError("; ".join(wrong))
        return measurement


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise ValueError(f"{key} must be a text of 1 to 200 printable characters")
    return value


def _round_trips(data: Any) -> tuple[int | None, ...]:
    if len(data) > MOST_ROUND_TRIPS or not all(
        one is None or (type(one) is int and 0 <= one < _LONGEST_ROUND_TRIP) for one in data
    ):
        raise ValueError(f"{ROUND_TRIPS} must be whole numbers, or null")
    return tuple(data)


def series_key(probe: str, subject: str = Route.JHARNET) -> str:
    """The key under which the newest run of a probe over a route, or of a service, is kept.

    >>> series_key("bandwidth"), series_key("bandwidth", Route.INTERNET)
    ('bandwidth', 'bandwidth/internet')
    >>> series_key("service", "e-office")
    'service/e-office'
    """
    return probe if subject == Route.JHARNET else f"{probe}/{subject}"


def format_utc(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`; texts sort as their times do."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> datetime:
    """Parse an ISO 8601 time; raises `ValueError`, also if its time zone is missing."""
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError(f"{text!r} has no time zone; write it as 2026-11-25T06:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies in no year from 1 to 9999") from None
