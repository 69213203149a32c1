"""Named accounts: who may act on the hub, in which role, and the hashes of their passwords.

Accounts are kept in one JSON file that only its owner can read. The hub reads it again when it
changes, so a removed account loses its rights at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from jharnet_monitor.errors import UserError
from jharnet_monitor.security.tokens import check_private, write_secret

LEAST_PASSWORD = 12
"""Characters."""
LONGEST_PASSWORD = 200
MOST_ACCOUNTS = 1000
_COST, _BLOCK, _PARALLEL = 2**15, 8, 3
"""Parameters of scrypt (RFC 7914): 32 MB and about 0.2 s a password, which OWASP recommends."""
_MEMORY = 64 * 1024 * 1024
_NAME = re.compile(r"[a-z][a-z0-9._-]{0,31}")
_HASH = re.compile(r"scrypt:[A-Za-z0-9+/=]{24}:[A-Za-z0-9+/=]{44}")
_LARGEST_FILE = 1 << 20


class Role(StrEnum):
    """What an account may do. Each role may also do what those before it may."""

    READ = "read"
    """Reads pages, API and reports, also where reading needs an account."""
    OPERATE = "operate"
    """Runs probes and drills, announces maintenance."""
    ADMINISTER = "administer"
    """Reloads the configuration, sees who did what, ends others' sessions."""

    def allows(self, needed: Role) -> bool:
        """Whether it includes the rights of the other role.

        >>> Role.OPERATE.allows(Role.READ), Role.OPERATE.allows(Role.ADMINISTER)
        (True, False)
        """
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Account:
    """One account. Sessions hold `session_key`; changing it ends all of them."""

    name: str
    role: Role
    password: str
    session_key: str
    added_at: str


def make_account(name: str, role: Role, password: str, added_at: str) -> Account:
    """A new account; raises `UserError` for an invalid name or password."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"account {name!r}: must be 1 to 32 small letters, digits, `.`, `_` or `-`, such as "
            "`deepak.kumar`"
        )
    if not LEAST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UserError(
            f"the password must have {LEAST_PASSWORD} to {LONGEST_PASSWORD} characters; "
            "--generate makes one"
        )
    if name in password.lower():
        raise UserError("the password must not contain the account's name")
    return Account(name, role, hash_password(password), secrets.token_hex(8), added_at)


def hash_password(password: str) -> str:
    """The scrypt hash of a password, with a salt of its own; takes about 0.2 s."""
    salt = secrets.token_bytes(16)
    return f"scrypt:{_base64(salt)}:{_base64(_scrypt(password, salt))}"


def has_password(account: Account | None, password: str) -> bool:
    """Whether it is the account's password; takes as long for an account that does not exist."""
    known = _NOBODY if account is None else account.password
    _, salt, stored = known.split(":")
    given = _scrypt(password[:LONGEST_PASSWORD], base64.b64decode(salt))
    return hmac.compare_digest(given, base64.b64decode(stored)) and account is not None


def _scrypt(password: str, salt: bytes) -> bytes:
    text = password.encode(errors="surrogateescape")
    return hashlib.scrypt(text, salt=salt, n=_COST, r=_BLOCK, p=_PARALLEL, maxmem=_MEMORY, dklen=32)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


_NOBODY = f"scrypt:{_base64(bytes(16))}:{_base64(bytes(32))}"


def read_accounts(path: Path) -> dict[str, Account]:
    """The accounts by name; none without the file.

    Raises `UserError` if others can read it, or if it is not what `account add` writes.
    """
    try:
        with path.open("rb") as file:
            check_private(path, path.stat())
            raw = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        entries = json.loads(raw)["accounts"]
        found = [_read_account(entry) for entry in entries]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: is not a file of accounts ({error}); restore it from a backup, or delete it "
            "and add the accounts again with `jharnet-monitor account add`"
        ) from error
    if len({one.name for one in found}) != len(found) or len(found) > MOST_ACCOUNTS:
        raise UserError(f"{path}: has an account twice, or more than {MOST_ACCOUNTS}")
    return {one.name: one for one in found}


def _read_account(entry: Mapping[str, object]) -> Account:
    account = Account(**entry)  # type: ignore[arg-type]
    if not all(isinstance(value, str) for value in asdict(account).values()):
        raise ValueError("a value is no text")
    if not _NAME.fullmatch(account.name) or not _HASH.fullmatch(account.password):
        raise ValueError("a name or a password's hash is wrong")
    return replace(account, role=Role(account.role))


def write_accounts(path: Path, accounts: Mapping[str, Account]) -> None:
    """Replace the file, completely or not at all; raises `UserError`."""
    body = {"accounts": [asdict(account) for account in accounts.values()]}
    write_secret(path, json.dumps(body, indent=1) + "\n", replace=True)


def without_sessions(account: Account) -> Account:
    """The account, with all of its sessions ended."""
    return replace(account, session_key=secrets.token_hex(8))
