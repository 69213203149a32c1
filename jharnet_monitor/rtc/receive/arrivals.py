"""A log of all packets of one media stream as they arrived, before any jitter buffer."""

from __future__ import annotations

from array import array

from jharnet_monitor.rtc.rtp import RtpHeader, unwrap

LINE_OVERHEAD = 28 + 16
"""Bytes on the line around a plain RTP packet: IPv4 and UDP headers, SRTP tag."""
MAX_PACKETS = 1_000_000
"""Packets of one stream that are counted: more than an hour of 720p."""
_MAX_BEFORE_FIRST = 512
"""Sequence numbers before the first arrival that still count, for packets that were reordered."""
FRAME_START, FRAME_END, KEYFRAME, RETRANSMITTED = 1, 2, 4, 8
"""Bits of a packet's `flags`."""
_REPORT_OVERHEAD = 28 + 14
"""Bytes on the line around a plain RTCP packet: IPv4 and UDP headers, SRTCP index and tag."""


class ReportArrivals:
    """The other end's RTCP packets as they arrived: they take their share of the line, too."""

    def __init__(self) -> None:
        self.at = array("d")
        """Arrival in monotonic seconds."""
        self.size = array("H")
        """Bytes on the line."""

    def add(self, at: float, size: int) -> None:
        """Add one (compound) packet of `size` bytes, without what is around it."""
        if len(self.at) < MAX_PACKETS:
            self.at.append(at)
            self.size.append(min(size + _REPORT_OVERHEAD, 65535))


class Arrivals:
    """Parallel columns with one entry per packet, in order of arrival."""

    def __init__(self, clock_rate: int) -> None:
        """`clock_rate` is the stream's RTP clock in Hz."""
        self.clock_rate = clock_rate
        self.sequence = array("q")
        """Unwrapped sequence number; of a retransmission, that of the original packet."""
        self.timestamp = array("q")
        """Unwrapped RTP timestamp in clock ticks."""
        self.at = array("d")
        """Arrival in monotonic seconds."""
        self.size = array("H")
        """Bytes on the line."""
        self.flags = array("B")
        self.heights: dict[int, int] = {}
        """Picture height in lines, by the unwrapped timestamp of the keyframe."""
        self.first: int | None = None
        """Sequence number of the first packet that arrived."""
        self.highest = 0
        """Highest unwrapped sequence number that arrived."""
        self.first_transmissions = 0
        """Packets that arrived without a retransmission."""
        self.line_bytes = 0
        """Bytes on the line of all arrivals, duplicates included."""
        self.highest_at = 0.0
        """When the packet with the highest sequence number arrived, in monotonic seconds."""
        self.jitter = 0.0
        """Interarrival jitter (RFC 3550, 6.4.1) in clock ticks."""
        self._previous_transit: float | None = None
        self._received = bytearray()
        """One byte per sequence number: 1 if it has arrived."""

    def add(
        self, header: RtpHeader, size: int, at: float, flags: int, original: int | None
    ) -> bool:
        """Add one packet that arrived at `at`; returns False for a duplicate, which is not logged.

        `original` is the sequence number that a retransmission repeats, None for a first
        transmission; `size` is in bytes, without `LINE_OVERHEAD`.
        """
        number = header.sequence if original is None else original
        self.line_bytes += size + LINE_OVERHEAD
        if self.first is None:
            self.first = self.highest = number
        sequence = unwrap(number, self.highest)
        position = sequence - self.first + _MAX_BEFORE_FIRST
        if len(self.at) >= MAX_PACKETS or not self._mark_received(position):
            return False
        if sequence >= self.highest:
            self.highest, self.highest_at = sequence, at
        timestamp = header.timestamp
        if self.timestamp:
            timestamp = unwrap(timestamp, self.timestamp[-1], 32)
        self.timestamp.append(timestamp)
        self.at.append(at)
        self.size.append(min(size + LINE_OVERHEAD, 65535))
        self.flags.append(flags | (RETRANSMITTED if original is not None else 0))
        # Appended last: readers in other threads take the number of rows from this column.
        self.sequence.append(sequence)
        if original is None:
            self.first_transmissions += 1
            self._update_jitter(timestamp, at)
        return True

    def _mark_received(self, position: int) -> bool:
        """Mark a sequence number; returns False if it is out of range or was marked before."""
        if not 0 <= position < MAX_PACKETS:
            return False
        if position >= len(self._received):
            self._received.extend(bytes(position + 1 - len(self._received)))
        known, self._received[position] = self._received[position], 1
        return not known

    def _update_jitter(self, timestamp: int, at: float) -> None:
        transit = at * self.clock_rate - timestamp
        if self._previous_transit is not None:
            self.jitter += (abs(transit - self._previous_transit) - self.jitter) / 16
        self._previous_transit = transit

    @property
    def expected(self) -> int:
        """Packets from the first to the highest that arrived (RFC 3550, A.3)."""
        return 0 if self.first is None else self.highest - self.first + 1

    def rows_by_packet(self, first: int, packets: int) -> dict[int, int]:
        """Map packet numbers, 0 to `packets` - 1, to their entries in the columns.

        `first` is the sequence number of the sender's first packet, which has number 0. Packets
        that never arrived are absent.
        """
        if self.first is None:
            return {}
        base = unwrap(first, self.first)
        return {s - base: i for i, s in enumerate(self.sequence) if 0 <= s - base < packets}
