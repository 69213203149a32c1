"""An RTCP packet that supplements the receiver report with byte counts and arrival times.

A receiver report (RFC 3550, 6.4.2) counts lost packets but does not say when it was written nor
when the newest packet arrived. If the return path is congested, those times cannot be derived from
its arrival. They travel in the same datagram as an application-defined packet (RFC 3550, 6.7),
which other clients ignore.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_NAME = b"JHMN"
_PACKET_TYPE = 204
_FORMAT = struct.Struct("!BBH4x4sIQIII")
_LENGTH = _FORMAT.size // 4 - 1


@dataclass(frozen=True, slots=True)
class ReceiverReportApp:
    """The supplement. Times are in seconds since the receiver's call began."""

    written_at: float
    """When the report was written."""
    line_bytes: int
    """Bytes on the line of all media packets so far, retransmissions and duplicates included."""
    newest_audio_at: float
    """When the audio packet with the highest sequence number arrived."""
    newest_video_at: float
    """When the video packet with the highest sequence number arrived."""
    longest_gap: float = 0.0
    """The longest time without any packet that ended since the previous report, in seconds."""

    @property
    def newest_at(self) -> float:
        """When the newest packet of either stream arrived; the time of a stream without packets
        is before the call, and so coded as one long after it."""
        times = (self.newest_audio_at, self.newest_video_at)
        return max((at for at in times if at <= self.written_at), default=self.written_at)

    def pack(self) -> bytes:
        """Encode as an RTCP packet; times in milliseconds, modulo 2^32."""
        written_at, *other_times = [
            round(seconds * 1000) & 0xFFFFFFFF
            for seconds in (
                self.written_at, self.newest_audio_at, self.newest_video_at, self.longest_gap,
            )
        ]  # fmt: skip
        return _FORMAT.pack(
            0x80, _PACKET_TYPE, _LENGTH, _NAME, written_at, self.line_bytes, *other_times
        )


def find_report_app(data: bytes) -> ReceiverReportApp | None:
    """Find and decode the supplement in a compound RTCP packet; None if there is none.

    >>> report = ReceiverReportApp(1.5, 3000, 1.25, 1.0)
    >>> find_report_app(report.pack()) == report
    True
    """
    at = 0
    while at + 4 <= len(data):
        length = 4 + 4 * int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == _PACKET_TYPE and length == _FORMAT.size <= len(data) - at:
            _, _, _, name, written_at, line_bytes, *times = _FORMAT.unpack_from(data, at)
            if name == _NAME:
                audio_at, video_at, gap = (milliseconds / 1000 for milliseconds in times)
                return ReceiverReportApp(written_at / 1000, line_bytes, audio_at, video_at, gap)
        at += length
    return None
