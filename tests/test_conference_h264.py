"""Conference calls in H.264: what is read of its packets, its clips, and a real call."""

from __future__ import annotations

import random
from fractions import Fraction

import av
import pytest
from aiortc.codecs.h264 import H264Encoder
from pydantic import ValidationError

from jharnet_monitor.profiles import RUNGS, rung
from jharnet_monitor.rtc.call import Call
from jharnet_monitor.rtc.codecs import Piece, parse_h264, picture_height
from jharnet_monitor.rtc.media import clips
from jharnet_monitor.rtc.sdp import BadDescription, offered_codec, streams
from tests.call_support import LoopbackAgent, call
from tests.support import make_config

NOTHING = Piece(False, False, 0)
STARTS = Piece(True, False, 0)


def _payloads(frame: bytes) -> list[bytes]:
    """In which a frame leaves."""
    packet = av.Packet(frame)
    packet.pts, packet.time_base = 0, Fraction(1, 90_000)
    return H264Encoder().pack(packet)[0]


def test_clips() -> None:
    """Every rung has its clip: a keyframe a second, of its height, at its rate; it decodes."""
    for step in RUNGS[1:]:
        clip = clips.video_clip(step, "h264")
        assert clip.keyframes == (0, 30, 60, 90)
        rate = sum(map(len, clip.frames)) * 8 / clips.LOOP_SECONDS
        assert rate == pytest.approx(step.video, rel=0.03)
        mean = rate / 8 / 30
        assert max(map(len, clip.frames)) < 4 * mean, "a keyframe is no burst"
        for number, frame in enumerate(clip.frames):
            first, *others = [parse_h264(b"head" + payload, 4) for payload in _payloads(frame)]
            key = number in clip.keyframes
            assert first == Piece(True, key, step.height if key else 0)
            assert set(others) <= {NOTHING}
    decoder = av.CodecContext.create("h264", "r")
    pictures = [p for frame in clip.frames[30:45] for p in decoder.decode(av.Packet(frame))]
    assert {(p.width, p.height) for p in pictures} == {(1280, 720)}


def test_payloads_of_others() -> None:
    """Frames start with their parameter sets, else with the slice of the first macroblock."""
    sps = clips.video_clip(rung("540p"), "h264").frames[0].split(b"\0\0\0\1")[1]
    assert picture_height(sps) == 540, "544 lines are coded, 4 of them cropped"
    aggregate = b"\x78" + len(sps).to_bytes(2) + sps + b"\x00\x02\x68\xce"
    cases = {
        sps: Piece(True, True, 540),
        aggregate: Piece(True, True, 540),
        b"\x41\x9a": STARTS,  # a slice whose first macroblock is number 0
        b"\x41\x1a": NOTHING,  # a later slice
        b"\x06\x05\x01": STARTS,  # supplemental information before a slice
        b"\x65\x88": NOTHING,  # a keyframe's slice, whose parameter sets went before
        b"\x5c\x81\x9a": STARTS,  # the first fragment of a slice
        b"\x5c\x01\x9a": NOTHING,
        b"\x7c\x85\x88": NOTHING,
        b"": NOTHING,
        b"\x78": NOTHING,
    }
    assert {payload: parse_h264(payload, 0) for payload in cases} == cases


def test_broken_payloads_are_read_without_harm() -> None:
    """Cut off, or of random bytes: no error, and no height out of all bounds."""
    sps = clips.video_clip(rung("360p"), "h264").frames[0].split(b"\0\0\0\1")[1]
    for length in range(len(sps)):
        assert picture_height(sps[:length]) in (0, 360, 368)
    chance = random.Random(5)
    for _ in range(3000):
        noise = bytes((chance.choice((0x67, 0x78, 0x7C, 0x41, chance.randrange(256))),))
        noise += chance.choice((b"", b"\x42\xc0\x1f", b"\x85")) + chance.randbytes(40)
        assert 0 <= parse_h264(noise, 0).height <= 16_384
        assert 0 <= picture_height(noise) <= 16_384


async def test_a_call_in_h264() -> None:
    """A clean path at 360p: every frame counted, SD, and rated by G.1070, whose model it meets."""
    result = await call(LoopbackAgent(), seconds=2.0, profile="360p", codec="h264")
    assert result.error is None
    assert result.conditions["codecs"] == "opus, h264"
    assert result.values["grade"] == 3
    for way in ("down", "up"):
        assert result.values[f"{way}_height"] == 360
        assert result.values[f"{way}_video_loss_ratio"] == 0
        assert result.values[f"{way}_frames_per_second"] == pytest.approx(30, abs=2)
        assert result.values[f"{way}_bits_per_second"] == pytest.approx(0.5e6, rel=0.1)
        assert result.values[f"{way}_video_mos"] == pytest.approx(3.2, abs=0.2)


async def test_no_rating_outside_of_the_model() -> None:
    """720p in H.264 is HD as in VP8; G.1070's model ends at VGA, so there is no rating."""
    result = await call(LoopbackAgent(), seconds=2.0, codec="h264")
    assert result.values["grade"] == 4
    assert not {"down_video_mos", "up_video_mos"} & set(result.values)


async def test_what_is_offered_is_what_is_spoken() -> None:
    """An end without the wanted codec is answered in the other; an offer of neither is refused."""
    async with Call("127.0.0.1", rung("audio"), codec="h264") as there:
        offer = await there.offer()
    assert offered_codec(offer, "h264") == offered_codec(offer, "vp8") == "h264"
    assert offered_codec(offer.replace("H264", "VP8"), "h264") == "vp8"
    found = streams(offer, "h264")
    assert (found.codec, found.video.rtx_ssrc is not None) == ("h264", True)
    for other in (offer.replace("H264", "AV1"), offer.replace("packetization-mode=1", "x=1")):
        assert offered_codec(other, "h264") == "h264"
        with pytest.raises(BadDescription, match="h264"):
            streams(other, "h264")
    assert offered_codec(None, "vp8") == "vp8"


def test_the_codec_is_configured() -> None:
    """VP8 unless the configuration says otherwise; another codec is refused."""
    assert make_config().probes.conference.codec == "vp8"
    chosen = make_config(probes={"conference": {"codec": "h264"}})
    assert chosen.probes.conference.codec == "h264"
    with pytest.raises(ValidationError, match="codec"):
        make_config(probes={"conference": {"codec": "av1"}})
