"""The agents' updates over HTTP: the releases, the current offer, and the state of each office."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from jharnet_monitor.errors import is_one_line
from jharnet_monitor.security.accounts import Role
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.errors import Refusal, unknown_office
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.query import read_object, refuse_unknown_keys

MOST_OFFICES = 1000


class UpdateApi:
    """The handlers of updates for one hub."""

    def __init__(self, hub: HubApi, access: Access) -> None:
        self._hub = hub
        self._access = access

    def routes(self) -> list[web.RouteDef]:
        """Their routes."""
        return [
            web.get("/api/v1/updates", self.status),
            web.post("/api/v1/updates", self.offer),
        ]

    async def status(self, request: web.Request) -> web.Response:
        """Published releases, the one that is offered, and each office's state."""
        return web.json_response(await self._hub.updates.status())

    async def offer(self, request: web.Request) -> web.Response:
        """Offer a version to all offices, in stages, or to those named; null withdraws."""
        actor = await self._access.require(request, Role.ADMINISTER)
        body = await read_object(request)
        refuse_unknown_keys(body, ("version", "offices"))
        known = [office.id for office in self._hub.config.offices]
        version, offices = _version(body), _offices(body.get("offices"), known)
        await self._access.act(
            request, actor, "update", {"version": version, "offices": body.get("offices")}
        )
        if version is None:
            await self._hub.updates.withdraw()
        else:
            await self._hub.updates.offer(version, offices, actor.name)
        return web.json_response(await self._hub.updates.status(), status=202)


def _version(body: Mapping[str, Any]) -> str | None:
    """The version to offer; None only where the body says so, since that withdraws the offer."""
    if "version" not in body:
        raise Refusal(400, "`version` is missing: a release's version, or null to withdraw")
    value = body["version"]
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= 40 or not is_one_line(value):
        raise Refusal(400, "`version` must be the version of a release, or null")
    return value


def _offices(value: Any, known: list[str]) -> tuple[str, ...] | None:
    if value is None:
        return None
    is_list = isinstance(value, list) and 0 < len(value) <= MOST_OFFICES
    if not is_list or not all(isinstance(one, str) and len(one) <= 64 for one in value):
        raise Refusal(400, "`offices` must be a list of offices, or null for all")
    for one in value:
        if one not in known:
            raise unknown_office(one, known)
    return tuple(value)
