"""The browsers that are signed in. The hub holds them in memory, so each can be ended.

A cookie is a random number, of which the hub stores only the hash. A session also stores the
credential with which it began: it ends when the account's password or the token changes.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from jharnet_monitor.clock import Clock

SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 1000


@dataclass(slots=True)
class Session:
    """One signed-in browser."""

    id: str
    """Identifies it in lists; nobody can sign in with it."""
    account: str | None
    """The account's name; None for whoever signed in with the API token."""
    credential: str
    """The account's session key, or the token's hash, at the sign-in."""
    address: str
    began: datetime
    seen: datetime


class Sessions:
    """All sessions of a running hub; a restart ends them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sessions: dict[str, Session] = {}

    def begin(self, account: str | None, credential: str, address: str) -> str:
        """Begin a session; returns its cookie."""
        self._forget_old()
        if len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        cookie, now = secrets.token_urlsafe(32), self._clock.now()
        session = Session(secrets.token_hex(4), account, credential, address, now, now)
        self._sessions[_key(cookie)] = session
        return cookie

    def find(self, cookie: str, address: str) -> Session | None:
        """The session with a cookie, which is used now from an address."""
        session = self._sessions.get(_key(cookie))
        now = self._clock.now()
        if session is None or now - session.began >= timedelta(seconds=SESSION_SECONDS):
            return None
        session.seen, session.address = now, address
        return session

    def end(self, session: Session) -> None:
        """End a session at once."""
        self._sessions = {key: one for key, one in self._sessions.items() if one is not session}

    def all(self) -> list[Session]:
        """Every session, the newest first."""
        self._forget_old()
        return [*self._sessions.values()][::-1]

    def _forget_old(self) -> None:
        oldest = self._clock.now() - timedelta(seconds=SESSION_SECONDS)
        self._sessions = {key: one for key, one in self._sessions.items() if one.began > oldest}


def _key(cookie: str) -> str:
    # Bytes of a header that are not UTF-8 arrive as surrogates.
    return hashlib.sha256(cookie.encode(errors="surrogateescape")).hexdigest()
