"""Access control: the API token as bearer, or a browser that signed in with account or token.

Against forged requests (CSRF) the session's cookie is `SameSite=Strict`, and a change by cookie
must have the hub's own address as its origin.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web

from jharnet_monitor.config import Office
from jharnet_monitor.errors import UserError
from jharnet_monitor.security.accounts import Account, Role, has_password, read_accounts
from jharnet_monitor.security.tokens import hash_token, matches, read_secret
from jharnet_monitor.store.acts import Act
from jharnet_monitor.web.access_log import ACTOR
from jharnet_monitor.web.errors import PROGRAM_PATHS, Refusal
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.proxies import is_forwarded
from jharnet_monitor.web.sessions import SESSION_SECONDS, Session, Sessions
from jharnet_monitor.web.throttle import Throttle

_log = logging.getLogger(__name__)

__all__ = ["COOKIE", "SESSION_SECONDS", "Access", "Actor", "bearer", "is_own_origin"]

COOKIE = "jharnet_session"
FAILURES_A_MINUTE = 10
"""Wrong tokens and passwords from an address."""
ACCOUNT_FAILURES = 10
ACCOUNT_SECONDS = 600.0
"""Wrong passwords for an account, from any address, and the time in which they count."""
MOST_CHECKS = 8
"""Passwords that wait to be checked: each takes 32 MB and 0.2 s, one after the other."""
_LONG_TOKEN = 32
_LONGEST_USER = 64
_RETRY_SECONDS = 60
"""When to try again while a file of secrets cannot be used; somebody has to put it right."""

_OPEN = frozenset({
    "/signin", "/signout", "/static/{name}", "/join/{office}",
    "/join/{office}/app.webmanifest", "/agent", "/agent/transfer/{key}",
    "/-/healthy", "/-/ready", "/api/v1/ca.pem", "/api/v1/enrolments",
})  # fmt: skip
"""Open even where reading needs an account: these need another proof, or reveal nothing."""

NOT_CONFIGURED = (
    "changes over HTTP are disabled: set `hub: api_token_file:` in the configuration to a file "
    "with a token, or `hub: accounts_file:` to one with accounts"
)
UNAUTHORIZED = (
    "this needs a token: send `Authorization: Bearer TOKEN` with the token of "
    "`hub: api_token_file:`, or sign in at /signin"
)


_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="jharnet-monitor"'}
"""How to prove who one is, which each 401 says (RFC 9110, 15.5.2)."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who sends a request; `name` is `account NAME` or `API token`, as the record has it."""

    name: str
    role: Role
    account: str | None = None
    session: Session | None = None


class _NotConfiguredError(Exception):
    """No API token is configured, so none could be right."""


class _UnreadableError(Exception):
    """The file of the API token or of the accounts cannot be used now; the text is its key."""


