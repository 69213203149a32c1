"""Access control for changes: the API token as bearer, or a browser session made with it.

A session is a cookie signed with a key derived from the token, so the hub stores no sessions: they
survive a restart and end with a new token. Against forged requests (CSRF) the cookie is
`SameSite=Strict`, and a change by cookie must have the hub's own address as its origin.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections import deque
from urllib.parse import urlsplit

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import UserError
from jharnet_monitor.security.tokens import read_secret
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi

_log = logging.getLogger(__name__)

COOKIE = "jharnet_session"
SESSION_SECONDS = 12 * 3600
FAILURES_A_MINUTE = 10
_MOST_ADDRESSES = 1000
_MOST_ENDED = 10_000
_LONG_TOKEN = 32

NOT_CONFIGURED = (
    "changes over HTTP are disabled: set `hub: api_token_file:` in the configuration to a file "
    "with a token"
)
UNREADABLE = "the file in `hub: api_token_file:` cannot be used; see the hub's log"
UNAUTHORIZED = (
    "changes need a token: send `Authorization: Bearer TOKEN` with the token of "
    "`hub: api_token_file:`, or sign in at /signin"
)


class Throttle:
    """Counts wrong tokens by address, to slow down guessing."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[str, deque[float]] = {}

    def refuse_guessers(self, address: str, right: str = "") -> None:
        """Raise `Refusal` (429) for an address with too many wrong tokens in the last minute.

        Nobody guesses a long token, so whoever has it is let in: behind a proxy all share one
        address, and one could lock out everybody.
        """
        if len(right) >= _LONG_TOKEN:
            return
        recent = self._failures.get(address)
        now = self._clock.monotonic()
        while recent and recent[0] < now - 60:
            recent.popleft()
        if recent is not None and len(recent) >= FAILURES_A_MINUTE:
            raise Refusal(429, "too many wrong tokens from this address; try again in a minute",
                          {"Retry-After": "60"})  # fmt: skip

    def failed(self, address: str) -> None:
        """Count a wrong token."""
        if address not in self._failures and len(self._failures) >= _MOST_ADDRESSES:
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault(address, deque(maxlen=FAILURES_A_MINUTE)).append(
            self._clock.monotonic()
        )


class Access:
    """Decides whether a request may make changes."""

    def __init__(self, hub: HubApi) -> None:
        self._hub = hub
        self._throttle = Throttle(hub.clock)
        self._ended: dict[str, float] = {}
        """Sessions that were signed out, and when they would have ended."""

    async def require(self, request: web.Request) -> None:
        """Return if the request may make changes; else raise `Refusal` that says what is
        missing."""
        token = await self._token()
        address = request.remote or ""
        self._throttle.refuse_guessers(address, token)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if _equal(given.strip(), token):
                return
            self._throttle.refuse_guessers(address)
            self._throttle.failed(address)
            _log.warning("wrong API token from %s for %r", address, request.path)
        elif self._has_valid_session(request, token):
            if _same_origin(request):
                return
            raise Refusal(403, "refused: another site requested this change")
        raise Refusal(401, UNAUTHORIZED, {"WWW-Authenticate": 'Bearer realm="jharnet-monitor"'})

    async def signed_in(self, request: web.Request) -> bool:
        """Whether the browser has a valid session."""
        if COOKIE not in request.cookies:
            return False
        try:
            return self._has_valid_session(request, await self._token())
        except Refusal:
            return False

    async def sign_in(self, request: web.Request, given: str) -> str | None:
        """The session cookie for the correct token, else None; raises `Refusal` after many
        tries."""
        token = await self._token()
        address = request.remote or ""
        self._throttle.refuse_guessers(address, token)
        if not _same_origin(request):
            raise Refusal(403, "refused: another site requested this sign-in")
        if not _equal(given, token):
            self._throttle.refuse_guessers(address)
            self._throttle.failed(address)
            _log.warning("wrong API token from %s at sign-in", address)
            return None
        body = f"{int(self._hub.clock.now().timestamp()) + SESSION_SECONDS}.{secrets.token_hex(8)}"
        return f"{body}.{_signature(token, body)}"

    def sign_out(self, request: web.Request) -> None:
        """End the browser's session, wherever else its cookie is kept."""
        now = self._hub.clock.now().timestamp()
        self._ended = {body: end for body, end in self._ended.items() if end > now}
        body, _, _ = request.cookies.get(COOKIE, "").rpartition(".")
        if body and len(self._ended) < _MOST_ENDED:
            self._ended[body] = now + SESSION_SECONDS

    async def _token(self) -> str:
        """Read the token, each time, so that a new one needs no reload; raises `Refusal`."""
        path = self._hub.config.hub.api_token_file
        if path is None:
            raise Refusal(403, NOT_CONFIGURED)
        try:
            return await asyncio.to_thread(read_secret, path)
        except UserError as error:
            _log.error("cannot read the API token, changes over HTTP are refused: %s", error)
            raise Refusal(403, UNREADABLE) from None

    def _has_valid_session(self, request: web.Request, token: str) -> bool:
        body, _, signature = request.cookies.get(COOKIE, "").rpartition(".")
        if not _equal(signature, _signature(token, body)) or body in self._ended:
            return False
        expires, _, _ = body.partition(".")
        return self._hub.clock.now().timestamp() < int(expires)


def _signature(token: str, body: str) -> str:
    key = hmac.digest(token.encode(), b"jharnet-monitor web session 1", hashlib.sha256)
    return hmac.new(key, body.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()


def _equal(given: str, right: str) -> bool:
    """Compare in constant time."""
    # Bytes of a header that are not UTF-8 arrive as surrogates.
    return hmac.compare_digest(given.encode(errors="surrogateescape"), right.encode())


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
