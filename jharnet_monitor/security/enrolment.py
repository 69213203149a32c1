"""Enrolment: an office's agent registers a token that it made, using a one-time code.

The engineer carries one line to the office: the hub's address, the fingerprint of its authority,
and a code that works once. The agent makes its own token and sends only the token's hash, so the
token never leaves the office's machine.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jharnet_monitor.errors import UserError
from jharnet_monitor.file_lock import locked
from jharnet_monitor.security.tokens import (
    hash_token,
    is_missing,
    is_token_hash,
    make_token,
    read_secret,
    read_token_hash,
    write_secret,
)

PREFIX = "jharnet-enrolment-1:"
LONGEST = timedelta(days=90)
REPEAT_TIME = timedelta(minutes=10)
"""How long an agent that did not receive the answer may repeat its request."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What is carried to the office. `authority` is the SHA-256 of the hub's CA certificate,
    `release_key` the key that updates are signed with, where the hub has published any."""

    hub: str
    office: str
    code: str
    authority: str | None
    expires: str
    release_key: str | None = None

    def to_line(self) -> str:
        """One line of text.

        >>> Enrolment.of(Enrolment("https://h:1", "potka", "c", None, "2026-11-27T00:00:00Z")
        ...              .to_line()).office
        'potka'
        """
        data = json.dumps(asdict(self), separators=(",", ":")).encode()
        return PREFIX + base64.urlsafe_b64encode(data).decode()

    @classmethod
    def of(cls, line: str) -> Enrolment:
        """Parse a line; raises `UserError`."""
        try:
            if not line.startswith(PREFIX):
                raise ValueError
            data = json.loads(base64.urlsafe_b64decode(line.removeprefix(PREFIX)))
            found = cls(**data)
            datetime.fromisoformat(found.expires)
        except (ValueError, TypeError):
            raise UserError(
                "this is no enrolment; use the whole line that `jharnet-monitor enrol OFFICE` made"
            ) from None
        return found

    def agent_settings(self) -> dict[str, str]:
        """What agent.yaml holds of it.

        >>> Enrolment("https://h:1", "potka", "c", None, "2026-11-27T00:00:00Z").agent_settings()
        {'hub': 'wss://h:1/agent', 'office': 'potka'}
        """
        scheme = "wss" if self.hub.startswith("https:") else "ws"
        key = {} if self.release_key is None else {"release_key": self.release_key}
        return {
            "hub": f"{scheme}://{urlsplit(self.hub).netloc}/agent",
            "office": self.office,
            **key,
        }


class EnrolmentRefused(UserError):
    """The code is wrong, used or expired."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """What the hub stores about a code: its hash, who made it, until when, and who used it."""

    code: str
    by: str
    expires: str
    token: str | None = None
    used_at: str | None = None


def issue(token_hash_file: Path, *, by: str, expires: datetime) -> str:
    """Make a code for the office with this `token_hash_file`; an earlier code stops working."""
    code = make_token()
    with locked(_pending_file(token_hash_file)):
        _write(token_hash_file, _Pending(hash_token(code), by, expires.isoformat()))
    return code


def was_issued(token_hash_file: Path) -> bool:
    """Whether a code was made for the office with this `token_hash_file`."""
    return not is_missing(_pending_file(token_hash_file))


def accept(token_hash_file: Path, code: str, token_hash: str, now: datetime) -> str:
    """Register the token with this hash if the code is valid; returns who made the code. The code
    cannot be used again, also if two agents send it at once. The agent that used it may repeat its
    request, because the answer may have been lost: while its token is registered, and at least for
    `REPEAT_TIME`. Raises `EnrolmentRefused`.
    """
    with locked(_pending_file(token_hash_file)):
        return _accept(token_hash_file, code, token_hash, now)


def _accept(token_hash_file: Path, code: str, token_hash: str, now: datetime) -> str:
    try:
        pending = _Pending(**json.loads(read_secret(_pending_file(token_hash_file))))
        expires = datetime.fromisoformat(pending.expires)
    except (UserError, ValueError, TypeError):
        raise EnrolmentRefused("there is no open enrolment for this office") from None
    if not hmac.compare_digest(hash_token(code).encode(), pending.code.encode()):
        raise EnrolmentRefused("wrong code")
    if not is_token_hash(token_hash):
        raise EnrolmentRefused("this is no token hash")
    registered = _has_token_hash(token_hash_file, token_hash)
    if pending.used_at is not None:
        repeated = now <= datetime.fromisoformat(pending.used_at) + REPEAT_TIME
        if pending.token != token_hash or not (registered or repeated):
            raise EnrolmentRefused("this code was used already")
    elif now > expires:
        raise EnrolmentRefused("this code has expired")
    if not registered:
        write_secret(token_hash_file, token_hash + "\n", replace=True)
    if pending.used_at is None:  # last, so that after a power cut the agent can send it again
        _write(token_hash_file, replace(pending, token=token_hash, used_at=now.isoformat()))
    return pending.by


def _has_token_hash(token_hash_file: Path, token_hash: str) -> bool:
    try:
        return secrets.compare_digest(read_token_hash(token_hash_file), token_hash)
    except UserError:
        return False


def _write(token_hash_file: Path, pending: _Pending) -> None:
    data: dict[str, Any] = asdict(pending)
    write_secret(_pending_file(token_hash_file), json.dumps(data) + "\n", replace=True)


def _pending_file(token_hash_file: Path) -> Path:
    return token_hash_file.with_name(token_hash_file.name + ".enrolment")
