"""The bit rate that a browser without transport-wide feedback is allowed to send, by the queue.

Without an estimate a browser notices congestion only when about a tenth of its packets is lost. The
estimate is sent as REMB (draft-alvestrand-rmcat-remb-03). It reacts to standing queues, as `ladder`
does, not to delay trends of milliseconds (draft-ietf-rmcat-gcc), which a busy hub would cause too.
"""

from __future__ import annotations

from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, pack_remb_fci

from jharnet_monitor.rtc.receive.arrivals import LINE_OVERHEAD
from jharnet_monitor.rtc.rtp import parse_header

_WINDOW_SECONDS = 0.25
"""The least delay of the packets in a window is the queue's delay."""
_STANDING_QUEUE_SECONDS = 0.1
_SHORT_QUEUE_SECONDS = 0.03
_DECREASE = 0.85
"""With a standing queue, the new rate as a share of the rate that arrived."""
_INCREASE = 1.02
"""Factor for each window without a queue: 8 % a second."""
_MIN_RATE = 50_000
"""bit/s."""


class RembEstimator:
    """Estimates the rate for one peer from its RTP packets and makes the REMB packets."""

    def __init__(self, own_ssrc: int, max_rate: float) -> None:
        """`max_rate` in bit/s limits the estimate; REMB is sent under `own_ssrc`."""
        self._own_ssrc = own_ssrc
        self._max_rate = max_rate
        self.rate = max_rate
        """The current estimate in bit/s."""
        self._min_transit = self._window_transit = float("inf")
        """Least transit of the call and of the window, in seconds between unrelated clocks."""
        self._window_started_at: float | None = None
        self._window_bytes = 0
        self._previous_queue = 0.0
        self._no_decrease_before = 0.0
        self._ssrcs: set[int] = set()

    def rtp_received(self, data: bytes, at: float, transit: float | None) -> bytes | None:
        """Note an RTP packet that arrived at `at` (monotonic seconds), `transit` seconds after it
        was sent by an unrelated clock; None if it does not say when.

        Returns the REMB packet to send if the window is complete, else None.
        """
        if self._window_started_at is None:
            self._window_started_at = at
        self._window_bytes += len(data) + LINE_OVERHEAD
        header = parse_header(data)
        if header is not None and transit is not None:
            self._window_transit = min(self._window_transit, transit)
            if len(self._ssrcs) < 4:
                self._ssrcs.add(header.ssrc)
        seconds = at - self._window_started_at
        if seconds < _WINDOW_SECONDS or self._window_transit == float("inf"):
            return None
        self._min_transit = min(self._min_transit, self._window_transit)
        queue = self._window_transit - self._min_transit
        self._update_rate(queue, self._window_bytes * 8 / seconds, at)
        self._window_started_at, self._window_bytes = at, 0
        self._window_transit = float("inf")
        fci = pack_remb_fci(int(self.rate), sorted(self._ssrcs))
        return bytes(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=self._own_ssrc, media_ssrc=0, fci=fci))

    def _update_rate(self, queue: float, received_rate: float, at: float) -> None:
        """Decrease if a queue (seconds) stands and does not shrink; then let it drain first."""
        is_standing = queue > _STANDING_QUEUE_SECONDS and queue >= self._previous_queue
        if is_standing and at >= self._no_decrease_before:
            self.rate = max(_MIN_RATE, min(self.rate, _DECREASE * received_rate))
            self._no_decrease_before = at + queue + 2 * _WINDOW_SECONDS
        elif queue < _SHORT_QUEUE_SECONDS:
            self.rate = min(self._max_rate, _INCREASE * self.rate)
        self._previous_queue = queue
