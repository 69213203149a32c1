"""Ed25519 keys (RFC 8032) by which a district signs what it sends to the state."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from jharnet_monitor.errors import UserError
from jharnet_monitor.security.tokens import read_bytes_private, write_secret

PREFIX = "ed25519:"
_LINE = re.compile(PREFIX + r"[A-Za-z0-9+/]{43}=")
_SIGNATURE_BYTES = 64


def make_key(path: Path) -> str:
    """Write a new private key, mode 600, and return the public one as a line of text.

    Raises `UserError` if the file exists.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(path, pem.decode("ascii"))
    return public_line(key.public_key())


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file; raises `UserError`."""
    try:
        key = serialization.load_pem_private_key(read_bytes_private(path), None)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: is no private key; make one with `state key`") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: must be an Ed25519 key; make one with `state key`")
    return key


def public_line(key: Ed25519PublicKey) -> str:
    """A public key as `ed25519:` and 44 characters."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return PREFIX + base64.b64encode(raw).decode("ascii")


def check_public_line(line: str) -> str:
    """Return the line; raises `ValueError` unless it is a public key's."""
    if not _LINE.fullmatch(line):
        raise ValueError(
            f"must be a public key as `jharnet-monitor state key` prints it, not `{line[:60]}`"
        )
    return line


def fingerprint(line: str) -> str:
    """Sixteen hexadecimal digits by which people tell keys apart.

    >>> fingerprint("ed25519:" + "A" * 43 + "=")
    '66687aadf862bd77'
    """
    raw = base64.b64decode(line.removeprefix(PREFIX))
    return hashlib.sha256(raw).hexdigest()[:16]


def sign(key: Ed25519PrivateKey, purpose: bytes, body: bytes) -> str:
    """A signature in base64; `purpose` keeps it from counting for anything else."""
    return base64.b64encode(key.sign(purpose + b"\n" + body)).decode("ascii")


def is_signed(line: str, purpose: bytes, body: bytes, signature: str) -> bool:
    """Whether the key of this public line signed the body for this purpose."""
    try:
        raw = base64.b64decode(signature, validate=True)
        if len(raw) != _SIGNATURE_BYTES:
            return False
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(line.removeprefix(PREFIX)))
        key.verify(raw, purpose + b"\n" + body)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
