"""Session descriptions of strangers: vetted before aiortc reads them, and what they promise.

A description may name any address and any number of streams. It is bounded in size, foreign
candidates are taken out, and what does not describe one audio and one video stream is refused.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from aiortc.sdp import MediaDescription, SessionDescription

from jharnet_monitor.rtc.codecs import CODECS, DEFAULT, Codec

MAX_BYTES = 20_000
MAX_CANDIDATES = 4
_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
_FINGERPRINT = re.compile(
    r"a=fingerprint:sha-(?:256|384|512) (?:[0-9a-f]{2}:){31,63}[0-9a-f]{2}", re.IGNORECASE
)


class BadDescription(ValueError):
    """A session description that we do not take; the text says why."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One media stream as its sender describes it; `rtx` values are None without RFC 4588."""

    ssrc: int
    payload_type: int
    rtx_ssrc: int | None = None
    rtx_payload_type: int | None = None


@dataclass(frozen=True, slots=True)
class Streams:
    """What one end sends."""

    audio: Stream
    video: Stream
    codec: Codec
    """Of the video."""
    send_time: int | None = None
    """Number of the header extension that says when a video packet left (abs-send-time)."""


def vetted(text: object, local_address: str) -> str:
    """The description without foreign candidates; raises `BadDescription`.

    Candidates stay if they are UDP host or reflexive addresses that media from `local_address`
    can reach; the mark that no more will come is taken out, since a peer may also be met first
    by its own checks. Our deadline ends the search, not the library's.
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
            if candidates > MAX_CANDIDATES or not _acceptable(line, local_address):
                continue
        elif line == "a=end-of-candidates":
            continue
        lines.append(line)
    if not any(_FINGERPRINT.fullmatch(line) for line in lines):
        raise BadDescription("has no certificate fingerprint")
    return "\r\n".join(lines) + "\r\n"


def _acceptable(line: str, local_address: str) -> bool:
    fields = line.removeprefix("a=candidate:").split()
    if len(fields) < 8 or fields[1] != "1" or fields[2].lower() != "udp":
        return False
    if fields[7] not in ("host", "srflx") or not re.fullmatch(r"[0-9]{1,5}", fields[5]):
        return False
    try:
        address = ipaddress.ip_address(fields[4])
    except ValueError:  # a host name, or an mDNS name of a browser
        return False
    local = ipaddress.ip_address(local_address)
    return (
        1024 <= int(fields[5]) <= 65535
        and address.version == local.version
        and not (address.is_multicast or address.is_unspecified or address.is_reserved)
        and (not address.is_loopback or local.is_loopback)
    )


def candidate_addresses(text: str) -> list[str]:
    """The IP addresses that a description offers, in its order; raises `BadDescription`."""
    if not isinstance(text, str) or len(text) > MAX_BYTES:
        raise BadDescription("is no session description")
    found = []
    for fields in (line.split() for line in re.findall(r"(?m)^a=candidate:([^\r\n]+)", text)):
        try:
            found.append(str(ipaddress.ip_address(fields[4])))
        except (ValueError, IndexError):
            continue
    return found


def offered_codec(text: object, wanted: Codec) -> Codec:
    """The video codec of a call that is offered: the one wanted, else another of ours.

    Whoever cannot speak the one wanted would not in a real conference either; the measurement
    says which it was. What is offered at all is for `streams` to judge.
    """
    if not isinstance(text, str) or len(text) > MAX_BYTES:
        return wanted
    names = re.findall(r"(?m)^a=rtpmap:\d+ ([\w-]+)/90000", text)
    known = {name.lower() for name in names}
    return next((codec for codec in (wanted, *CODECS) if codec in known), wanted)


def streams(text: str, codec: Codec = DEFAULT) -> Streams:
    """The audio (Opus) and video stream that a description promises to send."""
    try:
        description = SessionDescription.parse(text)
    except Exception as error:  # aiortc's parser raises whatever its lines run into
        raise BadDescription(f"cannot be read ({type(error).__name__})") from error
    kinds = [m.kind for m in description.media if m.kind in ("audio", "video")]
    if sorted(kinds) != ["audio", "video"] or len(description.media) > 3:
        raise BadDescription("does not describe one audio and one video stream")
    media = {m.kind: m for m in description.media}
    extensions = {e.uri: e.id for e in media["video"].rtp.headerExtensions}
    return Streams(
        _stream(media["audio"], "opus"),
        _stream(media["video"], codec),
        codec,
        extensions.get(_SEND_TIME),
    )


def _stream(media: MediaDescription, codec: str) -> Stream:
    types = [
        c.payloadType
        for c in media.rtp.codecs
        if c.name.lower() == codec
        and (codec != "h264" or str(c.parameters.get("packetization-mode")) == "1")
    ]
    if not types:
        raise BadDescription(f"does not offer {codec}")
    if not media.ssrc or media.direction not in ("sendrecv", None):
        raise BadDescription(f"does not send {media.kind}")
    if not media.ice or not media.ice.usernameFragment or not media.ice.password:
        raise BadDescription("has no ICE credentials")
    ssrc, main = media.ssrc[0].ssrc, int(types[0] or 0)
    groups = [
        [int(i) for i in g.items]
        for g in media.ssrc_group
        if g.semantic == "FID" and len(g.items) == 2
    ]
    retransmission = [
        c.payloadType
        for c in media.rtp.codecs
        if c.name.lower() == "rtx" and c.parameters.get("apt") == types[0]
    ]
    if not groups or not retransmission:
        return Stream(ssrc, main)
    return Stream(groups[0][0], main, groups[0][1], retransmission[0])
