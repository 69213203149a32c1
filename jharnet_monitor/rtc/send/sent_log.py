"""A log of the packets that one end sent, and where each rung begins in it."""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass

from jharnet_monitor.profiles import Rung
from jharnet_monitor.rtc.rtp import unwrap

_PAUSE = 0.04
"""Seconds between two packets from which on a sender stands still: audio is sent every 20 ms."""
_MAX_PAUSES = 64
LATE = 0.01
"""Seconds after its time from which on a packet was sent late."""
_MAX_LATE = 500
"""Late packets that are remembered; a host that sends more late is overloaded."""


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


class Pauses:
    """The pauses of a sender, each until a report is about the packet that ended it.

    Times are in monotonic seconds.

    >>> pauses = Pauses()
    >>> for at in (1.0, 1.02, 1.1, 1.12, 1.22):
    ...     pauses.sent(at)
    >>> [round(pauses.until(at), 2) for at in (1.05, 1.12, 1.3, 1.3)]
    [0.0, 0.08, 0.1, 0.0]
    """

    def __init__(self) -> None:
        self._last_at: float | None = None
        self._ended: deque[tuple[float, float]] = deque(maxlen=_MAX_PAUSES)
        """When each ended, and its seconds."""

    def sent(self, at: float) -> None:
        """Note that a packet of either stream was sent."""
        if self._last_at is not None and at - self._last_at > _PAUSE:
            self._ended.append((at, at - self._last_at))
        self._last_at = at

    def until(self, newest: float) -> float:
        """The longest pause in seconds before the packet sent at `newest`, the newest that arrived;
        0 if there was none. Each pause is returned once at most."""
        longest = 0.0
        while self._ended and self._ended[0][0] <= newest:
            longest = max(longest, self._ended.popleft()[1])
        return longest


class Lateness:
    """The packets that this end sent late: later after their time than the most punctual one.

    >>> lateness = Lateness(48_000)
    >>> for number, at in enumerate((5.0, 5.021, 5.1, 5.1)):
    ...     lateness.sent(number, 960 * number, at)
    >>> {number: round(seconds, 3) for number, seconds in lateness.late.items()}
    {2: 0.06, 3: 0.04}
    """

    def __init__(self, clock_rate: int) -> None:
        """`clock_rate` is that of the RTP timestamps in Hz."""
        self.late: OrderedDict[int, float] = OrderedDict()
        """Seconds by number of the packet, the newest ones."""
        self._clock_rate = clock_rate
        self._timestamp: int | None = None
        self._earliest = float("inf")

    def sent(self, number: int, timestamp: int, at: float) -> None:
        """Note that packet `number` was sent; its RTP timestamp is that of its time."""
        near = timestamp if self._timestamp is None else self._timestamp
        self._timestamp = unwrap(timestamp, near, 32)
        after = at - self._timestamp / self._clock_rate
        self._earliest = min(self._earliest, after)
        if after - self._earliest > LATE:
            self.late[number] = after - self._earliest
            if len(self.late) > _MAX_LATE:
                self.late.popitem(last=False)
