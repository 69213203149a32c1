"""A signed release of the agent: its version, and the wheels that each version of Python needs.

The maker of the bundle signs the release with the district's release key (Ed25519, RFC 8032). The
hub only forwards it: an agent trusts the key that it got at enrolment, not the hub.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jharnet_monitor.errors import UserError

FORMAT = 1
MANIFEST, SIGNATURE = "release.json", "release.json.sig"
MOST_MANIFEST_BYTES = 64 * 1024
MOST_SERIAL = (1 << 40) - 1
MOST_WHEELS = 200
MOST_WHEEL_BYTES = 200_000_000

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+!_-]{0,39}")
_WHEEL = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,199}\.whl")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ReleaseRefused(UserError):
    """The release is not the one that the key's owner signed, or is not usable."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A file of a release: its size in bytes, and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Release:
    """The content of a release. Of two releases, the one with the greater serial is newer."""

    version: str
    serial: int
    """When it was made, in seconds since 1970."""
    machine: str
    """The processor for which it is made, as `uname -m` prints it."""
    wheels: Mapping[str, Wheel]
    pythons: Mapping[str, tuple[str, ...]]
    """For each version of Python, such as 3.11, the names of the wheels that it needs."""

    @property
    def id(self) -> str:
        """A name for directories, unique among releases."""
        return f"{self.version}-{self.serial}"

    def lock(self, python: str) -> str:
        """The lock file for a version of Python, as `pip install --require-hashes` reads it."""
        lines = []
        for name in self.pythons[python]:
            project, version = name.split("-")[:2]
            lines.append(f"{project}=={version} --hash=sha256:{self.wheels[name].sha256}\n")
        return "".join(lines)

    def to_bytes(self) -> bytes:
        """The manifest; exactly these bytes are signed."""
        data = {
            "format": FORMAT,
            "version": self.version,
            "serial": self.serial,
            "machine": self.machine,
            "wheels": {name: asdict(wheel) for name, wheel in self.wheels.items()},
            "pythons": self.pythons,
        }
        return json.dumps(data, indent=1, sort_keys=True).encode() + b"\n"


def read_release(manifest: bytes, signature: bytes, key: str) -> Release:
    """The release that the owner of `key` signed; raises `ReleaseRefused`."""
    try:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True)).verify(
            signature, manifest
        )
    except InvalidSignature:
        raise ReleaseRefused("the signature was not made with the district's release key") from None
    except (ValueError, binascii.Error):
        raise ReleaseRefused("the release key is no Ed25519 key in base64") from None
    if len(manifest) > MOST_MANIFEST_BYTES:
        raise ReleaseRefused("the manifest is too large")
    try:
        return _parsed(json.loads(manifest))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ReleaseRefused("the manifest has a form that this version does not know") from None


def _parsed(data: Any) -> Release:
    wheels = {name: Wheel(**wheel) for name, wheel in data["wheels"].items()}
    pythons = {python: tuple(names) for python, names in data["pythons"].items()}
    release = Release(data["version"], data["serial"], data["machine"], wheels, pythons)
    valid = (
        data["format"] == FORMAT
        and _VERSION.fullmatch(release.version)
        and type(release.serial) is int
        and 0 < release.serial <= MOST_SERIAL
        and 0 < len(wheels) <= MOST_WHEELS
        and all(_WHEEL.fullmatch(name) and name.count("-") >= 4 for name in wheels)
        and all(
            type(one.size) is int
            and 0 < one.size <= MOST_WHEEL_BYTES
            and _SHA256.fullmatch(one.sha256)
            for one in wheels.values()
        )
        and all(set(names) <= set(wheels) for names in pythons.values())
    )
    if not valid:
        raise ValueError
    return release


def key_text(pem: bytes) -> str:
    """The public key of a PEM file as one word of base64; raises `UserError`."""
    try:
        key = serialization.load_pem_public_key(pem)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError("the release key must be an Ed25519 public key in PEM form")
    return base64.b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def sha256(data: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def fingerprint(public_key: bytes) -> str:
    """The SHA-256 of the key's file, in groups of four digits, for reading aloud."""
    digits = sha256(public_key)
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))
