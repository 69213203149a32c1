"""What one end sent of each stream, packet by packet, and where a rung begins in it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from jharnet_monitor.profiles import Rung
from jharnet_monitor.rtc.rtp import unwrap


@dataclass(frozen=True, slots=True)
class Segment:
    """From which packets on a rung is judged (counted from the call's first), and from when.

    `keyframe` is the rung's first video packet; the first rung is judged only once the other
    end has reported, since it cannot read what comes before its handshake is done.
    """

    rung: Rung
    keyframe: int
    video: int
    audio: int
    at: float
    left_out: float
    """Frames that this computer had left out by then."""


class SentLog:
    """Every packet of one stream as it went out."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.at = array("d")

    def __len__(self) -> int:
        return len(self.at)

    def add(self, sequence: int, now: float) -> None:
        """Note one packet, in the order in which they are numbered."""
        if self.first is None:
            self.first = sequence
        self.at.append(now)

    def offset(self, sequence: int) -> int | None:
        """Which packet of the call carries this sequence number; None if none does."""
        if self.first is None:
            return None
        newest = self.first + len(self) - 1
        offset = unwrap(sequence, newest) - self.first
        return offset if 0 <= offset < len(self) else None
