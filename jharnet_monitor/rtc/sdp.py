"""Session descriptions (SDP) of a peer: sanitised before aiortc parses them, and their streams.

A peer's description may name any address and any number of streams. It is limited in size,
unreachable candidates are removed, and a description of anything but one audio and one video
stream is rejected.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiortc.sdp import MediaDescription, SessionDescription

from jharnet_monitor.rtc.codecs import CODECS, DEFAULT_CODEC, Codec

MAX_BYTES = 20_000
MAX_CANDIDATES = 4
_ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
_TRANSPORT_CC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
_FINGERPRINT = re.compile(
    r"a=fingerprint:sha-(?:256|384|512) (?:[0-9a-f]{2}:){31,63}[0-9a-f]{2}", re.IGNORECASE
)
_NAMED = re.compile(r"^(c=|a=rtcp:\d{1,5} )IN IP4 (?![0-9.]+$).*")
"""Firefox names itself by mDNS here too, as it does in candidates (RFC 8839, 4.2.1.1: unused)."""


class BadDescription(ValueError):
    """A rejected session description; the text is the reason, as in "has no fingerprint"."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One media stream as its sender describes it.

    The `rtx` values are None if the sender does not offer retransmission (RFC 4588).
    """

    ssrc: int
    payload_type: int
    rtx_ssrc: int | None = None
    rtx_payload_type: int | None = None


@dataclass(frozen=True, slots=True)
class Streams:
    """The audio and the video stream that one end sends."""

    audio: Stream
    video: Stream
    codec: Codec
    """The video codec."""
    abs_send_time_id: int | None = None
    """Id of the abs-send-time header extension of the video; None if it is not sent."""
    transport_cc_id: int | None = None
    """Id of the extension that numbers all packets; None if the end takes no feedback on them."""


def sanitize(text: object, local_address: str) -> str:
    """Return the description without unusable candidates; raises `BadDescription`.

    Keeps UDP candidates of type host and srflx that media from `local_address` can reach, at most
    `MAX_CANDIDATES`. Removes `a=end-of-candidates`: a peer may also be discovered by its own
    connectivity checks, and our deadline ends the search, not the library's.
    """
    if not isinstance(text, str) or not text.startswith("v=0"):
        raise BadDescription("is no session description")
    if len(text) > MAX_BYTES:
        raise BadDescription(f"is longer than {MAX_BYTES} bytes")
    lines = []
    candidates = 0
    for line in text.splitlines():
        if line.startswith("a=candidate:"):
            candidates += 1
            if candidates > MAX_CANDIDATES or not _is_usable_candidate(line, local_address):
                continue
        elif line == "a=end-of-candidates":
            continue
        lines.append(_NAMED.sub(r"\1IN IP4 0.0.0.0", line))
    if not any(_FINGERPRINT.fullmatch(line) for line in lines):
        raise BadDescription("has no certificate fingerprint")
    return "\r\n".join(lines) + "\r\n"


def _is_usable_candidate(line: str, local_address: str) -> bool:
    fields = line.removeprefix("a=candidate:").split()
    if len(fields) < 8 or fields[1] != "1" or fields[2].lower() != "udp":
        return False
    if fields[7] not in ("host", "srflx") or not re.fullmatch(r"[0-9]{1,5}", fields[5]):
        return False
    try:
        address = ipaddress.ip_address(fields[4])
    except ValueError:  # a host name, such as the mDNS name of a browser
        return False
    local = ipaddress.ip_address(local_address)
    return (
        1024 <= int(fields[5]) <= 65535
        and address.version == local.version
        and not (address.is_multicast or address.is_unspecified or address.is_reserved)
        and (not address.is_loopback or local.is_loopback)
    )


def candidate_addresses(text: str) -> list[str]:
    """The IP addresses of a description's candidates, in order; raises `BadDescription`."""
    if not isinstance(text, str) or len(text) > MAX_BYTES:
        raise BadDescription("is no session description")
    addresses = []
    for fields in (line.split() for line in re.findall(r"(?m)^a=candidate:([^\r\n]+)", text)):
        try:
            addresses.append(str(ipaddress.ip_address(fields[4])))
        except (ValueError, IndexError):
            continue
    return addresses


