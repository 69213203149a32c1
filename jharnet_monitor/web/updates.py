"""The agents' updates over HTTP: the releases, the current offer, and the state of each office."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from jharnet_monitor.security.accounts import Role
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.query import in_time, parse_object, refuse_unknown_keys

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
        body = parse_object(await in_time(request.read()))
        refuse_unknown_keys(body, ("version", "offices"))
        version, offices = body.get("version"), _offices(body.get("offices"))
        if version is not None and not (isinstance(version, str) and 0 < len(version) <= 40):
            raise Refusal(400, "`version` must be the version of a release, or null")
        await self._access.act(
            request, actor, "update", {"version": version, "offices": body.get("offices")}
        )
        if version is None:
            await self._hub.updates.withdraw()
        else:
            await self._hub.updates.offer(version, offices, actor.name)
        return web.json_response(await self._hub.updates.status(), status=202)


def _offices(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    is_list = isinstance(value, list) and 0 < len(value) <= MOST_OFFICES
    if not is_list or not all(isinstance(one, str) and len(one) <= 64 for one in value):
        raise Refusal(400, "`offices` must be a list of offices, or null for all")
    return tuple(value)
