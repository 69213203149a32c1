"""Turns what an agent or a page sends into `Measurement` and `Vitals`. Everything is bounded: an
impossible figure, time or text is refused, so that no sum or date computed from it later can fail.
Figures have the ranges of the table of quantities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jharnet_monitor.model import Cause, Measurement
from jharnet_monitor.probes import series
from jharnet_monitor.wire.agent_clock import AgentClock
from jharnet_monitor.wire.protocol import MAX_BATCH, ProtocolError

PROGRAM, BROWSER = "program", "browser"
"""The kinds of agents. A browser makes a boot id for each page: it proves nothing about power."""
AGENTS_OWN_SERIES = frozenset(
    key for key, one in series().items() if one.route.by_agent and not one.route.by_page
)
"""All series that an agent program measures by itself. Only the hub records probes in which it
takes part, so that no figure rests on one end's word alone."""
PAGES_OWN_SERIES = frozenset(key for key, one in series().items() if one.route.by_page)
"""The same for a page in a browser, whose reports on its gateway or on power prove nothing."""
OLDEST = timedelta(days=400)
"""A spool does not reach back further."""
AHEAD = timedelta(days=1)
"""How far an agent's clock may be ahead."""
LONGEST_RUN = 86400.0
"""Seconds that one measurement of an agent may last."""
LONGEST_UPTIME = 100 * 365.25 * 86400.0
MOST_SPOOLED = 10**9
LATEST_TIME = 253402300800.0
"""The end of the year 9999: a clock may be wrong, but not be beyond it."""
MOST_FEATURES = 20
MOST_BYTES_SPENT = 1e12
UPDATE_STATES = ("trial", "confirmed", "rolled_back", "refused")
"""The possible results of an agent's last update."""

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
"""No id may look like a formula to a spreadsheet: ids appear in a dossier's tables."""
_COUNTED = re.compile(r"(.+)_[0-9a-f]{12}-\d+")
"""An id that an agent counts (`CountedIds`). Whoever saw one could guess the next, and take it."""
_CAUSES = frozenset(cause.value for cause in Cause)
_MOST_CONDITIONS = 30
_LONGEST_TEXT = 300
_LARGEST_NUMBER = 1e15


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """An agent's report of its last update."""

    version: str
    serial: int
    state: str
    """`trial`, `confirmed`, `rolled_back` or `refused`."""
    why: str = ""
    offer: str = ""
    """The hub's name for the offer that it answers."""
    fits: bool = True
    """False if it refused a release that is not for its machine, such as for another processor."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What an agent reports of itself in `hello` and in every heartbeat."""

    boot_id: str
    uptime: float
    spooled: int
    version: str | None = None
    kind: str = PROGRAM
    dropped: int = 0
    """Measurements lost because the spool was full."""
    now: float | None = None
    """The agent's clock, in seconds since 1970; None if not reported."""
    update: UpdateReport | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of a `measurements` frame: accepted measurements, and ids of refused ones."""

    accepted: list[Measurement]
    refused: list[dict[str, str]]


def read_vitals(frame: Mapping[str, Any]) -> Vitals:
    """The vitals in a frame; raises `ProtocolError`."""
    boot_id, uptime, spooled = (frame.get(k) for k in ("boot_id", "uptime_seconds", "spooled"))
    if (
        not isinstance(boot_id, str)
        or not 0 < len(boot_id) <= 64
        or not boot_id.isprintable()
        or not _is_number(uptime, 0, LONGEST_UPTIME)
        or not isinstance(spooled, int)
        or not 0 <= spooled <= MOST_SPOOLED
    ):
        raise ProtocolError("vitals are incomplete, or cannot be true")
    version, kind = frame.get("version"), frame.get("kind", PROGRAM)
    if kind not in (PROGRAM, BROWSER):
        raise ProtocolError(f"no agent is of kind {str(kind)[:40]!r}")
    dropped, reported = frame.get("dropped", 0), frame.get("now")
    if not isinstance(dropped, int) or not 0 <= dropped <= MOST_SPOOLED:
        raise ProtocolError("`dropped` cannot be true")
    if reported is not None and not _is_number(reported, 0, LATEST_TIME):
        raise ProtocolError("`now` cannot be true")
    return Vitals(
        boot_id, float(uptime), spooled, _version(version), kind, dropped, reported,  # type: ignore[arg-type]
        _update(frame.get("update")),
    )  # fmt: skip


def _update(reported: object) -> UpdateReport | None:
    """The report of an update; an impossible one is ignored, as measuring matters more."""
    if not isinstance(reported, dict):
        return None
    version, why = _version(reported.get("version")), str(reported.get("why", ""))[:200]
    serial, state = reported.get("serial"), reported.get("state")
    if version is None or state not in UPDATE_STATES or not why.isprintable():
        return None
    if not isinstance(serial, int) or not 0 <= serial < 1 << 40:
        return None
    offer, fits = _version(reported.get("offer")) or "", reported.get("fits") is not False
    return UpdateReport(version, serial, str(state), why, offer, fits)


def _version(reported: object) -> str | None:
    text = "" if reported is None else str(reported)[:40]
    return text if text and text.isprintable() else None


def read_features(frame: Mapping[str, Any]) -> frozenset[str]:
    """The tasks that a `hello` says the agent can do; raises `ProtocolError`."""
    reported = frame.get("features", [])
    if not isinstance(reported, list):
        raise ProtocolError("`features` must be a list")
    return frozenset(str(feature)[:40] for feature in reported[:MOST_FEATURES])


def read_beat(frame: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The answer to a heartbeat at the moment `now`: its number again, where it has one."""
    number = frame.get("n")
    if number is None:
        return {"type": "beat"}
    if type(number) is not int or not 0 <= number <= _LARGEST_NUMBER:
        raise ProtocolError("`n` cannot be true")
    return {"type": "beat", "n": number, "now": round(now.timestamp(), 3)}


