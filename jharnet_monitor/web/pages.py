"""The pages for people: status, office, join, reports, help, and errors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from aiohttp import web

from jharnet_monitor.config import Office
from jharnet_monitor.errors import StoreError
from jharnet_monitor.help.pages import INDEX, PICTURES, picture
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.security.accounts import Role
from jharnet_monitor.web import join
from jharnet_monitor.web.auth import NOT_CONFIGURED, Access
from jharnet_monitor.web.errors import Refusal, unknown_office
from jharnet_monitor.web.faults import FaultLedger, entry_of_form, page_content
from jharnet_monitor.web.feed import StatusFeed
from jharnet_monitor.web.help import contents, help_page, picture_headers
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.language import choose_language, remember_language
from jharnet_monitor.web.past import Pasts
from jharnet_monitor.web.query import read_form
from jharnet_monitor.web.render import Renderer
from jharnet_monitor.wire.device_check import DEVICE_FINDINGS, FINE

BASE = web.AppKey("base", str)
"""The path that a reverse proxy adds before every address of the hub; empty for none."""

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 20
_SELF_EXPLANATORY = (401, 404, 429, 500)
"""Errors that the page explains without the message."""


class Pages:
    """The handlers of the pages for one hub."""

    def __init__(self, hub: HubApi, access: Access, faults: FaultLedger) -> None:
        self._hub = hub
        self._access = access
        self._faults = faults
        self._renderer = Renderer(hub.config.hub.base)
        self._pasts = Pasts(hub)
        self._feed = StatusFeed(hub, self._renderer, self._pasts)
        self._past_made_up: bool | None = None

    def routes(self) -> list[web.RouteDef]:
        """All routes of pages."""
        return [
            web.get("/", self.status),
            web.get("/map", self.redirect_to_map),
            web.get("/events", self._feed.events),
            web.get("/join/{office}", self.join),
            web.get("/join/{office}/app.webmanifest", self.join_manifest),
            web.get("/faults", self.faults),
            web.post("/faults", self.book_fault),
            web.post("/faults/{office}", self.book_fault),
            web.post("/faults/{office}/{fault}", self.change_fault),
            web.get("/help", self.redirect_to_help),
            web.get("/help/", self.help),
            web.get("/help/{page}", self.help),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """All offices at a glance."""
        formats = self.formats(request)
        view = await self._feed.view(formats.words.language)
        return await self.page(request, "status.html", formats, view=view, headline=view.headline)

    async def redirect_to_map(self, request: web.Request) -> web.Response:
        """Redirect to the status page, of which the map is a part."""
        return web.Response(status=308, headers={"Location": f"{request.app[BASE]}/"})

    def office_of(self, request: web.Request) -> Office:
        """The office in the address; raises `Refusal`."""
        known = {office.id: office for office in self._hub.config.offices}
        if request.match_info["office"] not in known:
            raise unknown_office(request.match_info["office"], list(known))
        return known[request.match_info["office"]]

    async def close(self, app: web.Application) -> None:
        """Stop reading the past."""
        await self._pasts.close(app)

    async def join(self, request: web.Request) -> web.Response:
        """The page that makes a browser the office's agent."""
        office, formats = self.office_of(request), self.formats(request)
        shown = await self._access.may_see(request, office)
        content = join.join_page(self._hub.live, office, formats, shown=shown)
        response = await self.page(
            request, "join.html", formats, page=content, devices=DEVICE_FINDINGS,
            fine=FINE,
        )  # fmt: skip
        response.headers.update(join.headers(self._hub.config.probes.service))
        return response

    async def join_manifest(self, request: web.Request) -> web.Response:
        """What a browser needs to install the join page as an app."""
        office, formats = self.office_of(request), self.formats(request)
        words = formats.words
        content = join.manifest(office, words.language, words("web.title"), request.app[BASE])
        return web.json_response(content, content_type="application/manifest+json")

    async def faults(self, request: web.Request) -> web.Response:
        """The fault ledger."""
        formats = self.formats(request)
        view = await self._faults.view()
        content = page_content(view, self._hub.config, formats.now, formats.words)
        return await self.page(request, "faults.html", formats, page=content)

    async def book_fault(self, request: web.Request) -> web.Response:
        """Book a fault from a form; redirect to the ledger."""
        actor = await self._access.require(request)
        form = await read_form(request)
        office = request.match_info.get("office") or str(form.get("office", ""))
        fault = await self._faults.book(office, entry_of_form(form, self._zone()))
        await self._access.act(request, actor, "fault", {"fault": fault.id})
        return see_other(request, "/faults")

    async def change_fault(self, request: web.Request) -> web.Response:
        """Book a further entry on a fault from a form; redirect to the ledger."""
        actor = await self._access.require(request)
        form = await read_form(request)
        name = request.match_info["fault"]
        fault = await self._faults.change(name, entry_of_form(form, self._zone()))
        await self._access.act(request, actor, "fault", {"fault": fault.id})
        return see_other(request, "/faults")

    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._hub.config.district.timezone)

    async def redirect_to_help(self, request: web.Request) -> web.Response:
        """Redirect to the address with a slash, on which the relative links depend."""
        return web.Response(status=308, headers={"Location": f"{request.app[BASE]}/help/"})

    async def help(self, request: web.Request) -> web.Response:
        """A page or picture of the help."""
        name = request.match_info.get("page", INDEX)
        if name in PICTURES:
            return web.Response(body=picture(name), headers=picture_headers(name))
        formats = self.formats(request)
        language = formats.words.language
        try:
            content = await self._hub.read(help_page, name, language)
        except KeyError:
            raise Refusal(404, "there is no such page of the help; see /help/") from None
        every = await self._hub.read(contents, language)
        return await self.page(request, "help.html", formats, page=content, contents=every)

    async def end_streams(self, app: web.Application) -> None:
        """End the streams of events."""
        await self._feed.end(app)

    async def error(self, request: web.Request, status: int, message: str) -> web.Response:
        """The page for an error: what happened and where to go."""
        formats = self.formats(request)
        words = formats.words
        helpless = message == NOT_CONFIGURED  # a sign-in does not help
        key = "other" if helpless else str(status)
        sign_in_for = _here(request) if request.method == "GET" else "/"
        return await self.page(
            request,
            "error.html",
            formats,
            what=words.get(f"web.error.{key}", words("web.error.other")),
            detail="" if status in _SELF_EXPLANATORY and not helpless else message,
            sign_in_for=sign_in_for if status == 401 and not helpless else None,
            offer_offices=status == 404 and request.path.startswith("/office/"),
            http_status=status,
        )

    def formats(self, request: web.Request) -> Formats:
        """How the reader of a request reads figures and words."""
        language = choose_language(request, self._hub.config.report.languages[0])
        return Formats.of(language, self._hub.config.district.timezone, self._hub.clock.now())

    async def _made_up(self) -> bool:
        """Whether the hub's past is that of a made-up district, which each page says."""
        if self._past_made_up is None:
            try:
                self._past_made_up = await self._hub.read(self._hub.store.made_up)
            except (StoreError, Refusal) as error:  # the page must not fail over it
                level = logging.DEBUG if self._hub.live.hub.database_failing else logging.WARNING
                _log.log(level, "cannot read whether the past is made up: %s", error)
                return False
            except Exception:
                _log.exception("cannot read whether the past is made up")
                return False
        return self._past_made_up

    async def page(
        self,
        request: web.Request,
        template: str,
        formats: Formats,
        http_status: int = 200,
        **content: Any,
    ) -> web.Response:
        """Render a page, with what every page shows."""
        actor = await self._access.who(request)
        config = self._hub.config
        offices: Mapping[str, str] = {
            office.id: office.name_in(formats.words.language) for office in config.offices
        }
        text = self._renderer.render(
            template,
            formats,
            district=config.district,
            offices=offices,
            path=request.path,
            here=_here(request),
            thresholds=config.thresholds,
            actor=actor,
            may_operate=actor is not None and actor.role.allows(Role.OPERATE),
            may_administer=actor is not None and actor.role.allows(Role.ADMINISTER),
            made_up=await self._made_up(),
            refresh_seconds=REFRESH_SECONDS,
            **content,
        )
        response = web.Response(text=text, content_type="text/html", status=http_status)
        remember_language(request, response)
        response.enable_compression()
        return response


def _here(request: web.Request) -> str:
    """The address of a page with its query, to return to after the sign-in, as a query's value."""
    return "/" if request.path == "/signin" else quote(request.path_qs, safe="/")


def see_other(request: web.Request, path: str) -> web.Response:
    """A redirect after a change, to a path on this hub."""
    return web.Response(status=303, headers={"Location": request.app[BASE] + path})
