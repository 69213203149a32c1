"""The receiver's own report, beside the standard one: how much came, and when, by its clock.

A receiver report (RFC 3550, 6.4.2) says how many packets are lost, but not when it was written
nor when the newest packet came; on a full way back those moments cannot be guessed. This one
travels in the same datagram as an application-defined packet (RFC 3550, 6.7), which other
clients ignore.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_NAME = b"JHMN"
_PACKET_TYPE = 204
_FORMAT = struct.Struct("!BBH4x4sIQIII")
_LENGTH = _FORMAT.size // 4 - 1


@dataclass(frozen=True, slots=True)
class Account:
    """Moments in seconds since the receiver's call began; bytes on the line."""

    written: float
    line_bytes: int
    """Of all media packets that arrived so far, repeats and doubles included."""
    newest_audio: float
    newest_video: float
    """When the packet with the highest number arrived."""
    longest_gap: float = 0.0
    """The longest time without any packet since the account before."""

    def pack(self) -> bytes:
        """As an RTCP packet; moments in milliseconds, modulo 2^32."""
        moments = [
            round(moment * 1000) & 0xFFFFFFFF
            for moment in (self.written, self.newest_audio, self.newest_video, self.longest_gap)
        ]
        return _FORMAT.pack(
            0x80, _PACKET_TYPE, _LENGTH, _NAME, moments[0], self.line_bytes, *moments[1:]
        )


def find_account(data: bytes) -> Account | None:
    """The account in a compound RTCP packet, if there is one.

    >>> find_account(Account(1.5, 3000, 1.25, 1.0).pack())
    Account(written=1.5, line_bytes=3000, newest_audio=1.25, newest_video=1.0, longest_gap=0.0)
    """
    at = 0
    while at + 4 <= len(data):
        length = 4 + 4 * int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == _PACKET_TYPE and length == _FORMAT.size <= len(data) - at:
            _, _, _, name, written, line_bytes, *moments = _FORMAT.unpack_from(data, at)
            if name == _NAME:
                audio, video, gap = (moment / 1000 for moment in moments)
                return Account(written / 1000, line_bytes, audio, video, gap)
        at += length
    return None
