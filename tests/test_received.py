"""What a receiver asks for again, and what it tells of what came: without a network."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from aiortc.rtp import RtcpPacket, RtcpRtpfbPacket

from jharnet_monitor.rtc.receive.arrivals import ENDS, KEY, STARTS, Arrivals
from jharnet_monitor.rtc.receive.receiver import Receiver
from jharnet_monitor.rtc.receive.receiver_report import find_account
from jharnet_monitor.rtc.sdp import Stream, Streams
from jharnet_monitor.rtc.stats.call_stats import Seen, Sent, seen
from jharnet_monitor.rtc.stats.freeze_resampling import Path

STREAMS = Streams(Stream(1, 111), Stream(2, 96, 3, 97), "vp8")
PATH = Path(0.05, 0.04)
FRAME = bytes([0x10, 0x01, 0, 0])
"""A VP8 descriptor, and the start of a frame that is no keyframe."""


def packet(sequence: int, stamp: int = 0) -> bytes:
    """A packet of the peer's video."""
    return struct.pack("!BBHII", 0x80, 0x80 | 96, sequence & 0xFFFF, stamp, 2) + FRAME


def receiver() -> Receiver:
    """One that knows the peer's streams."""
    made = Receiver(lambda: 0.1)
    made.start(STREAMS, STREAMS)
    return made


async def asked(made: Receiver, at: float) -> list[list[int]]:
    """What each request of the moment names."""
    out: list[bytes] = []

    async def send(data: bytes) -> None:
        out.append(data)

    await made.attend(at, send)
    packets = [each for data in out for each in RtcpPacket.parse(data)]
    return [each.lost for each in packets if isinstance(each, RtcpRtpfbPacket)]


async def test_a_gap_over_the_end_of_the_numbers_is_asked_for() -> None:
    """65535 and 0 are lost together: two requests, for one cannot hold both."""
    made = receiver()
    made.received(packet(65534), 1.0)
    assert await asked(made, 1.0) == []
    made.received(packet(65537, 3000), 1.03)
    assert await asked(made, 1.03) == [[65535], [0]]
    made.received(packet(65538, 6000), 1.06)
    assert await asked(made, 1.06) == []  # asked for already, less than a round trip ago


async def test_numbers_that_jump_cost_little() -> None:
    """However far a stranger's numbers jump, no more than a thousand packets are asked for."""
    made = receiver()
    for jump in range(11):
        made.received(packet(jump * 2900, jump * 3000), 1.0 + jump / 100)
    assert sum(len(lost) for lost in await asked(made, 1.2)) == 1000


async def test_moments_count_from_the_beginning_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a computer that has been up for 50 days, where milliseconds have run over 2^32."""
    days = 50 * 86400.0
    monkeypatch.setattr("time.monotonic", lambda: days)
    made, out = receiver(), []

    async def send(data: bytes) -> None:
        out.append(data)

    made.received(packet(1), days + 2.0)
    await made.attend(days + 2.5, send)
    account = find_account(out[0])
    assert account is not None
    assert (account.written, account.newest_video) == (2.5, 2.0)


def sent(**changes: Any) -> Sent:
    """Of 12 seconds: 600 packets of sound, 360 pictures of one packet each."""
    figures: dict[str, Any] = {
        "rung": "360p", "seconds": 12.0,
        "audio_first": 0, "audio_packets": 600, "audio_window": 0,
        "video_first": 0, "video_packets": 360, "video_rung": 0, "video_window": 0,
        "retransmitted": 0, "refused": 0, "frames_left_out": 0, "adapts": False,
        "stepped_down": False, "loss_stays": False, "capacity": None, "setup_seconds": 0.2,
        "round_trip_p50": 0.04, "round_trip_p95": 0.05, "local_port": 1, "remote_port": 2,
        "loop_lag_seconds": 0.0, "loop_stalled_ratio": 0.0, "socket_drops": 0, "cpu_ratio": 0.1,
    }  # fmt: skip
    return Sent.from_json({**figures, **changes})


def told(told: Sent, frames: int = 360, queued: float = 0.0, hole: range = range(0)) -> Seen:
    """What is told of a flawless call, but for a queue that the first packet met, and a hole."""
    audio, video = Arrivals(48_000), Arrivals(90_000)
    for number in range(told.audio_packets):
        columns(audio, number, number * 960, 0.02 + number / 50, STARTS | ENDS)
    for number in range(frames):
        if number not in hole:
            late = queued if not number else 0.0
            flags = STARTS | ENDS | KEY * (number % 30 == 0)
            columns(video, number, number * 3000, 0.02 + late + number / 30, flags)
    found = seen(audio, video, told, PATH, (1000, 1000))
    return Seen.from_json(found.to_json())


def columns(log: Arrivals, number: int, stamp: int, at: float, flags: int) -> None:
    """One arrival."""
    log.first = 0 if log.first is None else log.first
    log.sequence.append(number)
    log.timestamp.append(stamp)
    log.at.append(at)
    log.size.append(1000)
    log.flags.append(flags)


def test_a_flawless_call_has_no_freeze() -> None:
    """Every picture is shown."""
    found = told(sent())
    assert (found.freeze_count, found.freeze_seconds) == (0, 0.0)
    assert found.frames_per_second == pytest.approx(30, abs=0.2)
    assert found.frames_complete / found.judged_seconds == pytest.approx(30, abs=0.2)


def test_no_picture_at_all_is_a_freeze_and_no_zero() -> None:
    """Sound passes, every picture is lost: the window is frozen from end to end."""
    found = told(sent(), frames=0)
    assert (found.video_lost, found.freeze_seconds) == (360, 12.0)
    silent = told(sent(video_packets=0))
    assert (silent.video_sent, silent.freeze_seconds) == (0, 0.0)


def test_a_queue_that_the_first_packet_met_is_no_freeze_at_the_end() -> None:
    """The window begins when that packet would have come, and ends with the last."""
    assert told(sent(), queued=0.6).freeze_seconds == 0.0


@pytest.mark.parametrize("seconds", [0.6, 12.0])
def test_freezes_are_held_against_the_time_that_is_judged(seconds: float) -> None:
    """A second after a change of rung is left out, or half of a window that is shorter than two."""
    found = told(sent(stepped_down=True, seconds=seconds))
    assert found.judged_seconds == max(seconds - 1.0, seconds / 2)
    assert 0 <= found.freeze_seconds <= found.judged_seconds


def test_a_hole_is_as_long_as_it_was() -> None:
    """Thirty pictures that never came are a second without one."""
    found = told(sent(), hole=range(120, 150))
    assert found.freeze_count == 1
    assert found.freeze_seconds == pytest.approx(1.03, abs=0.05)