def read_batch(
    frame: Mapping[str, Any],
    office: str,
    now: datetime,
    clock: AgentClock | None = None,
    kind: str = PROGRAM,
) -> Batch:
    """What an office's agent hands in at the time `now`; raises `ProtocolError`. Times are
    corrected by the agent's `clock`.
    """
    items = frame.get("items")
    if not isinstance(items, list) or len(items) > MAX_BATCH:
        raise ProtocolError(f"`measurements` needs at most {MAX_BATCH} items")
    batch = Batch([], [])
    for item in items:
        try:
            batch.accepted.append(read_measurement(item, office, now, clock, kind))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            name = str(item.get("id", ""))[:200] if isinstance(item, dict) else ""
            batch.refused.append({"id": _as_text(name), "why": _as_text(str(error)[:200])})
    return batch


def _as_text(text: str) -> str:
    """The text with escapes for halves of characters, which no answer could carry."""
    return text.encode("utf-8", "backslashreplace").decode()


def read_measurement(
    item: Mapping[str, Any],
    office: str,
    now: datetime,
    clock: AgentClock | None = None,
    kind: str = PROGRAM,
) -> Measurement:
    """A measurement that an office's agent made by itself; raises `ValueError` that names what is
    wrong."""
    measurement = Measurement.from_json(item)
    if measurement.office != office:
        raise ValueError(f"an agent of {office} hands in only for its office")
    if measurement.series not in (PAGES_OWN_SERIES if kind == BROWSER else AGENTS_OWN_SERIES):
        who = "a page" if kind == BROWSER else "an agent"
        raise ValueError(f"{who} does not measure {measurement.series[:80]} by itself")
    if not _ID.fullmatch(measurement.id):
        raise ValueError("id must be of letters, digits, `-` and `_`")
    counted = _COUNTED.fullmatch(measurement.id)
    if counted and counted[1] != office:
        raise ValueError("id is one of another office's agent")
    if measurement.round_trips:
        raise ValueError("an agent hands in no round trips of packets")
    if measurement.cause is not None and measurement.cause not in _CAUSES:
        raise ValueError(f"this hub does not know the cause {measurement.cause[:40]!r}")
    if not 0 <= measurement.duration <= LONGEST_RUN:
        raise ValueError(f"duration_seconds must be from 0 to {LONGEST_RUN:g}")
    _check_conditions(measurement.conditions)
    if clock is not None:
        measurement = clock.correct(measurement)
    if not now.astimezone(UTC) - OLDEST <= measurement.started_at <= now + AHEAD:
        raise ValueError("started_at is too far from the hub's time; set the agent's clock")
    return measurement


def _check_conditions(conditions: Mapping[str, Any]) -> None:
    """Raise `ValueError` for conditions that are too many, too long, or cannot be true."""
    if len(conditions) > _MOST_CONDITIONS:
        raise ValueError(f"more than {_MOST_CONDITIONS} conditions")
    for name, value in conditions.items():
        inner = value.items() if isinstance(value, dict) else [(name, value)]
        if len(str(name)) > 60 or len(inner) > _MOST_CONDITIONS:
            raise ValueError("the conditions are too long")
        if not str(name).isprintable() or not all(
            len(str(key)) <= 60 and str(key).isprintable() and _is_plain(one) for key, one in inner
        ):
            raise ValueError(f"the condition {str(name)[:60]} cannot be true")
    if not _is_number(conditions.get("bytes_spent", 0), 0, MOST_BYTES_SPENT):
        raise ValueError("the condition bytes_spent cannot be true")


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT and value.isprintable()
    return value is None or _is_number(value, -_LARGEST_NUMBER, _LARGEST_NUMBER)


def _is_number(value: object, low: float, high: float) -> bool:
    """Whether it is a number in [low, high], which NaN is not; true and false count as 1 and 0."""
    return isinstance(value, int | float) and low <= value <= high
