"""Conference calls in H.264: its payloads, its clips, and a real call."""

from __future__ import annotations

import random
from fractions import Fraction

import av
import pytest
from aiortc.codecs.h264 import H264Encoder
from pydantic import ValidationError

from jharnet_monitor.profiles import RUNGS, rung
from jharnet_monitor.rtc.call import Call
from jharnet_monitor.rtc.codecs import PayloadInfo, parse_h264, picture_height
from jharnet_monitor.rtc.media import clips
from jharnet_monitor.rtc.sdp import BadDescription, offered_codec, parse_streams
from tests.call_support import LoopbackAgent, undisturbed_call
from tests.support import make_config

CONTINUES = PayloadInfo(False, False, 0)
STARTS = PayloadInfo(True, False, 0)


def _payloads(frame: bytes) -> list[bytes]:
    """The RTP payloads of an encoded frame."""
    packet = av.Packet(frame)
    packet.pts, packet.time_base = 0, Fraction(1, 90_000)
    return H264Encoder().pack(packet)[0]


def test_clips() -> None:
    """Every rung has a clip with its height and rate and a keyframe a second; it decodes."""
    for step in RUNGS[1:]:
        clip = clips.video_clip(step, "h264")
        assert clip.keyframes == (0, 30, 60, 90)
        rate = sum(map(len, clip.frames)) * 8 / clips.LOOP_SECONDS
        assert rate == pytest.approx(step.video, rel=0.03)
        mean = rate / 8 / 30
        assert max(map(len, clip.frames)) < 4 * mean, "a keyframe must not be a burst"
        for number, frame in enumerate(clip.frames):
            first, *others = [parse_h264(b"head" + payload, 4) for payload in _payloads(frame)]
            key = number in clip.keyframes
            assert first == PayloadInfo(True, key, step.height if key else 0)
            assert set(others) <= {CONTINUES}
    decoder = av.CodecContext.create("h264", "r")
    pictures = [p for frame in clip.frames[30:45] for p in decoder.decode(av.Packet(frame))]
    assert {(p.width, p.height) for p in pictures} == {(1280, 720)}


def test_payloads_of_other_encoders() -> None:
    """A keyframe starts with its parameter sets, another frame with its first slice."""
    sps = clips.video_clip(rung("540p"), "h264").frames[0].split(b"\0\0\0\1")[1]
    assert picture_height(sps) == 540, "544 lines are coded, 4 are cropped"
    aggregate = b"\x78" + len(sps).to_bytes(2) + sps + b"\x00\x02\x68\xce"
    cases = {
        sps: PayloadInfo(True, True, 540),
        aggregate: PayloadInfo(True, True, 540),
        b"\x41\x9a": STARTS,  # a slice whose first macroblock is number 0
        b"\x41\x1a": CONTINUES,  # a later slice
        b"\x06\x05\x01": STARTS,  # a SEI message before a slice
        b"\x65\x88": CONTINUES,  # a slice of a keyframe, which its parameter sets started
        b"\x5c\x81\x9a": STARTS,  # the first fragment of a slice
        b"\x5c\x01\x9a": CONTINUES,
        b"\x7c\x85\x88": CONTINUES,
        b"": CONTINUES,
        b"\x78": CONTINUES,
    }
    assert {payload: parse_h264(payload, 0) for payload in cases} == cases


def test_malformed_payloads_raise_nothing() -> None:
    """Truncated and random payloads give no error and no absurd height."""
    sps = clips.video_clip(rung("360p"), "h264").frames[0].split(b"\0\0\0\1")[1]
    for length in range(len(sps)):
        assert picture_height(sps[:length]) in (0, 360, 368)
    generator = random.Random(5)
    for _ in range(3000):
        noise = bytes((generator.choice((0x67, 0x78, 0x7C, 0x41, generator.randrange(256))),))
        noise += generator.choice((b"", b"\x42\xc0\x1f", b"\x85")) + generator.randbytes(40)
        assert 0 <= parse_h264(noise, 0).height <= 16_384
        assert 0 <= picture_height(noise) <= 16_384


async def test_a_call_in_h264() -> None:
    """A clean path at 360p: all frames arrive, the grade is 3, and G.1070 gives a rating."""
    agent = LoopbackAgent()
    result = await undisturbed_call(agent, seconds=2.0, profile="360p", codec="h264")
    assert result.error is None
    assert result.conditions["codecs"] == "opus, h264"
    assert result.values["grade"] == 3
    for way in ("down", "up"):
        assert result.values[f"{way}_height"] == 360
        assert result.values[f"{way}_video_loss_ratio"] == 0
        assert result.values[f"{way}_frames_per_second"] == pytest.approx(30, abs=2)
        assert result.values[f"{way}_bits_per_second"] == pytest.approx(0.5e6, rel=0.1)
        assert result.values[f"{way}_video_mos"] == pytest.approx(3.2, abs=0.2)


async def test_no_rating_outside_the_model() -> None:
    """720p in H.264 has grade 4 as in VP8, but no rating: the model of G.1070 ends at VGA."""
    result = await undisturbed_call(LoopbackAgent(), seconds=2.0, codec="h264")
    assert result.values["grade"] == 4
    assert not {"down_video_mos", "up_video_mos"} & set(result.values)


async def test_the_offered_codec_is_used() -> None:
    """A peer without the wanted codec is tested in the other; an offer of neither is rejected."""
    async with Call("127.0.0.1", rung("audio"), codec="h264") as there:
        offer = await there.offer()
    assert offered_codec(offer, "h264") == offered_codec(offer, "vp8") == "h264"
    assert offered_codec(offer.replace("H264", "VP8"), "h264") == "vp8"
    found = parse_streams(offer, "h264")
    assert (found.codec, found.video.rtx_ssrc is not None) == ("h264", True)
    for other in (offer.replace("H264", "AV1"), offer.replace("packetization-mode=1", "x=1")):
        assert offered_codec(other, "h264") == "h264"
        with pytest.raises(BadDescription, match="h264"):
            parse_streams(other, "h264")
    assert offered_codec(None, "vp8") == "vp8"


def test_the_codec_is_configured() -> None:
    """VP8 unless the configuration says otherwise; another codec is refused."""
    assert make_config().probes.conference.codec == "vp8"
    chosen = make_config(probes={"conference": {"codec": "h264"}})
    assert chosen.probes.conference.codec == "h264"
    with pytest.raises(ValidationError, match="codec"):
        make_config(probes={"conference": {"codec": "av1"}})
