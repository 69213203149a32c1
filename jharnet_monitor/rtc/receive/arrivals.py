"""Every packet of one stream as it came in, before any jitter buffer."""

from __future__ import annotations

from array import array

from jharnet_monitor.rtc.rtp import Header, unwrap

LINE_OVERHEAD = 28 + 16
"""Bytes around a plain RTP packet on the line: IPv4, UDP, SRTP tag."""
MOST_PACKETS = 1_000_000
"""Of one stream of a call that are counted: an hour and more of 720p."""
_BEFORE = 512
"""Packets that may have been sent before the first that arrived."""
STARTS, ENDS, KEY, REPEATED = 1, 2, 4, 8


class Arrivals:
    """Parallel columns, one entry a packet, in order of arrival."""

    def __init__(self, clock_rate: int) -> None:
        self.clock_rate = clock_rate
        self.sequence = array("q")
        """Unwrapped; of a repeat, that of the packet repeated."""
        self.timestamp = array("q")
        """RTP time stamp in clock ticks, unwrapped."""
        self.at = array("d")
        """Monotonic seconds."""
        self.size = array("H")
        """Bytes on the line."""
        self.flags = array("B")
        self.heights: dict[int, int] = {}
        """Picture height by the keyframe's time stamp."""
        self.first: int | None = None
        self.highest = 0
        self.first_pass = 0
        self.line_bytes = 0
        """Of everything that arrived, doubles too."""
        self.newest_at = 0.0
        """When the packet with the highest number arrived."""
        self.jitter = 0.0
        """RFC 3550, 6.4.1, in clock ticks."""
        self._transit: float | None = None
        self._seen = bytearray()
        """One byte a packet: whether it arrived."""

    def add(self, header: Header, size: int, at: float, flags: int, original: int | None) -> bool:
        """Note one packet; `original` is the number that a repeat repeats. False: known already."""
        number = header.sequence if original is None else original
        self.line_bytes += size + LINE_OVERHEAD
        if self.first is None:
            self.first = self.highest = number
        sequence = unwrap(number, self.highest)
        if len(self.at) >= MOST_PACKETS or not self._is_new(sequence - self.first + _BEFORE):
            return False
        if sequence >= self.highest:
            self.highest, self.newest_at = sequence, at
        stamp = header.timestamp
        if self.timestamp:
            stamp = unwrap(stamp, self.timestamp[-1], 32)
        self.sequence.append(sequence)
        self.timestamp.append(stamp)
        self.at.append(at)
        self.size.append(min(size + LINE_OVERHEAD, 65535))
        self.flags.append(flags | (REPEATED if original is not None else 0))
        if original is None:
            self.first_pass += 1
            self._note_jitter(stamp, at)
        return True

    def _is_new(self, place: int) -> bool:
        if not 0 <= place < MOST_PACKETS:
            return False
        if place >= len(self._seen):
            self._seen.extend(bytes(place + 1 - len(self._seen)))
        known, self._seen[place] = self._seen[place], 1
        return not known

    def _note_jitter(self, stamp: int, at: float) -> None:
        transit = at * self.clock_rate - stamp
        if self._transit is not None:
            self.jitter += (abs(transit - self._transit) - self.jitter) / 16
        self._transit = transit

    @property
    def expected(self) -> int:
        """Packets from the first to the highest that arrived."""
        return 0 if self.first is None else self.highest - self.first + 1

    def slots(self, first: int, packets: int) -> dict[int, int]:
        """Column entry by packet number, counted from the sender's first packet `first`."""
        if self.first is None:
            return {}
        base = unwrap(first, self.first)
        return {s - base: i for i, s in enumerate(self.sequence) if 0 <= s - base < packets}
