"""Sign-in, sign-out, and the page on sessions and on who did what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from aiohttp import web

from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.model import parse_utc
from jharnet_monitor.security.accounts import Role
from jharnet_monitor.store.acts import OF_PEOPLE, Act
from jharnet_monitor.web.auth import COOKIE, SESSION_SECONDS, Access, Actor
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.pages import Pages, see_other
from jharnet_monitor.web.query import read_form
from jharnet_monitor.web.sessions import Session

ACTS_SHOWN = 100
_ORDER = ("account", "office", "version", "probe", "profile", "minutes", "from", "to")
"""The order of an act's details in a row; all others follow."""
_ALL = ("office", "offices", "version")
"""Details that say something where they are not given: all offices, or no version."""
_MOMENTS = ("from", "to", "expires")
_NAMED_BY = {
    "probe": "probe", "profile": "profile", "paper": "web.reports.kind",
    "account": "web.account.name",
}  # fmt: skip
"""Details that are names of the program's own, and where their words are."""


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as the page shows it; `mine` is the reader's own."""

    id: str
    who: str
    address: str
    began: str
    seen: str
    mine: bool


@dataclass(frozen=True, slots=True)
class ActRow:
    """An act as the page shows it."""

    at: str
    who: str
    what: str
    about: str
    address: str


class AccountPages:
    """The handlers of these pages for one hub."""

    def __init__(self, hub: HubApi, access: Access, pages: Pages) -> None:
        self._hub = hub
        self._access = access
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """All routes of these pages."""
        return [
            web.get("/signin", self.sign_in_form),
            web.post("/signin", self.sign_in),
            web.post("/signout", self.sign_out),
            web.get("/account", self.account),
            web.post("/account/sessions/{session}/end", self.end_session),
        ]

    async def sign_in_form(self, request: web.Request) -> web.Response:
        """The form for name and password, or for the token."""
        return await self._form(request, request.query.get("next", "/"))

    async def sign_in(self, request: web.Request) -> web.Response:
        """Take password or token, and set the session's cookie."""
        form = await read_form(request)
        name, secret, target = (form.get(key, "") for key in ("name", "token", "next"))
        if not isinstance(name, str) or not isinstance(secret, str):
            name, secret = "", ""
        session = await self._access.sign_in(request, name, secret)
        if session is None:
            return await self._form(request, str(target), name, status=401)
        response = see_other(request, _local_path(str(target)))
        response.set_cookie(
            COOKIE,
            session,
            max_age=SESSION_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=self._hub.config.hub.tls is not False or request.scheme == "https",
            path=f"{self._hub.config.hub.base}/",
        )
        return response

    async def _form(
        self, request: web.Request, target: str, name: str = "", status: int = 200
    ) -> web.Response:
        hub = self._hub.config.hub
        return await self._pages.page(
            request,
            "signin.html",
            self._pages.formats(request),
            target=_local_path(target),
            wrong=status == 401,
            name=name[:64],
            accounts=hub.accounts_file is not None,
            token=hub.api_token_file is not None,
            http_status=status,
        )

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session."""
        await self._access.sign_out(request)
        response = see_other(request, "/")
        response.del_cookie(
            COOKIE, httponly=True, samesite="Strict", path=f"{self._hub.config.hub.base}/"
        )
        return response

    async def account(self, request: web.Request) -> web.Response:
        """The reader's sessions; administrators see all sessions, and who did what."""
        actor = await self._access.who(request)
        if actor is None:
            raise Refusal(401, "sign in first")
        formats = self._pages.formats(request)
        all_ = actor.role.allows(Role.ADMINISTER)
        acts = await self._hub.read(self._acts) if all_ else []
        return await self._pages.page(
            request,
            "account.html",
            formats,
            role=formats.words(f"web.account.role.{actor.role}"),
            who=_who(actor.account, formats),
            sessions=[
                _session_row(one, actor, formats)
                for one in self._access.sessions.all()
                if all_ or one.account == actor.account
            ],
            acts=[self._act_row(one, formats) for one in acts] if all_ else None,
        )

    def _acts(self) -> list[Act]:
        """The newest acts, the newest first; blocks."""
        soon = self._hub.clock.now() + timedelta(seconds=1)
        events = self._hub.store.event_log.events_before(OF_PEOPLE, soon, ACTS_SHOWN)
        return [Act.of(event) for event in reversed(events)]

    def _act_row(self, act: Act, formats: Formats) -> ActRow:
        """An act in the reader's words."""
        by = act.by.removeprefix("account ")
        name, user, login = by.partition(" (user ")
        by = formats.words.get(f"web.account.name.{name}", name) + user + login
        from_ = formats.words.get(f"web.account.name.{act.from_}", act.from_)
        at = "" if act.at is None else formats.date_and_time(act.at)
        what = formats.words.get(f"web.act.{act.what}", act.what)
        given = (key for key, value in act.about.items() if value is not None or key in _ALL)
        keys = sorted(given, key=lambda key: (*_ORDER, key).index(key))
        details = (self._describe(key, act.about[key], formats) for key in keys)
        about = " · ".join(filter(None, details))  # a reason may have been left out
        return ActRow(at, by, what, about, from_)

    def _describe(self, key: str, value: Any, formats: Formats) -> str:
        """What an act was about: names of offices and probes, moments, and other values."""
        names = {o.id: o.name_in(formats.words.language) for o in self._hub.config.offices}
        if key in ("office", "offices"):
            chosen = [value] if isinstance(value, str) else value
            known = ", ".join(names.get(one, one) for one in chosen or () if one)
            return known or formats.words("web.account.all_offices")
        if key == "version" and value is None:
            return formats.words("web.account.no_version")
        if key in _NAMED_BY:
            return formats.words.get(f"{_NAMED_BY[key]}.{value}", str(value))
        if key in _MOMENTS:
            return formats.date_and_time(parse_utc(value))
        if key == "minutes":
            return formats.duration(60 * value)
        return ", ".join(value) if isinstance(value, list) else str(value)

    async def end_session(self, request: web.Request) -> web.Response:
        """End one of the reader's own sessions; an administrator may end any."""
        actor = await self._access.require(request, Role.READ)
        for session in self._access.sessions.all():
            if session.id == request.match_info["session"]:
                if session.account != actor.account and not actor.role.allows(Role.ADMINISTER):
                    break
                self._access.sessions.end(session)
                await self._access.sessions.keep()
                about = {"account": session.account or "API token"}
                await self._access.act(request, actor, "session ended", about)
                return see_other(request, "/account")
        raise Refusal(404, "there is no such session")


def _session_row(session: Session, actor: Actor, formats: Formats) -> SessionRow:
    return SessionRow(
        session.id,
        _who(session.account, formats),
        session.address,
        formats.date_and_time(session.began),
        formats.date_and_time(session.seen),
        session is actor.session,
    )


def _who(account: str | None, formats: Formats) -> str:
    return account or formats.words("web.account.api_token")


def _local_path(target: str) -> str:
    """A path on this hub to return to; anything that could lead to another site becomes `/`."""
    if not target.startswith("/") or target.startswith(("//", "/\\")) or len(target) > 200:
        return "/"
    return quote(target, safe="/?=&%")
