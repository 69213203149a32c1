"""The rate that a browser may send, as its receiver sees the link's queue.

A browser that gets no advice finds out about a full link by a tenth of its packets being lost.
Ours goes out as REMB (draft-alvestrand-rmcat-remb-03). It looks at queues that stand, as
`ladder` does, and not at trends of milliseconds (draft-ietf-rmcat-gcc): those would take a busy
hub for a full link.
"""

from __future__ import annotations

from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, pack_remb_fci

from jharnet_monitor.rtc.receive.arrivals import LINE_OVERHEAD
from jharnet_monitor.rtc.rtp import extension, parse_header, unwrap

_LOOK = 0.25
"""Seconds of packets of which the one that waited least tells the queue."""
_STANDING_QUEUE = 0.1
_SHORT_QUEUE = 0.03
_LESS = 0.85
_MORE = 1.02
"""A look without a queue raises the advice by so much: 8 % a second."""
_LEAST = 50_000
_TICKS = 1 << 18
"""abs-send-time counts 2^-18 s, modulo 64 s."""


class RateAdvice:
    """Takes the packets of a peer; `most` is the highest rate in bit/s that is advised.

    `extension_id` is that of abs-send-time, `own_ssrc` the stream under which we report.
    """

    def __init__(self, extension_id: int, own_ssrc: int, most: float) -> None:
        self._id, self._own_ssrc, self._most = extension_id, own_ssrc, most
        self.rate = most
        """What is advised now, in bit/s."""
        self._sent = 0
        self._base = self._least = float("inf")
        self._since: float | None = None
        self._bytes = 0
        self._queue_before = 0.0
        self._not_before = 0.0
        self._ssrcs: set[int] = set()

    def received(self, data: bytes, at: float) -> bytes | None:
        """Take an RTP packet that came at `at` seconds; gives the RTCP packet to send, if any."""
        if self._since is None:
            self._since = at
        self._bytes += len(data) + LINE_OVERHEAD
        header, moment = parse_header(data), extension(data, self._id)
        if header is not None and moment is not None and len(moment) == 3:
            self._sent = unwrap(int.from_bytes(moment), self._sent, 24)
            self._least = min(self._least, at - self._sent / _TICKS)
            if len(self._ssrcs) < 4:
                self._ssrcs.add(header.ssrc)
        seconds = at - self._since
        if seconds < _LOOK or self._least == float("inf"):
            return None
        self._base = min(self._base, self._least)
        self._look(self._least - self._base, self._bytes * 8 / seconds, at)
        self._since, self._bytes, self._least = at, 0, float("inf")
        fci = pack_remb_fci(int(self.rate), sorted(self._ssrcs))
        return bytes(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=self._own_ssrc, media_ssrc=0, fci=fci))

    def _look(self, queue: float, rate: float, at: float) -> None:
        """Go down where a queue stands and does not shrink; then let it drain before the next."""
        if queue > _STANDING_QUEUE and queue >= self._queue_before and at >= self._not_before:
            self.rate = max(_LEAST, min(self.rate, _LESS * rate))
            self._not_before = at + queue + 2 * _LOOK
        elif queue < _SHORT_QUEUE:
            self.rate = min(self._most, _MORE * self.rate)
        self._queue_before = queue
