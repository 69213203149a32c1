"""The pages for people: status, office, join, reports, help, and errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from jharnet_monitor.config import Office
from jharnet_monitor.errors import StoreError
from jharnet_monitor.help.pages import INDEX, PICTURES, picture
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.probes import PROBES
from jharnet_monitor.security.accounts import Role
from jharnet_monitor.web import join, reports
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.drill_line import drill_line
from jharnet_monitor.web.errors import Refusal, unknown_office
from jharnet_monitor.web.faults import FaultLedger, entry_of_form, page_content
from jharnet_monitor.web.help import contents, help_page, picture_headers
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.language import choose_language, remember_language
from jharnet_monitor.web.office import history, office_page
from jharnet_monitor.web.query import in_time
from jharnet_monitor.web.render import Renderer
from jharnet_monitor.web.status import status

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
        self._renderer = Renderer()
        self._past_made_up: bool | None = None
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}

    def routes(self) -> list[web.RouteDef]:
        """All routes of pages."""
        return [
            web.get("/", self.status),
            web.get("/office/{office}", self.office),
            web.post("/office/{office}/probes/{probe}", self.measure),
            web.get("/join/{office}", self.join),
            web.get("/join/{office}/app.webmanifest", self.join_manifest),
            web.get("/faults", self.faults),
            web.post("/faults", self.book_fault),
            web.post("/faults/{office}", self.book_fault),
            web.post("/faults/{office}/{fault}", self.change_fault),
            web.get("/reports", self.reports),
            web.get("/reports/{name}", self.report),
            web.get("/help", self.redirect_to_help),
            web.get("/help/", self.help),
            web.get("/help/{page}", self.help),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """All offices at a glance."""
        formats = self.formats(request)
        content = status(self._hub.live, formats)
        try:
            newest = await self._hub.newest_drill()
        except StoreError:  # what is known now does not need the database
            newest = None
        drill = drill_line(newest, self._hub.config.thresholds.grade, formats)
        return await self.page(request, "status.html", formats, status=content, drill=drill)

    async def office(self, request: web.Request) -> web.Response:
        """One office."""
        office, formats = self._office(request), self.formats(request)
        past = await self._hub.read(history, self._hub.store, office.id, formats.now)
        content = office_page(self._hub.live, office, past, formats)
        view = (await self._faults.view()).of(office.id)
        return await self.page(
            request,
            "office.html",
            formats,
            page=content,
            faults=page_content(view, self._hub.config, formats.now, formats.words),
            heavy_probes=[name for name, probe in PROBES.items() if probe.heavy],
            started=request.query.get("started", ""),
            already=request.query.get("already", ""),
        )

    async def measure(self, request: web.Request) -> web.Response:
        """Start a probe and redirect to the office's page, which will show the result."""
        actor = await self._access.require(request)
        office, probe = self._office(request).id, request.match_info["probe"]
        if probe not in self._hub.probe_names:
            raise Refusal(404, f"there are the probes {', '.join(self._hub.probe_names)}")
        PROBES[probe].parse_options({})  # one that needs options is started by the API alone
        word = "already"
        if (office, probe) not in self._running:
            await self._access.act(request, actor, "probe", {"office": office, "probe": probe})
            task = asyncio.create_task(self._run(office, probe))
            self._running[office, probe] = task
            task.add_done_callback(lambda _: self._running.pop((office, probe), None))
            word = "started"
        return see_other(f"/office/{office}?{word}={probe}")

    def _office(self, request: web.Request) -> Office:
        """The office in the address; raises `Refusal`."""
        known = {office.id: office for office in self._hub.config.offices}
        if request.match_info["office"] not in known:
            raise unknown_office(request.match_info["office"], list(known))
        return known[request.match_info["office"]]

    async def _run(self, office: str, probe: str) -> None:
        try:
            await self._hub.run_probe(office, probe, {})
        except Exception:
            _log.exception("unexpected error in %s of %s, which its page started", probe, office)

    async def close(self, app: web.Application) -> None:
        """Cancel the probes that were started from a page and still run."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def join(self, request: web.Request) -> web.Response:
        """The page that makes a browser the office's agent."""
        office, formats = self._office(request), self.formats(request)
        content = join.join_page(self._hub.live, office, formats)
        response = await self.page(request, "join.html", formats, page=content)
        response.headers.update(join.HEADERS)
        return response

    async def join_manifest(self, request: web.Request) -> web.Response:
        """What a browser needs to install the join page as an app."""
        office, formats = self._office(request), self.formats(request)
        words = formats.words
        content = join.manifest(office, words.language, words("web.title"))
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
        form = await in_time(request.post())
        office = request.match_info.get("office") or str(form.get("office", ""))
        fault = await self._faults.book(office, entry_of_form(form, self._zone()))
        await self._access.act(request, actor, "fault", {"fault": fault.id})
        return see_other("/faults")

    async def change_fault(self, request: web.Request) -> web.Response:
        """Book a further entry on a fault from a form; redirect to the ledger."""
        actor = await self._access.require(request)
        form = await in_time(request.post())
        name = request.match_info["fault"]
        fault = await self._faults.change(name, entry_of_form(form, self._zone()))
        await self._access.act(request, actor, "fault", {"fault": fault.id})
        return see_other("/faults")

    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._hub.config.district.timezone)

    async def reports(self, request: web.Request) -> web.Response:
        """The list of reports."""
        formats = self.formats(request)
        found = await self._hub.read(reports.listing, self._hub.reports_dir)
        return await self.page(request, "reports.html", formats, reports=found)

    async def report(self, request: web.Request) -> web.StreamResponse:
        """One report."""
        name = request.match_info["name"]
        path = await self._hub.read(reports.find, self._hub.reports_dir, name)
        if path is None:
            raise Refusal(404, "there is no such report")
        return web.FileResponse(path, headers=reports.headers(path))

    async def redirect_to_help(self, request: web.Request) -> web.Response:
        """Redirect to the address with a slash, on which the relative links depend."""
        return web.Response(status=308, headers={"Location": "/help/"})

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

    async def error(self, request: web.Request, status: int, message: str) -> web.Response:
        """The page for an error: what happened and where to go."""
        formats = self.formats(request)
        words = formats.words
        return await self.page(
            request,
            "error.html",
            formats,
            what=words.get(f"web.error.{status}", words("web.error.other")),
            detail="" if status in _SELF_EXPLANATORY else message,
            sign_in_for=request.path if status == 401 and request.method == "GET" else "/",
            status=status,
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
            except Exception:  # the page of an error must not fail over its cause
                _log.warning("not known whether the past is made up", exc_info=True)
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
            thresholds=config.thresholds,
            actor=actor,
            may_operate=actor is not None and actor.role.allows(Role.OPERATE),
            made_up=await self._made_up(),
            refresh_seconds=REFRESH_SECONDS,
            **content,
        )
        response = web.Response(text=text, content_type="text/html", status=http_status)
        remember_language(request, response)
        response.enable_compression()
        return response


def see_other(location: str) -> web.Response:
    """A redirect after a change."""
    return web.Response(status=303, headers={"Location": location})