def offered_codec(text: object, wanted: Codec) -> Codec:
    """The video codec to use for an offer: `wanted` if it is offered, else another supported one.

    A peer without the wanted codec would lack it in a real conference too, so it is tested with
    what it has, and the measurement names the codec. Returns `wanted` if neither is offered;
    `parse_streams` then rejects the offer.
    """
    if not isinstance(text, str) or len(text) > MAX_BYTES:
        return wanted
    names = re.findall(r"(?m)^a=rtpmap:\d+ ([\w-]+)/90000", text)
    offered = {name.lower() for name in names}
    return next((codec for codec in (wanted, *CODECS) if codec in offered), wanted)


def parse_streams(text: str, codec: Codec = DEFAULT_CODEC) -> Streams:
    """The audio (Opus) and video stream that a description announces; raises `BadDescription`."""
    try:
        description = SessionDescription.parse(text)
    except Exception as error:  # aiortc's parser lets any exception through
        raise BadDescription(f"cannot be read ({type(error).__name__})") from error
    kinds = [m.kind for m in description.media if m.kind in ("audio", "video")]
    if sorted(kinds) != ["audio", "video"] or len(description.media) > 3:
        raise BadDescription("does not describe one audio and one video stream")
    media = {m.kind: m for m in description.media}
    extensions = {e.uri: e.id for e in media["video"].rtp.headerExtensions}
    return Streams(
        _parse_stream(media["audio"], "opus"),
        _parse_stream(media["video"], codec),
        codec,
        extensions.get(_ABS_SEND_TIME),
        _transport_cc_id(description, media, codec),
    )


def _transport_cc_id(
    description: SessionDescription, media: Mapping[str, MediaDescription], codec: Codec
) -> int | None:
    """The id under which one end offers transport-wide feedback for both streams, else None.

    Firefox offers it, but goes below the least rate of its picture only as the page tells it.
    """
    ids: set[int | None] = set()
    takes_feedback = not (description.origin or "").startswith("mozilla")
    for kind, name in (("audio", "opus"), ("video", codec)):
        rtp = media[kind].rtp
        ids.add(next((e.id for e in rtp.headerExtensions if e.uri == _TRANSPORT_CC), None))
        for each in rtp.codecs:
            if each.name.lower() == name:
                takes_feedback &= any(fb.type == "transport-cc" for fb in each.rtcpFeedback)
    found = ids.pop()
    # One connection has one id for it, of the four bits of a one-byte extension (RFC 8285, 4.2).
    if ids or not takes_feedback or found is None or not 1 <= found <= 14:
        return None
    return found


def with_transport_cc(answer: str, extension_id: int) -> str:
    """The answer with transport-wide feedback for all its media, which aiortc does not know."""
    lines = []
    for line in answer.splitlines():
        lines.append(line)
        found = re.match(r"a=rtpmap:(\d+) (?!rtx/)", line)
        if found:
            lines.append(f"a=rtcp-fb:{found[1]} transport-cc")
        elif line.startswith("a=mid:") and not _is_data(lines):
            lines.append(f"a=extmap:{extension_id} {_TRANSPORT_CC}")
    return "\r\n".join(lines) + "\r\n"


def _is_data(lines: Sequence[str]) -> bool:
    """Whether the section that these lines end in is a data channel."""
    return next(line for line in reversed(lines) if line.startswith("m=")).startswith("m=app")


def _parse_stream(media: MediaDescription, codec: str) -> Stream:
    payload_types = [
        c.payloadType
        for c in media.rtp.codecs
        if c.name.lower() == codec
        and (codec != "h264" or str(c.parameters.get("packetization-mode")) == "1")
    ]
    if not payload_types:
        raise BadDescription(f"does not offer {codec}")
    if not media.ssrc or media.direction not in ("sendrecv", None):
        raise BadDescription(f"does not send {media.kind}")
    if not media.ice or not media.ice.usernameFragment or not media.ice.password:
        raise BadDescription("has no ICE credentials")
    ssrc, payload_type = media.ssrc[0].ssrc, int(payload_types[0] or 0)
    rtx_groups = [  # a=ssrc-group:FID, the media SSRC and its retransmission SSRC (RFC 5576)
        [int(i) for i in g.items]
        for g in media.ssrc_group
        if g.semantic == "FID" and len(g.items) == 2
    ]
    rtx_payload_types = [
        c.payloadType
        for c in media.rtp.codecs
        if c.name.lower() == "rtx" and c.parameters.get("apt") == payload_types[0]
    ]
    if not rtx_groups or not rtx_payload_types:
        return Stream(ssrc, payload_type)
    return Stream(rtx_groups[0][0], payload_type, rtx_groups[0][1], rtx_payload_types[0])
