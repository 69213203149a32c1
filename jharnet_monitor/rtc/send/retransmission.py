"""The packets that may be asked for again, and how many repeats a sender grants (RFC 4588).

Retransmissions draw on a token bucket: without one, aiortc repeats twenty thousand packets over a
full link.
"""

from __future__ import annotations

from collections import OrderedDict

from jharnet_monitor.rtc.receive.arrivals import LINE_OVERHEAD
from jharnet_monitor.rtc.rtp import retransmission
from jharnet_monitor.rtc.sdp import Stream

_HISTORY = 256
"""Packets kept: 1.8 s of 720p."""
_SHARE = 0.5
"""Repeats take at most this share of the video rate, over half a second."""
_SPARE = 3000
"""Bytes that the bucket holds beside: two packets of the leanest video."""
_TOO_SOON = 0.7
"""Of a round trip: a request before that was written before the last repeat could come."""


class Repeats:
    """What was sent of one video stream, and the bucket from which repeats are taken."""

    def __init__(self) -> None:
        self.granted = self.refused = 0
        self._sent: OrderedDict[int, bytes] = OrderedDict()
        self._repeated_at: dict[int, float] = {}
        self._tokens = 0.0
        self._tokens_at = 0.0

    def keep(self, sequence: int, data: bytes) -> None:
        """Keep a packet that was sent."""
        self._sent[sequence] = data
        if len(self._sent) > _HISTORY:
            self._repeated_at.pop(self._sent.popitem(last=False)[0], None)

    def forget(self) -> None:
        """What was sent so far is not worth its repeat any more."""
        self._sent.clear()

    def of(
        self, sequence: int, stream: Stream, now: float, round_trip: float, rate: float
    ) -> bytes | None:
        """The repeat of a packet at `now`; None if it is gone, under way already, or too much.

        `round_trip` is in seconds, `rate` the video's in bit/s on the line.
        """
        data = self._sent.get(sequence)
        if data is None or now - self._repeated_at.get(sequence, 0.0) < _TOO_SOON * round_trip:
            return None
        if not self._take(len(data) + LINE_OVERHEAD, now, _SHARE * rate / 8):
            self.refused += 1
            return None
        self._repeated_at[sequence] = now
        self.granted += 1
        return retransmission(
            data,
            payload_type=stream.rtx_payload_type or 0,
            ssrc=stream.rtx_ssrc or 0,
            sequence=self.granted,
        )

    def _take(self, size: int, now: float, rate: float) -> bool:
        self._tokens = min(rate / 2 + _SPARE, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < size:
            return False
        self._tokens -= size
        return True
