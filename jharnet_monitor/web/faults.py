"""The fault ledger over HTTP: reads it with the measured outages, and books entries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.calendar.hours import office_windows
from jharnet_monitor.judge.faults import (
    FAULT,
    MOMENTS,
    TEXTS,
    Fault,
    JudgedFault,
    Stop,
    StopReason,
    Unbooked,
    ledger,
    next_id,
)
from jharnet_monitor.judge.outages.shared import judge_spans
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.report.data.faults import within
from jharnet_monitor.report.data.state_spans import clipped, spans
from jharnet_monitor.report.sections.faults import fault_table, proposal, sentences
from jharnet_monitor.store import Store
from jharnet_monitor.web.errors import Refusal, unknown_office
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.query import in_its_zone, parse_line, parse_moment, refuse_unknown_keys

MOST_FAULTS = 1000
"""Faults of one office; a typing error in a loop must not fill the chain."""
MOST_STOPS = 20
LOOKED_BACK = timedelta(days=60)
"""How long outages are proposed, and how long faults are listed after their restoration."""
EARLY = timedelta(minutes=5)
"""How far a booked time may lie ahead of the hub's clock."""
MEASURED = "measured"
"""The value of `restored_at` that stands for the end of the measured outage."""
KEYS = (*TEXTS, *MOMENTS, "stop", "withdrawn")


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The faults of the last weeks as they stand, and the entries that are proposed."""

    faults: tuple[JudgedFault, ...]
    proposed: tuple[Unbooked, ...]

    def of(self, office: str | None) -> LedgerView:
        """Those of one office; all for None."""
        if office is None:
            return self
        return LedgerView(
            tuple(one for one in self.faults if one.fault.office == office),
            tuple(one for one in self.proposed if one.office == office),
        )

    def to_json(self) -> dict[str, Any]:
        """As the API gives it; times in seconds."""
        return {
            "faults": [_fault_json(one) for one in self.faults],
            "proposed": [
                {"office": one.office, "began_at": format_utc(one.outage.start),
                 "until": format_utc(one.outage.end), "state": one.outage.state.value}
                for one in self.proposed
            ],
        }  # fmt: skip


def _fault_json(one: JudgedFault) -> dict[str, Any]:
    outage = one.outage
    return one.fault.to_json() | {
        "seconds_to_restore": one.seconds,
        "limit_seconds": one.limit,
        "within": one.within,
        "repeats": one.repeats,
        "outage": None
        if outage is None
        else {
            "state": outage.state.value,
            "from": format_utc(outage.start),
            "to": None if one.over_at is None else format_utc(one.over_at),
        },
    }


class FaultLedger:
    """Reads and books; entries are booked one after the other, so that each has its number."""

    def __init__(self, hub: HubApi) -> None:
        self._hub = hub
        self._booking = asyncio.Lock()

    async def view(self) -> LedgerView:
        """The ledger as it stands now."""
        now = self._hub.clock.now()
        return await self._hub.read(_view, self._hub.store, self._hub.config, now)

    async def book(self, office: str, data: Mapping[str, Any]) -> Fault:
        """Book a new fault of an office; raises `Refusal`."""
        known = [one.id for one in self._hub.config.offices]
        if office not in known:
            raise unknown_office(office, known)
        async with self._booking:
            entries = await self._entries()
            if sum(name == office for name, _ in entries) >= MOST_FAULTS:
                raise Refusal(400, f"{office} has {MOST_FAULTS} entries already")
            name = next_id(office, entries)
            return await self._write(office, name, None, data, entries)

    async def change(self, name: str, data: Mapping[str, Any]) -> Fault:
        """Book a further entry on a fault; raises `Refusal`."""
        async with self._booking:
            entries = await self._entries()
            known = next((one for one in ledger(entries) if one.id == name), None)
            if known is None:
                raise Refusal(404, f"no fault `{name[:60]}`; GET /api/v1/faults lists them")
            if known.entries >= MOST_FAULTS:
                raise Refusal(400, f"{name} has {MOST_FAULTS} entries already")
            return await self._write(known.office, name, known, data, entries)

    async def _entries(self) -> list[tuple[str, Mapping[str, Any]]]:
        events = await self._hub.read(self._hub.store.event_log.events_of_kind, FAULT)
        return [(event.office, event.data) for event in events]

    async def _write(
        self,
        office: str,
        name: str,
        known: Fault | None,
        data: Mapping[str, Any],
        entries: list[tuple[str, Mapping[str, Any]]],
    ) -> Fault:
        if data.get("restored_at") == MEASURED:
            data = {**data, "restored_at": format_utc(await self._measured_end(name))}
        entry_values = parse_entry(data, known, self._hub.clock.now())
        entry = {"fault": name, "set": entry_values}
        if known is None and entry_values.get("withdrawn"):
            raise Refusal(400, "a new fault cannot be withdrawn at once")
        found = {one.id: one for one in ledger([*entries, (office, entry)])}
        await self._hub.book_fault(office, entry)
        return found[name] if known is None else found.get(name, replace(known, withdrawn=True))

    async def _measured_end(self, name: str) -> datetime:
        """When the outage of a fault was over, as it was measured."""
        view = await self.view()
        one = next((one for one in view.faults if one.fault.id == name), None)
        if one is None or one.over_at is None:
            raise Refusal(
                400, f"no measured outage of {name} is over; give `restored_at` as a time"
            )
        return one.over_at


def _view(store: Store, config: Config, now: datetime) -> LedgerView:
    """Read the ledger and the states of the last weeks; blocks."""
    begin = now - LOOKED_BACK
    events = store.event_log.events_of_kind(FAULT)
    faults = ledger((event.office, event.data) for event in events)
    states = {
        office.id: spans(store.event_log.transitions(office.id, begin, now), now)
        for office in config.offices
    }
    first = begin.astimezone(ZoneInfo(config.district.timezone)).date()
    days = (first + timedelta(days=n) for n in range(LOOKED_BACK.days + 1))
    shown = [clipped(one, begin, now) for one in states.values()]
    found = judge_spans(shown, office_windows(config.district, days), list(states.values()))
    judged = dict(zip(states, found, strict=True))
    return LedgerView(*within(config, faults, states, judged, (begin, now)))


def parse_entry(data: Mapping[str, Any], known: Fault | None, now: datetime) -> dict[str, Any]:
    """What an entry says of a fault that is `known`, or of a new one; raises `Refusal`."""
    refuse_unknown_keys(data, KEYS)
    entry_values: dict[str, Any] = {}
    for key in TEXTS:
        if key in data:
            entry_values[key] = parse_line(data, key)
    for key in MOMENTS:
        if data.get(key) is not None:
            at = parse_moment(data, key)
            if at is not None and at > now + EARLY:
                ahead, it_is = (in_its_zone(one, data, key) for one in (at, now))
                raise Refusal(400, f"`{key}` {ahead} lies ahead; it is {it_is}")
            entry_values[key] = None if at is None else format_utc(at)
    if known is None:
        entry_values.setdefault("reported_at", format_utc(now))
    if "withdrawn" in data:
        if not isinstance(data["withdrawn"], bool):
            raise Refusal(400, "`withdrawn` must be true or false")
        entry_values["withdrawn"] = data["withdrawn"]
    if data.get("stop") is not None:
        stops = () if known is None else known.stops
        if len(stops) >= MOST_STOPS:
            raise Refusal(400, f"the clock was stopped {MOST_STOPS} times already")
        entry_values["stops"] = [one.to_json() for one in (*stops, _stop(data["stop"]))]
    if not entry_values:
        raise Refusal(400, f"an entry says something: use {', '.join(KEYS)}")
    _in_order(entry_values, known, data)
    return entry_values


def _in_order(
    entry_values: Mapping[str, Any], known: Fault | None, data: Mapping[str, Any]
) -> None:
    """Raise `Refusal` where a fault would be restored before it was reported."""
    before = {} if known is None else known.to_json()
    reported, restored = (
        entry_values.get(key, before.get(key)) for key in ("reported_at", "restored_at")
    )
    if restored is not None and reported is not None and restored < reported:
        over, begin = (
            in_its_zone(parse_utc(one), data, "restored_at", "reported_at")
            for one in (restored, reported)
        )
        raise Refusal(400, f"`restored_at` {over} must not be before `reported_at` {begin}")


def _stop(data: Any) -> Stop:
    if not isinstance(data, dict):
        raise Refusal(400, "`stop` must be an object with `from`, `to` and `reason`")
    refuse_unknown_keys(data, ("from", "to", "reason"))
    begin, end = parse_moment(data, "from"), parse_moment(data, "to")
    try:
        reason = StopReason(str(data.get("reason")))
    except ValueError:
        known = ", ".join(one.value for one in StopReason)
        raise Refusal(400, f"`stop.reason` must be one of {known}") from None
    if begin is None or (end is not None and end <= begin):
        raise Refusal(400, "`stop` needs `from`, which must be before `to`")
    return Stop(begin, end, reason)


def entry_of_form(form: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    """The entry in a form of the page: blanks left out, times of the district's zone."""
    entry: dict[str, Any] = {}
    for key in (*TEXTS, *MOMENTS):
        value = form.get(key)
        if not isinstance(value, str) or not value.strip():
            continue
        if key in MOMENTS and value != MEASURED:
            try:
                entry[key] = datetime.fromisoformat(value).replace(tzinfo=zone).isoformat()
            except ValueError:
                raise Refusal(400, f"`{key}` must be a time such as 2026-11-25T14:00") from None
        else:
            entry[key] = value
    return entry


def page_content(view: LedgerView, config: Config, now: datetime, words: Words) -> dict[str, Any]:
    """The content of the page `/faults`, or of an office's part of it."""
    zone = ZoneInfo(config.district.timezone)
    names = {office.id: formats.office_name(office, words) for office in config.offices}
    table = fault_table(config, (view.faults, view.proposed), zone, words)
    return {
        "head": table["head"],
        "rows": table["every_row"][::-1],
        "summary": sentences(view.faults, words),
        "proposed": [
            {
                "office": one.office,
                "text": proposal(one, names, zone, words),
                "began_at": f"{one.outage.start.astimezone(zone):%Y-%m-%dT%H:%M:%S}",
            }
            for one in view.proposed
        ],
        "now": f"{now.astimezone(zone):%Y-%m-%dT%H:%M}",
    }


def filtered(query: Mapping[str, str], offices: Sequence[str]) -> str | None:
    """The office that is asked for; raises `Refusal`."""
    refuse_unknown_keys(query, ("office",))
    office = query.get("office")
    if office is not None and office not in offices:
        raise unknown_office(office, list(offices))
    return office
