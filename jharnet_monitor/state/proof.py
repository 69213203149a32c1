"""A sender's proof, in the head of its request, that it has a registered district's key.

The receiver checks it before it reads anything else, so that an unknown sender costs it no more
than a head. The proof names the body by its hash, and is valid for this body alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jharnet_monitor.security.signing import is_signed, sign

HEADER = "Authorization"
PURPOSE = b"jharnet-monitor state hand-in 1"
_PROOF = re.compile(r"Signed ([a-z0-9-]{1,40}) ([0-9a-f]{64}) ([A-Za-z0-9+/]{86}==)")


@dataclass(frozen=True, slots=True)
class Proof:
    """Which district says that it sends a body, and its signature."""

    district: str
    sha256: str
    signature: str

    def header(self) -> str:
        """The header's value."""
        return f"Signed {self.district} {self.sha256} {self.signature}"

    def is_signed_by(self, keys: Sequence[str]) -> bool:
        """Whether one of these public keys made it."""
        text = _text(self.district, self.sha256)
        return any(is_signed(key, PURPOSE, text, self.signature) for key in keys)

    def is_of(self, body: bytes) -> bool:
        """Whether it was made for this body."""
        return hashlib.sha256(body).hexdigest() == self.sha256


def prove(key: Ed25519PrivateKey, district: str, body: bytes) -> Proof:
    """The proof for sending a body in a district's name."""
    sha256 = hashlib.sha256(body).hexdigest()
    return Proof(district, sha256, sign(key, PURPOSE, _text(district, sha256)))


def read_proof(header: str) -> Proof | None:
    """Parse a header's value; None if it is no proof."""
    found = _PROOF.fullmatch(header)
    return None if found is None else Proof(*found.groups())


def _text(district: str, sha256: str) -> bytes:
    return f"{district} {sha256}".encode()
