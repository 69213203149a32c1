"""The browsers that are signed in. The hub keeps them in a file, so that a restart ends none.

A cookie is a random number, of which the hub stores only the hash. A session ends when the
account's password or the token changes: it holds a proof of the credential with which it began.
The proof is keyed with the cookie, so that whoever reads the file can neither sign in nor learn
anything of the credential.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jharnet_monitor.clock import Clock
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.security.tokens import check_private, write_secret

_log = logging.getLogger(__name__)

SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 1000
MOST_BYTES = 1_000_000
"""A larger file was not written here."""
_TEXTS = ("key", "id", "proof", "address")


@dataclass(slots=True)
class Session:
    """One signed-in browser."""

    id: str
    """Identifies it in lists; nobody can sign in with it."""
    account: str | None
    """The account's name; None for whoever signed in with the API token."""
    proof: str
    """Of the account's session key, or of the token's hash, at the sign-in."""
    address: str
    began: datetime
    seen: datetime

    def rests_on(self, cookie: str, credential: str) -> bool:
        """Whether it began with this credential; `cookie` is the one by which it was found."""
        return hmac.compare_digest(self.proof, _proof(cookie, credential))


class Sessions:
    """All sessions of a hub."""

    def __init__(self, clock: Clock, file: Path | None = None) -> None:
        """Read the sessions of before a restart. Without a file, a restart ends all."""
        self._clock = clock
        self._file = file
        self._writing = asyncio.Lock()
        self._sessions: dict[str, Session] = {}
        if file is not None and file.exists():
            self._sessions = dict(_read(file, clock.now()))

    def begin(self, account: str | None, credential: str, address: str) -> str:
        """Begin a session; returns its cookie. `keep` follows."""
        self._forget_old()
        if len(self._sessions) >= MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        cookie, now = secrets.token_urlsafe(32), self._clock.now()
        proof = _proof(cookie, credential)
        self._sessions[_key(cookie)] = Session(
            secrets.token_hex(4), account, proof, address, now, now
        )
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
        """End a session at once. `keep` follows, so that it does not return with a restart."""
        self._sessions = {key: one for key, one in self._sessions.items() if one is not session}

    def all(self) -> list[Session]:
        """Every session, the newest first."""
        self._forget_old()
        return [*self._sessions.values()][::-1]

    async def keep(self) -> None:
        """Write the sessions down. If that fails, a restart ends all of them."""
        if self._file is None:
            return
        async with self._writing:
            text = json.dumps([_to_json(key, one) for key, one in self._sessions.items()])
            await asyncio.to_thread(_write, self._file, text)

    def _forget_old(self) -> None:
        oldest = self._clock.now() - timedelta(seconds=SESSION_SECONDS)
        self._sessions = {key: one for key, one in self._sessions.items() if one.began > oldest}


def _key(cookie: str) -> str:
    # Bytes of a header that are not UTF-8 arrive as surrogates.
    return hashlib.sha256(cookie.encode(errors="surrogateescape")).hexdigest()


def _proof(cookie: str, credential: str) -> str:
    key = cookie.encode(errors="surrogateescape")
    return hmac.new(key, credential.encode(), hashlib.sha256).hexdigest()


def _to_json(key: str, session: Session) -> dict[str, Any]:
    return {
        "key": key,
        "id": session.id,
        "account": session.account,
        "proof": session.proof,
        "address": session.address,
        "began": format_utc(session.began),
        "seen": format_utc(session.seen),
    }


def _read(file: Path, now: datetime) -> Iterator[tuple[str, Session]]:
    """The sessions in a file that no one else can read; none where it cannot be used."""
    try:
        with file.open("rb") as opened:
            check_private(file, os.fstat(opened.fileno()))
            raw = opened.read(MOST_BYTES + 1)
        if len(raw) > MOST_BYTES:
            raise ValueError(f"larger than {MOST_BYTES} bytes")
        found = [_of_json(entry) for entry in json.loads(raw)]
    except (OSError, UserError, ValueError, KeyError, TypeError, RecursionError) as error:
        _log.warning("%s: sessions of before the restart have ended: %s", file, error)
        return
    oldest = now - timedelta(seconds=SESSION_SECONDS)
    for key, session in found[-MOST_SESSIONS:]:
        if oldest < session.began <= now:
            yield key, session


def _of_json(entry: dict[str, Any]) -> tuple[str, Session]:
    key, id_, proof, address = texts = [entry[name] for name in _TEXTS]
    account = entry["account"]
    if not all(isinstance(text, str) for text in (*texts, account or "")):
        raise TypeError("a session has a value of the wrong type")
    began, seen = parse_utc(entry["began"]), parse_utc(entry["seen"])
    return key, Session(id_, account, proof, address, began, seen)


def _write(file: Path, text: str) -> None:
    """Write the file, or remove it: an old one would bring a session back that has ended."""
    try:
        write_secret(file, text, replace=True)
    except (TemporaryError, UserError) as error:
        _log.error("sessions cannot be kept, so a restart ends them: %s", error)
        try:
            file.unlink(missing_ok=True)
        except OSError:
            _log.exception("%s cannot be removed: sessions that ended may return", file)
