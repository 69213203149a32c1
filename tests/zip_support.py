"""ZIP archives as other programs, or a defect, leave them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path


def set_header_fields(path: Path, changes: Mapping[bytes, tuple[int, int]]) -> None:
    """Set a field of 16 bits in every header with a signature: its offset and value.

    The offsets are those of APPNOTE.TXT 6.3, clauses 4.3.7 (`PK 3 4`) and 4.3.12 (`PK 1 2`).
    """
    data = bytearray(path.read_bytes())
    for signature, (offset, value) in changes.items():
        at = data.find(signature)
        assert at >= 0
        while at >= 0:
            struct.pack_into("<H", data, at + offset, value)
            at = data.find(signature, at + 1)
    path.write_bytes(data)


def compressed_by(method: int) -> Mapping[bytes, tuple[int, int]]:
    """The changes that state another method of compression (clause 4.4.5)."""
    return {b"PK\1\2": (10, method), b"PK\3\4": (8, method)}
