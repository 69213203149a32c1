"""Retransmission of video packets (RFC 4588), limited by a token bucket.

Without a limit aiortc retransmits twenty thousand packets over a full link.
"""

from __future__ import annotations

from collections import OrderedDict

from jharnet_monitor.rtc.receive.arrivals import LINE_OVERHEAD
from jharnet_monitor.rtc.rtp import retransmission
from jharnet_monitor.rtc.sdp import Stream

_HISTORY_PACKETS = 256
"""Packets kept for retransmission: 1.8 s of 720p."""
_RATE_SHARE = 0.5
"""Retransmissions take at most this share of the video rate, averaged over half a second."""
_EXTRA_BYTES = 3000
"""Additional size of the bucket: two packets, which the lowest video rate alone would not fill."""
_MIN_INTERVAL = 0.7
"""In round trips: an earlier request was written before the last retransmission could arrive."""


class RetransmissionBuffer:
    """The recent packets of one video stream, and the limit on their retransmission."""

    def __init__(self) -> None:
        self.retransmitted = self.refused = 0
        """Packets retransmitted, and requests that exceeded the limit."""
        self._sent: OrderedDict[int, bytes] = OrderedDict()
        self._retransmitted_at: dict[int, float] = {}
        self._tokens = 0.0
        self._tokens_at = 0.0

    def add(self, sequence: int, data: bytes) -> None:
        """Keep a sent packet."""
        self._sent[sequence] = data
        if len(self._sent) > _HISTORY_PACKETS:
            self._retransmitted_at.pop(self._sent.popitem(last=False)[0], None)

    def clear(self) -> None:
        """Forget all packets, so that none of them is retransmitted."""
        self._sent.clear()

    def retransmission_of(
        self, sequence: int, stream: Stream, now: float, round_trip: float, rate: float
    ) -> bytes | None:
        """The retransmission packet for a sequence number.

        None if the packet is no longer kept, was retransmitted less than `_MIN_INTERVAL` round
        trips ago, or exceeds the limit. `now` is in monotonic seconds, `round_trip` in seconds,
        `rate` the video rate on the line in bit/s.
        """
        data = self._sent.get(sequence)
        retransmitted_at = self._retransmitted_at.get(sequence, 0.0)
        if data is None or now - retransmitted_at < _MIN_INTERVAL * round_trip:
            return None
        if not self._take_tokens(len(data) + LINE_OVERHEAD, now, _RATE_SHARE * rate / 8):
            self.refused += 1
            return None
        self._retransmitted_at[sequence] = now
        self.retransmitted += 1
        return retransmission(
            data,
            payload_type=stream.rtx_payload_type or 0,
            ssrc=stream.rtx_ssrc or 0,
            sequence=self.retransmitted,
        )

    def _take_tokens(self, size: int, now: float, rate: float) -> bool:
        """Take `size` bytes from the bucket, which fills at `rate` bytes a second."""
        self._tokens = min(rate / 2 + _EXTRA_BYTES, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < size:
            return False
        self._tokens -= size
        return True
