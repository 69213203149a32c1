"""What tells a browser when each of its packets arrived, so that it limits its own rate.

Clients in a real conference estimate the line's rate from this feedback
(draft-holmer-rmcat-transport-wide-cc-extensions-01). They number all packets of the connection, of
sound, picture, repetition and padding, in a header extension.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from jharnet_monitor.rtc.receive.arrivals import LINE_OVERHEAD
from jharnet_monitor.rtc.rtp import header_extension, parse_header, unwrap

_RTPFB = 205
_FORMAT = 15
_HEADER = struct.Struct("!BBHIIHHI")
"""RTCP header, both SSRCs, first number, count of statuses, time and count of feedback."""
_UINT16 = struct.Struct("!H")
_LOST, _SMALL, _LARGE = 0, 1, 2
"""Status of a packet: not arrived; arrived, with one or with two bytes of delta."""
_TICKS_PER_SECOND = 4000
_TICKS_PER_REFERENCE = 256
"""The reference time counts 64 ms, deltas 0.25 ms."""
_MAX_RUN = (1 << 13) - 1

_MIN_INTERVAL, _MAX_INTERVAL = 0.05, 0.25
"""Seconds between feedback, as in libwebrtc ..."""
_LINE_SHARE, _FEEDBACK_BITS = 0.05, 68 * 8
"""... which spends this share of the rate on it, and counts a message as so many bits."""
_BACK_SECONDS = 0.5
"""A packet that arrived so long ago is reported again if an earlier one comes late."""
_MAX_GAP = 1000
"""A larger jump of the numbers is a restart, not loss: four seconds of 720p."""
_MAX_STATUSES, _MAX_ARRIVED = 1400, 400
"""Of one message, so that it fits a datagram however the packets arrived."""
_MAX_KEPT = 4000
"""Arrivals that are kept; a call keeps about 200."""


class TransportFeedback:
    """Notes the packets of one browser, and makes the feedback."""

    def __init__(self, extension_id: int, own_ssrc: int) -> None:
        """`extension_id` is that of the browser's transport-wide numbers; sent by `own_ssrc`."""
        self._extension_id, self._own_ssrc = extension_id, own_ssrc
        self.sent = 0
        """Messages made so far."""
        self._arrived: dict[int, int] = {}
        """When a packet arrived, in ticks, by its unwrapped number."""
        self._highest: int | None = None
        self._next = 0
        """The first number that the next feedback reports."""
        self._started_at: float | None = None
        self._interval = _MIN_INTERVAL
        self._line_bytes = 0
        """Bytes on the line since the last feedback."""

    def rtp_received(self, data: bytes, at: float) -> list[bytes]:
        """Note an RTP packet that arrived at `at` (monotonic seconds).

        Returns the messages to send if feedback is due, else none.
        """
        header = parse_header(data)
        value = None if header is None else header_extension(data, self._extension_id)
        if header is None or value is None or len(value) != 2:
            return []
        self._note(int.from_bytes(value), round(at * _TICKS_PER_SECOND))
        self._line_bytes += len(data) + LINE_OVERHEAD
        if self._started_at is None:
            self._started_at = at
        seconds = at - self._started_at
        if seconds < self._interval:
            return []
        messages = list(self._messages(header.ssrc))
        rate = self._line_bytes * 8 / seconds
        interval = _FEEDBACK_BITS / (_LINE_SHARE * rate)
        self._interval = min(max(interval, _MIN_INTERVAL), _MAX_INTERVAL)
        self._started_at, self._line_bytes = at, 0
        self._forget_before(round((at - _BACK_SECONDS) * _TICKS_PER_SECOND))
        return messages

    def _note(self, wrapped: int, ticks: int) -> None:
        number = unwrap(wrapped, wrapped if self._highest is None else self._highest)
        jump = 0 if self._highest is None else abs(number - self._highest)
        if self._highest is None or jump > _MAX_GAP or len(self._arrived) >= _MAX_KEPT:
            self._arrived.clear()
            self._highest = self._next = number
        self._highest = max(self._highest, number)
        if number not in self._arrived:
            self._arrived[number] = ticks
            self._next = min(self._next, number)

    def _forget_before(self, ticks: int) -> None:
        for number, arrived in list(self._arrived.items()):
            if arrived < ticks and number < self._next:
                del self._arrived[number]

    def _messages(self, media_ssrc: int) -> Iterator[bytes]:
        """Feedback on all numbers from `_next` to the highest, and `_next` behind it."""
        due = sorted(number for number in self._arrived if number >= self._next)
        while due:
            count = self._fitting(due)
            reported, due = due[:count], due[count:]
            ticks = [self._arrived[number] for number in reported]
            yield pack_feedback(
                (self._own_ssrc, media_ssrc), self._next, reported, ticks, self.sent
            )
            self.sent += 1
            self._next = reported[-1] + 1

    def _fitting(self, due: Sequence[int]) -> int:
        """How many of these arrivals one message can hold; at least one."""
        for count, number in enumerate(due[:_MAX_ARRIVED]):
            previous = self._arrived[due[max(0, count - 1)]]
            too_late = not -(1 << 15) <= self._arrived[number] - previous < 1 << 15
            if count and (too_late or number - self._next >= _MAX_STATUSES):
                return count
        return min(len(due), _MAX_ARRIVED)


def pack_feedback(
    ssrcs: tuple[int, int],
    base: int,
    numbers: Sequence[int],
    ticks: Sequence[int],
    feedback_count: int,
) -> bytes:
    """One message (section 3.1 of the draft).

    `ssrcs` are those of the sender of the message and of the media. The message reports all numbers
    from `base` to the last of `numbers`: those arrived at the time `ticks` (0.25 ms), the others
    did not. Numbers are in order, and two times in a row differ by less than 8.19 s.
    """
    reference = ticks[0] // _TICKS_PER_REFERENCE
    statuses = [_LOST] * (numbers[-1] - base + 1)
    deltas = bytearray()
    previous = reference * _TICKS_PER_REFERENCE
    for number, at in zip(numbers, ticks, strict=True):
        delta, previous = at - previous, at
        small = 0 <= delta < 256
        statuses[number - base] = _SMALL if small else _LARGE
        deltas += delta.to_bytes(1) if small else delta.to_bytes(2, signed=True)
    body = b"".join(_chunks(statuses)) + deltas
    padding = -len(body) % 4
    if padding:  # the last byte says how many there are (RFC 3550, 6.4.1)
        body += bytes(padding - 1) + bytes((padding,))
    header = _HEADER.pack(
        0x80 | (0x20 if padding else 0) | _FORMAT, _RTPFB, (_HEADER.size + len(body)) // 4 - 1,
        *ssrcs, base & 0xFFFF, len(statuses), (reference & 0xFFFFFF) << 8 | feedback_count & 0xFF,
    )  # fmt: skip
    return header + body


def _chunks(statuses: Sequence[int]) -> Iterator[bytes]:
    """The statuses in chunks of 16 bits: a run of equal ones, 14 without large deltas, or 7."""
    at = 0
    while at < len(statuses):
        first, run = statuses[at], 1
        while at + run < len(statuses) and statuses[at + run] == first and run < _MAX_RUN:
            run += 1
        few = statuses[at : at + 14]
        width, capacity = (2, 7) if _LARGE in few else (1, 14)
        if run >= min(capacity, len(statuses) - at):
            yield _UINT16.pack(first << 13 | run)
            at += run
            continue
        bits = 0
        for place, status in enumerate(few[:capacity]):
            bits |= status << 14 - width * (place + 1)
        yield _UINT16.pack(0x8000 | (width - 1) << 14 | bits)
        at += capacity
