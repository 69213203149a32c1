"""The JSON API under `/api/v1`, the addresses under `/-/`, and `/metrics`."""

from __future__ import annotations

import asyncio
import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from jharnet_monitor.config import Office
from jharnet_monitor.live import OfficeLive
from jharnet_monitor.model import Measurement, format_utc
from jharnet_monitor.security.accounts import Role
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.errors import Refusal, unknown_office
from jharnet_monitor.web.faults import FaultLedger, filtered
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.openapi import document
from jharnet_monitor.web.pages import BASE
from jharnet_monitor.web.query import (
    MeasurementQuery,
    parse_drill,
    parse_measurement_query,
    read_object,
)
from jharnet_monitor.web.whatif import WhatIf


class Api:
    """The handlers of the API for one hub."""

    def __init__(self, hub: HubApi, access: Access, faults: FaultLedger) -> None:
        self._hub = hub
        self._access = access
        self._faults = faults
        self._encoder = ThreadPoolExecutor(1, "metrics")
        self._openapi: str | None = None
        self._whatif = WhatIf()

    def routes(self) -> list[web.RouteDef]:
        """All routes of the API."""
        return [
            web.get("/metrics", self.metrics),
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.post("/-/reload", self.reload),
            web.get("/api/v1/openapi.json", self.openapi),
            web.get("/api/v1/offices", self.offices),
            web.get("/api/v1/measurements", self.measurements),
            web.get("/api/v1/offices/{office}/whatif", self.what_if),
            web.post("/api/v1/offices/{office}/probes/{probe}", self.run_probe),
            web.post("/api/v1/drills", self.start_drill),
            web.get("/api/v1/drills/{drill}", self.drill),
            web.get("/api/v1/faults", self.faults),
            web.post("/api/v1/faults", self.book_fault),
            web.post("/api/v1/faults/{fault}", self.change_fault),
            web.get("/agent", self._hub.agents.handle_socket),
            web.route("*", "/agent/transfer/{key}", self._hub.agents.handle_transfer),
        ]

    async def metrics(self, request: web.Request) -> web.Response:
        """The metrics for Prometheus."""
        snapshot = self._hub.metrics_registry.snapshot()
        accept = ",".join(request.headers.getall("Accept", []))
        # Level 1 is enough for repeated names; aiohttp's own level takes five times as long.
        compress = "gzip" in request.headers.get("Accept-Encoding", "")

        def write() -> tuple[bytes, str]:
            body, content_type = snapshot.encode(accept)
            return gzip.compress(body, 1) if compress else body, content_type

        # In a thread of its own: to Prometheus, a hub whose scrape waits for the database is down.
        loop = asyncio.get_running_loop()
        body, content_type = await loop.run_in_executor(self._encoder, write)
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if compress:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def healthy(self, request: web.Request) -> web.Response:
        """Answer that the process is alive."""
        return web.Response(text="healthy\n")

    async def ready(self, request: web.Request) -> web.Response:
        """Answer whether the hub works, or why not."""
        ready, why = self._hub.health.ready()
        return web.Response(text=f"{why or 'ready'}\n", status=200 if ready else 503)

    async def reload(self, request: web.Request) -> web.Response:
        """Reload the configuration; an invalid one is refused and the old one stays in force."""
        actor = await self._access.require(request, Role.ADMINISTER)
        await self._access.act(request, actor, "reload", {})
        await self._hub.reload()
        return web.json_response({"reloaded": True})

    async def openapi(self, request: web.Request) -> web.Response:
        """The OpenAPI description of the API."""
        if self._openapi is None:
            described = await self._hub.read(document, self._hub.probe_names)
            self._openapi = json.dumps(described)
        return web.json_response(text=self._openapi)

    async def offices(self, request: web.Request) -> web.Response:
        """Every office with its state and newest measurements."""
        live = self._hub.live
        return web.json_response([office_json(o, live.offices[o.id]) for o in live.config.offices])

    async def measurements(self, request: web.Request) -> web.Response:
        """Measurements, newest first; `Link: rel="next"` is the address of the older ones."""
        query = parse_measurement_query(request.query, self._office_ids(), self._hub.probe_names)
        found = await self._hub.read(self._find, query)
        body = await self._hub.read(lambda: json.dumps([m.to_json() for m in found]))
        headers = {}
        if len(found) == query.limit:
            older = request.rel_url.update_query(until=format_utc(_next_until(found)))
            headers["Link"] = f'<{request.app[BASE]}{older}>; rel="next"'
        response = web.json_response(text=body, headers=headers)
        response.enable_compression()
        return response

    def _find(self, query: MeasurementQuery) -> list[Measurement]:
        return list(
            self._hub.store.measurements(
                office=query.office,
                probe=query.probe,
                since=query.since,
                until=query.until,
                limit=query.limit,
                newest_first=True,
            )
        )

    async def run_probe(self, request: web.Request) -> web.Response:
        """Run a probe now and return its measurement."""
        actor = await self._access.require(request)
        office, probe = request.match_info["office"], request.match_info["probe"]
        if office not in self._office_ids():
            raise unknown_office(office, self._office_ids())
        if probe not in self._hub.probe_names:
            raise Refusal(
                404, f"no probe `{probe[:60]}`; there are {', '.join(self._hub.probe_names)}"
            )
        options = await read_object(request)
        await self._access.act(request, actor, "probe", {"office": office, "probe": probe})
        measurement = await self._hub.run_probe(office, probe, options)
        return web.json_response(measurement.to_json())

    async def what_if(self, request: web.Request) -> web.Response:
        """How probable each grade is on the office's line, changed as the query says."""
        office = request.match_info["office"]
        if office not in self._office_ids():
            raise unknown_office(office, self._office_ids())
        live = self._hub.live
        answer = await self._whatif.ask(live.config, live.offices[office], request.query)
        return web.json_response(answer)

    async def start_drill(self, request: web.Request) -> web.Response:
        """Start a drill of all offices."""
        actor = await self._access.require(request)
        profile, minutes = parse_drill(
            await read_object(request), self._hub.config.probes.conference.profile
        )
        about = {"profile": str(profile), "minutes": minutes}
        await self._access.act(request, actor, "drill", about)
        drill = await self._hub.start_drill(profile, minutes)
        place = f"{request.app[BASE]}/api/v1/drills/{drill.id}"
        return web.json_response(drill.to_json(), status=202, headers={"Location": place})

    async def drill(self, request: web.Request) -> web.Response:
        """The current state of a drill."""
        drill = await self._hub.drill(request.match_info["drill"])
        if drill is None:
            raise Refusal(404, "no such drill")
        return web.json_response(drill.to_json())

    async def faults(self, request: web.Request) -> web.Response:
        """The fault ledger as it stands, and the entries that are proposed."""
        office = filtered(request.query, self._office_ids())
        return web.json_response((await self._faults.view()).of(office).to_json())

    async def book_fault(self, request: web.Request) -> web.Response:
        """Book a new fault."""
        actor = await self._access.require(request)
        body = await read_object(request)
        office = str(body.pop("office", ""))
        fault = await self._faults.book(office, body)
        await self._access.act(request, actor, "fault", {"fault": fault.id})
        place = f"{request.app[BASE]}/api/v1/faults/{fault.id}"
        return web.json_response(fault.to_json(), status=201, headers={"Location": place})

    async def change_fault(self, request: web.Request) -> web.Response:
        """Book a further entry on a fault."""
        actor = await self._access.require(request)
        body = await read_object(request)
        fault = await self._faults.change(request.match_info["fault"], body)
        await self._access.act(request, actor, "fault", {"fault": fault.id})
        return web.json_response(fault.to_json())

    async def close(self, app: web.Application) -> None:
        """End the encoder's thread."""
        self._encoder.shutdown(wait=False)

    def _office_ids(self) -> list[str]:
        return [office.id for office in self._hub.config.offices]


def office_json(office: Office, live: OfficeLive) -> dict[str, Any]:
    """An office as the API returns it; null if not known."""
    return {
        "id": office.id,
        "name": office.name,
        "name_hi": office.name_hi,
        "subdivision": office.subdivision,
        "contracted_bits_per_second": office.link.contracted if office.link else None,
        "state": live.state.value,
        "since": format_utc(live.since) if live.since else None,
        "last_seen": format_utc(live.last_seen) if live.last_seen else None,
        "agent": {
            "connected": live.agent.connected,
            "version": live.agent.version,
            "update": live.agent.update_state,
            "last_heard": format_utc(live.agent.last_heard) if live.agent.last_heard else None,
        },
        "running": list(live.running),
        "latest": {key: measurement.to_json() for key, measurement in live.latest.items()},
    }


def _next_until(found: list[Measurement]) -> datetime:
    """The `until` of the next page.

    Other measurements may have begun in the oldest one's millisecond, so that is included again,
    unless all on this page began in it.
    """
    oldest = found[-1].started_at
    one_millisecond = format_utc(found[0].started_at) == format_utc(oldest)
    return oldest if one_millisecond else oldest + timedelta(milliseconds=1)