class Access:
    """Decides who a request is from, and what it may do."""

    def __init__(self, hub: HubApi) -> None:
        self._hub = hub
        self.sessions = Sessions(hub.clock, hub.sessions_file)
        self._addresses = Throttle(hub.clock, FAILURES_A_MINUTE, 60.0)
        self._accounts = Throttle(hub.clock, ACCOUNT_FAILURES, ACCOUNT_SECONDS)
        self._checking = asyncio.Lock()
        self._waiting = 0

    async def require(self, request: web.Request, role: Role = Role.OPERATE) -> Actor:
        """Who sends the request; raises `Refusal` unless they may do what needs this role."""
        try:
            actor = await self._by_token(request) or await self._signed_in(request)
            if actor is None and self._hub.config.hub.accounts_file is None:
                await self._token()  # if no token could be right, the answer says so
        except _NotConfiguredError:
            raise Refusal(401, NOT_CONFIGURED, _CHALLENGE) from None
        except _UnreadableError as error:
            raise _unavailable(error) from None
        if actor is None:
            raise Refusal(401, UNAUTHORIZED, _CHALLENGE)
        request[ACTOR] = actor.name
        if actor.session is not None and request.method != "GET" and not _same_origin(request):
            raise Refusal(403, "refused: another site requested this change")
        if not actor.role.allows(role):
            raise Refusal(403, f"refused: {actor.name} may {actor.role}, and this needs `{role}`")
        return actor

    async def require_to_read(self, request: web.Request) -> None:
        """Raise `Refusal`, or lead to the sign-in, where reading needs an account."""
        resource = request.match_info.route.resource
        path = "" if resource is None else resource.canonical
        if self._hub.config.hub.reading == "open" or path in _OPEN:
            return
        passed_on = is_forwarded(request)
        if path == "/metrics" and _is_this_machine(request.remote) and not passed_on:
            return
        if request.method in ("GET", "HEAD") and not request.path.startswith(PROGRAM_PATHS):
            try:
                actor = await self._signed_in(request)
            except _UnreadableError as error:
                raise _unavailable(error) from None
            if actor is None:
                target = quote(request.path_qs, safe="/")
                raise web.HTTPSeeOther(f"{self._hub.config.hub.base}/signin?next={target}")
            return
        await self.require(request, Role.READ)

    async def may_see(self, request: web.Request, office: Office) -> bool:
        """Whether a request may see how an office is: from whoever may read, and from its own page,
        which sends the office's token."""
        if self._hub.config.hub.reading == "open" or await self.who(request) is not None:
            return True
        token = bearer(request)
        if token is None or office.agent is None:
            return False
        return await asyncio.to_thread(matches, token, office.agent.token_hash_file)

    async def act(
        self, request: web.Request, actor: Actor, what: str, about: Mapping[str, Any]
    ) -> None:
        """Record what somebody does."""
        by, user = actor.name, request.headers.get("Jharnet-User", "")
        if actor.account is None and user.isprintable() and 0 < len(user) <= _LONGEST_USER:
            by = f"{by} (user {user})"  # anyone with the token may claim this: it is no proof
        await self._hub.record_act(Act(what, by, request.remote or "", about))

    async def _by_token(self, request: web.Request) -> Actor | None:
        """Whoever sends the API token as bearer; raises `Refusal` after many wrong tokens."""
        sent = bearer(request)
        if sent is None or self._hub.config.hub.api_token_file is None:
            return None
        token, address = await self._token(), request.remote or ""
        # Nobody guesses a long token, so the right one is always accepted: behind a proxy all
        # share one address, and one of them could lock out everybody.
        if len(token) < _LONG_TOKEN:
            self._refuse_guessers(address)
        if _equal(sent, token):
            return Actor("API token", Role.ADMINISTER)
        self._refuse_guessers(address)
        self._addresses.failed(address)
        _log.warning("wrong API token from %s for %r", address, request.path)
        return None

    async def who(self, request: web.Request) -> Actor | None:
        """Who is signed in at the browser; None for nobody, and while that cannot be checked."""
        try:
            return await self._signed_in(request)
        except _UnreadableError:
            return None

    async def _signed_in(self, request: web.Request) -> Actor | None:
        """Who is signed in; raises `_UnreadableError`, which does not end the session."""
        cookie, session = self._session(request)
        if session is None:
            return None
        if session.account is None:
            try:
                valid = session.rests_on(cookie, hash_token(await self._token()))
            except _NotConfiguredError:
                return None
            return Actor("API token", Role.ADMINISTER, None, session) if valid else None
        account = (await self._known_accounts()).get(session.account)
        if account is None or not session.rests_on(cookie, account.session_key):
            self.sessions.end(session)
            return None
        request[ACTOR] = f"account {account.name}"
        return Actor(f"account {account.name}", account.role, account.name, session)

    def _session(self, request: web.Request) -> tuple[str, Session | None]:
        """The cookie of a request, and its session."""
        cookie = request.cookies.get(COOKIE, "")
        return cookie, self.sessions.find(cookie, request.remote or "") if cookie else None

    async def sign_in(self, request: web.Request, name: str, secret: str) -> str | None:
        """The session's cookie for the right password or token, else None.

        Without a name `secret` is the API token. Raises `Refusal` after many tries, and while the
        file of the tokens or accounts cannot be used.
        """
        address, name = request.remote or "", name.strip().lower()[:_LONGEST_USER]
        if not _same_origin(request):
            raise Refusal(403, "refused: another site requested this sign-in")
        try:
            if name:
                credential = await self._check_password(name, secret, address)
            else:
                credential = await self._check_token(secret, address)
        except _NotConfiguredError:
            raise Refusal(403, NOT_CONFIGURED) from None
        except _UnreadableError as error:
            raise _unavailable(error) from None
        if credential is None:
            self._addresses.failed(address)
            _log.warning("refused a sign-in of %r from %s", name or "API token", address)
            return None
        actor = Actor(f"account {name}" if name else "API token", Role.READ, name or None)
        await self.act(request, actor, "signed in", {})
        cookie = self.sessions.begin(name or None, credential, address)
        await self.sessions.keep()
        return cookie

    async def _check_token(self, secret: str, address: str) -> str | None:
        token = await self._token()
        if len(token) < _LONG_TOKEN:
            self._refuse_guessers(address)
        if _equal(secret, token):
            return hash_token(token)
        self._refuse_guessers(address)
        return None

    async def _check_password(self, name: str, password: str, address: str) -> str | None:
        """The account's session key for its password; passwords are checked one at a time."""
        self._refuse_guessers(address, name)
        if self._waiting >= MOST_CHECKS:
            raise Refusal(503, "too many sign-ins at once; try again", {"Retry-After": "5"})
        self._waiting += 1
        try:
            async with self._checking:
                self._refuse_guessers(address, name)  # others may have failed meanwhile
                account = (await self._known_accounts()).get(name)
                right = await asyncio.to_thread(has_password, account, password)
        finally:
            self._waiting -= 1
        if account is None or not right:
            self._accounts.failed(name)
            return None
        self._accounts.succeeded(name)
        return account.session_key

    def _refuse_guessers(self, address: str, name: str = "") -> None:
        """Raise `Refusal` (429) after too many failures from an address, or of an account."""
        for throttle, key in ((self._addresses, address), (self._accounts, name)):
            if throttle.is_full(key):
                raise Refusal(
                    429, "too many wrong tokens or passwords; try again later",
                    {"Retry-After": f"{throttle.seconds:.0f}"},
                )  # fmt: skip

    async def sign_out(self, request: web.Request) -> None:
        """End the browser's session, so that copies of its cookie stop working, too."""
        actor, (_, session) = await self.who(request), self._session(request)
        if session is not None:
            self.sessions.end(session)
            await self.sessions.keep()
        if actor is not None:
            await self.act(request, actor, "signed out", {})

    async def _token(self) -> str:
        """Read the token from its file each time: a new one needs no reload.

        Raises `_NotConfiguredError`, or `_UnreadableError` if the file cannot be used.
        """
        path = self._hub.config.hub.api_token_file
        if path is None:
            raise _NotConfiguredError
        try:
            return await asyncio.to_thread(read_secret, path)
        except UserError as error:
            _log.error("cannot read the API token, so nobody can use it: %s", error)
            raise _UnreadableError("api_token_file") from None

    async def _known_accounts(self) -> dict[str, Account]:
        """Read the accounts from their file each time, so that a removed one needs no reload.

        Raises `_UnreadableError` if the file cannot be used.
        """
        path = self._hub.config.hub.accounts_file
        if path is None:
            return {}
        try:
            return await asyncio.to_thread(read_accounts, path)
        except UserError as error:
            _log.error("cannot read the accounts, so nobody can use one: %s", error)
            raise _UnreadableError("accounts_file") from None


def _unavailable(error: _UnreadableError) -> Refusal:
    text = f"the file in `hub: {error}:` cannot be used now; see the hub's log"
    return Refusal(503, text, {"Retry-After": f"{_RETRY_SECONDS}"})


def bearer(request: web.Request) -> str | None:
    """The token that a request sends as bearer (RFC 6750, 2.1)."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _equal(sent: str, expected: str) -> bool:
    """Compare in constant time."""
    # Bytes of a header that are not UTF-8 arrive as surrogates.
    return hmac.compare_digest(sent.encode(errors="surrogateescape"), expected.encode())


def is_own_origin(origin: str, host: str) -> bool:
    """Whether an `Origin` header names this host; one that is no address does not."""
    try:
        return urlsplit(origin).netloc == host
    except ValueError:
        return False


def _same_origin(request: web.Request) -> bool:
    """Whether the request comes from our own page; browsers send `Origin` with every POST."""
    origin = request.headers.get("Origin", "")
    return bool(origin) and is_own_origin(origin, request.host)


def _is_this_machine(address: str | None) -> bool:
    try:
        return ip_address(address or "").is_loopback
    except ValueError:
        return False
