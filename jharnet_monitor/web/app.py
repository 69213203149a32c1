"""The hub's web application: routes, security headers, errors."""

from __future__ import annotations

import mimetypes

from aiohttp import web
from aiohttp.typedefs import Handler

from jharnet_monitor.web.account import AccountPages
from jharnet_monitor.web.api import Api
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.csv_export import CsvExport
from jharnet_monitor.web.drill_pages import DrillPages
from jharnet_monitor.web.enrolment import EnrolmentApi
from jharnet_monitor.web.errors import Refusal, error_middleware
from jharnet_monitor.web.faults import FaultLedger
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.join import JOIN_ASSETS, SCOPE, SERVICE
from jharnet_monitor.web.joining import JoiningPages
from jharnet_monitor.web.maintenance import MaintenancePages
from jharnet_monitor.web.office_pages import OfficePages
from jharnet_monitor.web.pages import BASE, Pages
from jharnet_monitor.web.proxies import trust_proxies
from jharnet_monitor.web.render import STATIC
from jharnet_monitor.web.report_pages import REPORT_PAGES, ReportPages
from jharnet_monitor.web.updates import UpdateApi

LARGEST_REQUEST = 64 * 1024
"""Bytes of a body that is read at once; transfers are streamed and have their own limits."""

_ASSETS = ("style.css", "page.js", "whatif.js", "icon.svg", *JOIN_ASSETS)

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers then send `Origin: null`, and changes need the origin.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app(hub: HubApi) -> web.Application:
    """Build the application for one hub; it starts nothing."""
    access = Access(hub)
    faults = FaultLedger(hub)
    pages = Pages(hub, access, faults)

    @web.middleware
    async def refuse_readers(request: web.Request, handler: Handler) -> web.StreamResponse:
        await access.require_to_read(request)
        return await handler(request)

    app = web.Application(
        client_max_size=LARGEST_REQUEST,
        middlewares=[
            trust_proxies(hub.config.hub.trusted_proxies),
            error_middleware(pages.error),
            refuse_readers,
        ],
    )
    app[BASE] = hub.config.hub.base
    office_pages = OfficePages(hub, access, pages, faults)
    app[REPORT_PAGES] = report_pages = ReportPages(hub, access, pages)
    joining = JoiningPages(hub, access, pages)
    api = Api(hub, access, faults)
    app.add_routes(api.routes())
    app.add_routes(EnrolmentApi(hub).routes())
    app.add_routes(CsvExport(hub).routes())
    app.add_routes(UpdateApi(hub, access).routes())
    app.add_routes(pages.routes())
    app.add_routes(office_pages.routes())
    app.add_routes(DrillPages(hub, access, pages).routes())
    app.add_routes(MaintenancePages(hub, access, pages).routes())
    app.add_routes(report_pages.routes())
    app.add_routes(joining.routes())
    app.add_routes(AccountPages(hub, access, pages).routes())
    app.router.add_get("/static/{name}", _asset)
    app.on_shutdown.append(pages.end_streams)
    app.on_cleanup.append(office_pages.close)
    app.on_cleanup.append(report_pages.close)
    app.on_cleanup.append(joining.close)
    app.on_cleanup.append(pages.close)
    app.on_cleanup.append(api.close)
    app.on_response_prepare.append(_add_security_headers)
    return app


async def _add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)


async def _asset(request: web.Request) -> web.Response:
    """A static file. Its address changes with its content, so browsers may cache it."""
    name = request.match_info["name"]
    if name not in _ASSETS:
        raise Refusal(404, "there is no such file")
    content_type, _ = mimetypes.guess_type(name)
    response = web.Response(
        body=STATIC.joinpath(name).read_bytes(),
        headers={
            "Content-Type": f"{content_type}; charset=utf-8",
            "Cache-Control": "public, max-age=31536000, immutable"
            if "v" in request.query
            else "no-cache",
        },
    )
    if name == SERVICE:
        response.headers["Service-Worker-Allowed"] = request.app[BASE] + SCOPE
    response.enable_compression()
    return response
