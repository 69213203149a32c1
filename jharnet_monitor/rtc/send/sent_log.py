"""A log of the packets that one end sent, and where each rung begins in it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from jharnet_monitor.profiles import Rung
from jharnet_monitor.rtc.rtp import unwrap


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of the call during which one rung was sent.

    Packets are numbered from the first of the call. The first rung is judged only from the first
    receiver report on, because the other end cannot decrypt what arrives before its handshake is
    complete; `keyframe` and `video` differ there.
    """

    rung: Rung
    keyframe: int
    """The rung's first video packet, the start of a keyframe."""
    video: int
    """The first video packet that is judged."""
    audio: int
    """The first audio packet that is judged."""
    started_at: float
    """Monotonic seconds from which the rung is judged."""
    skipped_frames: float
    """Video frames of the call that this host had skipped before."""


class SentLog:
    """The packets of one stream, in sending order."""

    def __init__(self) -> None:
        self.first: int | None = None
        """Sequence number of the first packet."""
        self.at = array("d")
        """When each packet was sent, in monotonic seconds."""

    def __len__(self) -> int:
        return len(self.at)

    def add(self, sequence: int, now: float) -> None:
        """Log one packet; packets must come in the order of their sequence numbers."""
        if self.first is None:
            self.first = sequence
        self.at.append(now)

    def packet_number(self, sequence: int) -> int | None:
        """The number, from 0, of the packet with this 16-bit sequence number; None if none has."""
        if self.first is None:
            return None
        newest = self.first + len(self) - 1
        number = unwrap(sequence, newest) - self.first
        return number if 0 <= number < len(self) else None
