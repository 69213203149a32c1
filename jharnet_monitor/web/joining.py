"""The administrators' page on the offices that have joined, and on new join links.

The hub stores no token, only its hash, so a link can be shown once: in the response to the request
that makes it. The old link then stops working.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import web

from jharnet_monitor.config import Office
from jharnet_monitor.config.addresses import hub_url
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.report.output.worker import WorkerError, in_own_process
from jharnet_monitor.security.accounts import Role
from jharnet_monitor.security.tokens import hash_token, make_token, write_secret
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.pages import Pages

CARD = ("jharnet_monitor.report.output.join_card", "card_for")


@dataclass(frozen=True, slots=True)
class JoiningRow:
    """An office: whether a link was made for it, and how it has joined."""

    id: str
    name: str
    link: str
    joined: str
    seen: str
    expected: bool
    made: bool


class JoiningPages:
    """The handlers of these pages for one hub."""

    def __init__(self, hub: HubApi, access: Access, pages: Pages) -> None:
        self._hub = hub
        self._access = access
        self._pages = pages
        self._thread = ThreadPoolExecutor(1, "cards")

    def routes(self) -> list[web.RouteDef]:
        """All routes of these pages."""
        return [
            web.get("/joining", self.listed),
            web.post("/joining/{office}", self.new_link),
        ]

    async def listed(self, request: web.Request) -> web.Response:
        """Every office, its link without the token, and who has joined."""
        await self._access.require(request, Role.ADMINISTER)
        formats = self._pages.formats(request)
        with_token = await asyncio.to_thread(self._offices_with_token)
        rows = [self._row(office, with_token, formats) for office in self._hub.config.offices]
        connected = sum(
            self._hub.live.offices[office.id].agent.connected for office in self._hub.config.offices
        )
        return await self._pages.page(
            request, "joining.html", formats, rows=rows,
            summary=formats.words("web.joining.summary", n=connected, total=len(rows)),
        )  # fmt: skip

    def _offices_with_token(self) -> frozenset[str]:
        """The offices for which a token was made."""
        return frozenset(
            office.id
            for office in self._hub.config.offices
            if office.agent is not None and office.agent.token_hash_file.exists()
        )

    def _row(self, office: Office, with_token: frozenset[str], formats: Formats) -> JoiningRow:
        t, agent = formats.words, self._hub.live.offices[office.id].agent
        if agent.connected:
            joined = t(f"web.joining.by.{agent.kind or 'program'}", version=agent.version or "")
        else:
            joined = t("web.agent.goodbye" if agent.signed_off else "web.agent.absent")
        return JoiningRow(
            id=office.id,
            name=office.name_in(t.language),
            link=f"{hub_url(self._hub.config.hub)}/join/{office.id}",
            joined=joined,
            seen="" if agent.last_heard is None else formats.age(agent.last_heard),
            expected=office.agent is not None,
            made=office.id in with_token,
        )

    async def new_link(self, request: web.Request) -> web.Response:
        """Make a new token; returns the card with its link, which the hub does not store."""
        actor = await self._access.require(request, Role.ADMINISTER)
        office = self._pages.office_of(request)
        if office.agent is None:
            raise Refusal(400, f"{office.id} has no `agent: token_hash_file:` in the configuration")
        token = make_token()
        link = f"{hub_url(self._hub.config.hub)}/join/{office.id}#t={token}"
        order = *CARD, office.id, link, self._hub.config, self._hub.clock.now()
        loop = asyncio.get_running_loop()
        try:
            card = await loop.run_in_executor(self._thread, in_own_process, *order)
        except WorkerError as error:
            raise Refusal(503, f"the card could not be made: {error}") from error
        # The card comes first: a token without its card would lock the office out.
        file = office.agent.token_hash_file
        await self._access.act(request, actor, "token made", {"office": office.id})
        await asyncio.to_thread(write_secret, file, hash_token(token) + "\n", replace=True)
        return web.Response(
            body=card,
            content_type="application/pdf",
            headers={"Content-Disposition": f'attachment; filename="join-{office.id}.pdf"'},
        )

    async def close(self, app: web.Application) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False)
