"""Planned maintenance over HTTP: announce, list and withdraw it, by the API and on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.model import format_utc
from jharnet_monitor.store import Window
from jharnet_monitor.web.auth import Access, Actor
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.pages import Pages, see_other
from jharnet_monitor.web.query import LOOKED_AHEAD, parse_window, read_form, read_object

LOOKED_BACK = timedelta(days=60)


def window_json(window: Window) -> dict[str, Any]:
    """A window as the API gives it; times in UTC."""
    return {
        "number": window.number,
        "office": window.office,
        "from": format_utc(window.begin),
        "to": format_utc(window.end),
        "reason": window.reason,
        "announced": None if window.announced is None else format_utc(window.announced),
        "withdrawn": None if window.withdrawn is None else format_utc(window.withdrawn),
    }


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A window on the page; `state` is `going_on`, `ahead`, `over` or `withdrawn`."""

    number: int
    office: str
    begin: str
    end: str
    reason: str
    state: str
    word: str

    @property
    def open(self) -> bool:
        """Whether it can still be withdrawn."""
        return self.state in ("going_on", "ahead")


class MaintenancePages:
    """The handlers of these pages for one hub."""

    def __init__(self, hub: HubApi, access: Access, pages: Pages) -> None:
        self._hub = hub
        self._access = access
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """All routes on maintenance."""
        return [
            web.get("/api/v1/maintenance", self.listed),
            web.post("/api/v1/maintenance", self.announce),
            web.delete("/api/v1/maintenance/{number}", self.withdraw),
            web.get("/maintenance", self.page),
            web.post("/maintenance", self.announce_by_form),
            web.post("/maintenance/{number}/withdraw", self.withdraw_by_form),
        ]

    async def listed(self, request: web.Request) -> web.Response:
        """The windows of the last weeks, now, and ahead."""
        return web.json_response([window_json(one) for one in await self._windows()])

    async def announce(self, request: web.Request) -> web.Response:
        """Announce planned maintenance."""
        actor = await self._access.require(request)
        body = await read_object(request)
        return web.json_response(await self._announce(request, actor, body), status=201)

    async def withdraw(self, request: web.Request) -> web.Response:
        """Withdraw planned maintenance: from now on it excuses nothing."""
        actor = await self._access.require(request)
        return web.json_response(await self._withdraw(request, actor))

    async def page(self, request: web.Request) -> web.Response:
        """The windows, and the forms."""
        formats = self._pages.formats(request)
        windows = await self._windows()
        rows = [self._row(window, formats) for window in reversed(windows)]
        local = formats.now.astimezone(formats.zone).replace(second=0, microsecond=0)
        begin = local + timedelta(minutes=10 - local.minute % 10)
        return await self._pages.page(
            request,
            "maintenance.html",
            formats,
            rows=sorted(rows, key=lambda row: not row.open),
            begin=f"{begin:%Y-%m-%dT%H:%M}",
            end=f"{begin + timedelta(hours=2):%Y-%m-%dT%H:%M}",
        )

    async def announce_by_form(self, request: web.Request) -> web.Response:
        """Announce from the form; times are the district's."""
        actor = await self._access.require(request)
        form = await read_form(request)
        zone = ZoneInfo(self._hub.config.district.timezone)
        body: dict[str, Any] = {
            "office": form.get("office") or None, "reason": form.get("reason", ""),
        }  # fmt: skip
        for key in ("from", "to"):
            try:
                moment = datetime.fromisoformat(str(form.get(key, ""))).replace(tzinfo=zone)
            except ValueError:
                raise Refusal(400, f"`{key}` must be a time such as 2026-11-25T14:00") from None
            body[key] = moment.isoformat()
        await self._announce(request, actor, body)
        return see_other(request, "/maintenance")

    async def withdraw_by_form(self, request: web.Request) -> web.Response:
        """Withdraw from the form."""
        actor = await self._access.require(request)
        await self._withdraw(request, actor)
        return see_other(request, "/maintenance")

    async def _announce(
        self, request: web.Request, actor: Actor, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        offices = [office.id for office in self._hub.config.offices]
        window = parse_window(body, offices, self._hub.clock.now())
        await self._access.act(request, actor, "maintenance", _about(window))
        return await self._hub.plan(window.office, window.begin, window.end, window.reason)

    async def _withdraw(self, request: web.Request, actor: Actor) -> dict[str, Any]:
        text = request.match_info["number"]
        windows = {str(one.number): one for one in await self._windows()}
        if text not in windows:
            raise Refusal(404, f"no maintenance `{text[:20]}`; GET /api/v1/maintenance lists it")
        window = windows[text]
        if window.withdrawn is not None:
            raise Refusal(400, f"maintenance {text} was withdrawn already")
        if window.end <= self._hub.clock.now():
            raise Refusal(400, f"maintenance {text} is over; it can no longer be withdrawn")
        about = _about(window) | {"number": window.number}
        await self._access.act(request, actor, "maintenance withdrawn", about)
        return await self._hub.withdraw(window)

    async def _windows(self) -> Sequence[Window]:
        now = self._hub.clock.now()
        found: Sequence[Window] = await self._hub.read(
            self._hub.store.event_log.announced_windows, now - LOOKED_BACK, now + LOOKED_AHEAD
        )
        return found

    def _row(self, window: Window, formats: Formats) -> WindowRow:
        names = {o.id: o.name_in(formats.words.language) for o in self._hub.config.offices}
        office = "" if window.office is None else names.get(window.office, window.office)
        state = _state(window, formats.now)
        when = "" if window.withdrawn is None else formats.date_and_time(window.withdrawn)
        return WindowRow(
            window.number or 0,
            office or formats.words("web.account.all_offices"),
            formats.date_and_time(window.begin),
            formats.date_and_time(window.end),
            window.reason,
            state,
            formats.words(f"web.maintenance.state.{state}", time=when),
        )


def _about(window: Window) -> dict[str, Any]:
    return {
        "office": window.office, "from": format_utc(window.begin), "to": format_utc(window.end),
        "reason": window.reason,
    }  # fmt: skip


def _state(window: Window, now: datetime) -> str:
    if window.withdrawn is not None:
        return "withdrawn"
    if window.end <= now:
        return "over"
    return "going_on" if window.counts_from <= now else "ahead"
