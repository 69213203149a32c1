"""The rate that a browser may send, as its receiver estimates it from the delay of packets.

A browser that gets no such advice finds out about a full link by a tenth of its packets being
lost. The estimate is aiortc's, which follows Google's congestion control (draft-ietf-rmcat-gcc);
it goes out as REMB (draft-alvestrand-rmcat-remb-03).
"""

from __future__ import annotations

from aiortc.rate import RemoteBitrateEstimator
from aiortc.rtp import RTCP_PSFB_APP, RtcpPsfbPacket, pack_remb_fci

from jharnet_monitor.rtc.rtp import extension, parse_header


class RateAdvice:
    """Takes the video packets of a peer; `extension_id` is that of abs-send-time."""

    def __init__(self, extension_id: int, own_ssrc: int) -> None:
        self._id, self._own_ssrc = extension_id, own_ssrc
        self._estimator = RemoteBitrateEstimator()

    def received(self, data: bytes, at: float) -> bytes | None:
        """Take one RTP packet that came at `at` seconds; gives the RTCP packet to send, if any."""
        header, moment = parse_header(data), extension(data, self._id)
        if header is None or moment is None or len(moment) != 3:
            return None
        advice = self._estimator.add(
            arrival_time_ms=int(at * 1000),
            abs_send_time=int.from_bytes(moment),
            payload_size=len(data) - header.payload,
            ssrc=header.ssrc,
        )
        if advice is None:
            return None
        bitrate, ssrcs = advice
        fci = pack_remb_fci(bitrate, ssrcs)
        return bytes(RtcpPsfbPacket(fmt=RTCP_PSFB_APP, ssrc=self._own_ssrc, media_ssrc=0, fci=fci))
