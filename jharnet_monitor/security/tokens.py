"""Tokens, and the files that contain secrets.

A token has 256 random bits, so a plain SHA-256 of it cannot be reversed by guessing and is cheap
to check; slow hashes (scrypt, Argon2) are for passwords that people choose.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
from pathlib import Path

from jharnet_monitor.errors import UserError, file_error

_log = logging.getLogger(__name__)

HAS_OWNERS = hasattr(os, "geteuid")
"""Whether files have an owner and a mode, which Windows does not have."""
PREFIX = "sha256:"
MAX_SECRET_BYTES = 4096


def make_token() -> str:
    """A new token: 43 characters that are safe in a URL."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """The hash of a token, which is all that the hub stores of it.

    >>> hash_token("abc")
    'sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    """
    return PREFIX + hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def is_token_hash(text: str) -> bool:
    """Whether a text has the form of a token's hash."""
    return re.fullmatch(PREFIX + "[0-9a-f]{64}", text) is not None


def matches(token: str, hash_file: Path) -> bool:
    """Whether a token has the hash in the file; takes the same time either way.

    The file is read each time, so that a new token needs no reload. A file that cannot be used
    is logged and matches no token.
    """
    try:
        stored = read_token_hash(hash_file)
    except UserError as error:
        _log.error("unusable token file, agents are rejected: %s", error)
        return False
    return hmac.compare_digest(hash_token(token).encode(), stored.encode())


def read_token_hash(path: Path) -> str:
    """The hash in a `token_hash_file`; raises `UserError` with the remedy."""
    stored = read_secret(path)
    if not is_token_hash(stored):
        raise UserError(
            f"{path}: contains no token hash; make it with `jharnet-monitor token OFFICE --force`"
        )
    return stored


def read_secret(path: Path) -> str:
    """The one line in a secret file; raises `UserError` if others can read it or it has no line."""
    try:
        with path.open("rb") as file:
            check_private(path, os.fstat(file.fileno()))
            raw = file.read(MAX_SECRET_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        text = raw.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: must contain one line of text") from error
    if text.startswith("\ufeff"):  # Windows' editors write it; others would take it for the secret
        raise UserError(f"{path}: begins with a byte order mark; save it without one")
    if not text:
        raise UserError(f"{path}: is empty")
    if len(raw) > MAX_SECRET_BYTES or "\n" in text:
        raise UserError(f"{path}: must contain one line of text")
    return text


def is_missing(path: Path) -> bool:
    """Whether there is no such file; who reads one that cannot be looked at gets the reason."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def read_bytes_private(path: Path) -> bytes:
    """The bytes of a small secret file; raises `UserError` like `read_secret`."""
    try:
        with path.open("rb") as file:
            check_private(path, os.fstat(file.fileno()))
            return file.read(MAX_SECRET_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def check_private(path: Path, status: os.stat_result) -> None:
    """Raise `UserError` if anyone but its owner can read or write the file, where that can be
    seen.
    """
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: is not a file")
    if HAS_OWNERS and status.st_mode & 0o077 and not _kept_by_systemd(path):
        mode = stat.S_IMODE(status.st_mode)
        raise UserError(f"{path}: can be used by others (mode {mode:o}); run `chmod 600 {path}`")


def _kept_by_systemd(path: Path) -> bool:
    """Whether it is a credential of this service, which systemd.exec(5) protects by an ACL."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return directory is not None and path.absolute().is_relative_to(directory)


def _make_directory(directory: Path) -> None:
    """Like `mkdir -p` with mode 700; a directory made by root gets the owner of its parent."""
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    if HAS_OWNERS and os.geteuid() == 0:
        owner = directory.parent.stat()
        os.chown(directory, owner.st_uid, owner.st_gid)


def _give_to_owner(descriptor: int, directory: Path) -> None:
    """Give a file made by root to the directory's owner, the service that has to read it."""
    if HAS_OWNERS and os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def write_secret(
    path: Path, text: str, *, replace: bool = False, remedy: str = "name another file, or move it"
) -> None:
    """Write a file that only its owner can read, completely or not at all.

    Raises `UserError` if it exists and `replace` is not set, with what to do about it, and as
    `file_error` if it cannot be written.
    """
    if path.exists() and not replace:
        raise UserError(f"{path}: exists already; {remedy}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _make_directory(path.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            _give_to_owner(descriptor, path.parent)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # there may be no such directory
            temporary.unlink(missing_ok=True)
        raise file_error(f"{path}: cannot be written", error) from error
