"""The receiving half without a network: requests, reports, and the receive statistics."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock

import pytest
from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRtpfbPacket

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.profiles import rung
from jharnet_monitor.rtc.browser import BrowserReceiverReport, BrowserSendStats, PictureAdvice
from jharnet_monitor.rtc.receive.arrivals import (
    FRAME_END,
    FRAME_START,
    KEYFRAME,
    Arrivals,
    ReportArrivals,
)
from jharnet_monitor.rtc.receive.receiver import NACK_INTERVAL, Receiver
from jharnet_monitor.rtc.receive.receiver_report import ReceiverReportApp, find_report_app
from jharnet_monitor.rtc.sdp import Stream, Streams
from jharnet_monitor.rtc.stats import line_observation, line_process
from jharnet_monitor.rtc.stats.call_stats import (
    BadReport,
    ReceiveStats,
    SendStats,
    StatsMessage,
    receive_stats,
)
from jharnet_monitor.rtc.stats.freeze_resampling import PathModel

STREAMS = Streams(Stream(1, 111), Stream(2, 96, 3, 97), "vp8")
PATH = PathModel(0.05, 0.04)
FRAME = bytes([0x10, 0x01, 0, 0])
"""A VP8 descriptor and the start of a frame that is no keyframe."""


def video_packet(sequence: int, timestamp: int = 0) -> bytes:
    """A packet of the peer's video."""
    return struct.pack("!BBHII", 0x80, 0x80 | 96, sequence & 0xFFFF, timestamp, 2) + FRAME


def make_receiver() -> Receiver:
    """A receiver that knows the peer's streams."""
    receiver = Receiver(lambda: 0.1)
    receiver.start(STREAMS, STREAMS)
    return receiver


async def nacks(receiver: Receiver, at: float) -> list[list[int]]:
    """The sequence numbers in each NACK that is sent at this moment."""
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)

    await receiver.send_feedback(at, send)
    packets = [packet for data in sent for packet in RtcpPacket.parse(data)]
    return [packet.lost for packet in packets if isinstance(packet, RtcpRtpfbPacket)]


async def test_a_gap_across_the_wrap_of_sequence_numbers_is_requested() -> None:
    """65535 and 0 are lost together: two requests, since one cannot hold both."""
    receiver = make_receiver()
    receiver.rtp_received(video_packet(65534), 1.0)
    assert await nacks(receiver, 1.0) == []
    receiver.rtp_received(video_packet(65537, 3000), 1.03)
    assert await nacks(receiver, 1.03) == [[65535], [0]]
    receiver.rtp_received(video_packet(65538, 6000), 1.06)
    assert await nacks(receiver, 1.06) == []  # requested less than a round trip ago


async def test_jumping_sequence_numbers_are_bounded() -> None:
    """However far a peer's numbers jump, no more than a thousand packets are requested."""
    receiver = make_receiver()
    for jump in range(11):
        receiver.rtp_received(video_packet(jump * 2900, jump * 3000), 1.0 + jump / 100)
    assert sum(len(lost) for lost in await nacks(receiver, 1.2)) == 1000


async def keyframe_requests(receiver: Receiver, clock: ManualClock, seconds: float) -> list[float]:
    """When a receiver that runs for these seconds requests a keyframe, on its clock."""
    found: list[float] = []

    async def send(data: bytes) -> None:
        if any(isinstance(packet, RtcpPsfbPacket) for packet in RtcpPacket.parse(data)):
            found.append(clock.monotonic())

    running = asyncio.create_task(receiver.run(send))
    await clock.advance(seconds)
    assert not running.done()
    running.cancel()
    return found


async def test_a_keyframe_is_requested_if_the_first_one_lost_its_first_packet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody misses a packet before the first arrival, so a browser's picture never appeared.

    The missing packet may still come for 0.2 s; a request is repeated after 0.3 s at the earliest.
    """
    clock, tolerance = ManualClock(datetime.now(UTC)), 2.5 * NACK_INTERVAL
    for module in ("time", "asyncio"):
        monkeypatch.setattr(f"jharnet_monitor.rtc.receive.receiver.{module}", clock)
    await clock.advance(1000)  # a machine that has been up for a while
    receiver, began = make_receiver(), clock.monotonic()
    receiver.rtp_received(video_packet(2), began)
    first, second, third = await keyframe_requests(receiver, clock, 1.0)
    assert 0.2 < first - began < 0.2 + tolerance, "it may still come"
    for earlier, later in ((first, second), (second, third)):
        assert 0.3 < later - earlier < 0.3 + tolerance, "not again at once"
    key = video_packet(3)[:12] + bytes([0x10]) + bytes.fromhex("0000009d012a00054002")
    receiver.rtp_received(key, clock.monotonic())
    assert receiver.video.heights
    assert await keyframe_requests(receiver, clock, 2.0) == []


def test_padding_repeats_no_packet() -> None:
    """A browser's padding on the retransmission stream, before its first packet, is not counted."""
    receiver = make_receiver()
    padding = struct.pack("!BBHII", 0xA0, 97, 9, 0, 3) + bytes(254) + b"\xff"
    receiver.rtp_received(padding, 1.0)
    receiver.rtp_received(video_packet(30_000), 1.1)
    assert list(receiver.video.sequence) == [30_000]


async def test_report_times_count_from_the_start_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a host that has been up for 50 days, monotonic milliseconds exceed 2^32."""
    days = 50 * 86400.0
    monkeypatch.setattr("time.monotonic", lambda: days)
    receiver, sent = make_receiver(), []

    async def send(data: bytes) -> None:
        sent.append(data)

    receiver.rtp_received(video_packet(1), days + 2.0)
    await receiver.send_feedback(days + 2.5, send)
    app = find_report_app(sent[0])
    assert app is not None
    assert (app.written_at, app.newest_video_at) == (2.5, 2.0)


@pytest.mark.parametrize("before", [0.0, 0.035])
async def test_a_report_after_a_pause_states_what_arrived_in_it(before: float) -> None:
    """Ten packets arrive while the process stands still, until a report is due: it counts them,
    also if a short pause came just before."""
    receiver, loop = make_receiver(), asyncio.get_running_loop()
    reports: list[ReceiverReportApp] = []

    class Incoming(asyncio.DatagramProtocol):
        """Passes datagrams on, which the loop reads one at a time."""

        def datagram_received(self, data: bytes, addr: object) -> None:
            """One packet."""
            receiver.rtp_received(data, time.monotonic())

    async def send(data: bytes) -> None:
        app = find_report_app(data)
        if app is not None:
            reports.append(app)

    transport, _ = await loop.create_datagram_endpoint(Incoming, local_addr=("127.0.0.1", 0))
    task = asyncio.create_task(receiver.run(send))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for round_ in range(3):
            undisturbed = False
            while not undisturbed:  # after another pause, a report need not wait for this one
                began = time.monotonic()
                await asyncio.sleep(0.05)
                undisturbed = time.monotonic() - began < 0.08
            if before:
                time.sleep(before)  # noqa: ASYNC251 - the process stands still
                await asyncio.sleep(0.001)
            for number in range(10):
                packet = video_packet(10 * round_ + number)
                sender.sendto(packet, transport.get_extra_info("sockname"))
            time.sleep(0.3)  # noqa: ASYNC251 - the process stands still
            known = len(reports)
            while len(reports) == known:
                await asyncio.sleep(0.001)
            assert reports[-1].line_bytes == receiver.video.line_bytes
            assert len(receiver.video.at) == 10 * (round_ + 1)
    task.cancel()
    await asyncio.wait({task})
    transport.close()


def send_stats(**changes: Any) -> SendStats:
    """12 seconds: 600 packets of audio, 360 frames of one packet each."""
    fields: dict[str, Any] = {
        "rung": "360p", "seconds": 12.0,
        "audio_first": 0, "audio_packets": 600, "audio_window": 0,
        "video_first": 0, "video_packets": 360, "video_rung": 0, "video_window": 0,
        "retransmitted": 0, "refused": 0, "frames_left_out": 0, "adapts": False,
        "stepped_down": False, "loss_stays": False, "capacity": None, "setup_seconds": 0.2,
        "round_trip_p50": 0.04, "round_trip_p95": 0.05, "local_port": 1, "remote_port": 2,
        "loop_lag_seconds": 0.0, "loop_stalled_ratio": 0.0, "socket_drops": 0, "cpu_ratio": 0.1,
    }  # fmt: skip
    return SendStats.from_json({**fields, **changes})


def received(
    sent: SendStats,
    frames: int = 360,
    first_delay: float = 0.0,
    lost: range = range(0),
    skipped: range = range(0),
) -> ReceiveStats:
    """The statistics of a flawless call, but for the first packet's delay and the lost frames.

    The sender stands still while `skipped` frames are due, and does not send them.
    """
    audio, video = Arrivals(48_000), Arrivals(90_000)
    for number in range(sent.audio_packets):
        add(audio, number, number * 960, 0.02 + number / 50, FRAME_START | FRAME_END)
    for number in range(frames):
        if number not in lost:
            delay = first_delay if not number else 0.0
            flags = FRAME_START | FRAME_END | KEYFRAME * (number % 30 == 0)
            due = number + len(skipped) * (number >= skipped.start)
            add(video, number, due * 3000, 0.02 + delay + due / 30, flags)
    stats = receive_stats(audio, video, sent, PATH)
    return ReceiveStats.from_json(stats.to_json())


async def test_the_line_is_worked_out_in_another_process() -> None:
    """The answer is that of the function itself; without an answer in time there is none, nor where
    a computer is short of memory for another process. The call's result needs none."""
    sent = send_stats()
    audio, video = Arrivals(48_000), Arrivals(90_000)
    for number in range(sent.audio_packets):
        if number % 50 != 7:
            add(audio, number, number * 960, 0.02 + number / 50, FRAME_START | FRAME_END)
    for number in range(sent.video_packets):
        add(video, number, number * 3000, 0.02 + number / 30, FRAME_START | FRAME_END)
    direct = line_observation.observed_line((audio, 0, 600), (video, 0, 360))
    assert direct is not None
    assert 0.005 < direct.loss < 0.02
    assert await line_process.observe_line(audio, video, ReportArrivals(), sent) == direct
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_process, "TIME_LIMIT", 0.01)
        assert await line_process.observe_line(audio, video, ReportArrivals(), sent) is None
    with pytest.MonkeyPatch.context() as patch:
        refused = AsyncMock(side_effect=OSError(errno.ENOMEM, "Cannot allocate memory"))
        patch.setattr("asyncio.create_subprocess_exec", refused)
        assert await line_process.observe_line(audio, video, ReportArrivals(), sent) is None


@pytest.mark.parametrize(("adapts", "queue"), [(True, 0.0), (False, 0.4)])
async def test_what_a_browser_sent_late_was_not_in_the_lines_queue(
    adapts: bool, queue: float
) -> None:
    """Its voice is 0.4 s late for good. Of an agent the picture is as late: nothing is shifted."""
    audio, video = Arrivals(48_000), Arrivals(90_000)
    audio.first = 1000
    for number in range(600):
        late = 0.4 * (number >= 200)
        at = 0.02 + number / 50 + late
        add(audio, 1000 + number, number * 960, at, FRAME_START | FRAME_END)
    for number in range(360):
        add(video, number, number * 3000, 0.02 + number / 30, FRAME_START | FRAME_END)
    stated = tuple((number, 0.4) for number in range(200, 600))
    sent = send_stats(audio_first=1000, audio_late=stated, adapts=adapts)
    line = await line_process.observe_line(audio, video, ReportArrivals(), sent)
    assert line is not None
    assert line.longest_queue == pytest.approx(queue, abs=0.02)


def add(log: Arrivals, number: int, timestamp: int, at: float, flags: int) -> None:
    """Add one arrival."""
    log.first = 0 if log.first is None else log.first
    log.sequence.append(number)
    log.timestamp.append(timestamp)
    log.at.append(at)
    log.size.append(1000)
    log.flags.append(flags)


def test_a_flawless_call_has_no_freeze() -> None:
    """Every frame is displayed."""
    stats = received(send_stats())
    assert (stats.freeze_count, stats.freeze_seconds) == (0, 0.0)
    assert stats.frames_per_second == pytest.approx(30, abs=0.2)
    assert stats.frames_complete / stats.judged_seconds == pytest.approx(30, abs=0.2)


def test_packets_sent_late_were_not_delayed_by_the_line() -> None:
    """Of eight packets up to 0.16 s late, those that the sender says it sent late are in time."""
    late = [(300 + number, 0.16 - number / 50) for number in range(8)]
    audio = Arrivals(48_000)
    for number in range(600):
        at = 0.02 + number / 50 + dict(late).get(number, 0.0)
        add(audio, number, number * 960, at, FRAME_START | FRAME_END)
    concealed = {
        stated: receive_stats(
            audio, Arrivals(90_000), send_stats(audio_late=late[:stated]), PATH
        ).audio_concealed
        for stated in (0, 4, 8)
    }
    assert concealed[0] > concealed[4] > concealed[8] == 0


@pytest.mark.parametrize(
    "late",
    [
        7,
        "ab",
        {"a": 1},
        [[1]],
        [[1, 2, 3]],
        [[1, -0.1]],
        [[1, "x"]],
        [["1", 0.1]],
        [[True, 0.1]],
        [[-1, 0.1]],
        [[1, float("nan")]],
        [[float("inf"), 0.1]],
        [[1, 10**400]],
    ],
)
def test_malformed_late_packets_are_refused(late: object) -> None:
    """They come from the other end; an end of an older version says nothing."""
    assert send_stats(audio_late=None).audio_late == send_stats().audio_late == ()
    with pytest.raises(BadReport, match="audio_late"):
        send_stats(audio_late=late)


def test_a_call_without_any_frame_is_frozen() -> None:
    """If all video is lost, the whole window is frozen; if none was sent, nothing is."""
    stats = received(send_stats(), frames=0)
    assert (stats.video_lost, stats.freeze_seconds) == (360, 12.0)
    without_video = received(send_stats(video_packets=0))
    assert (without_video.video_sent, without_video.freeze_seconds) == (0, 0.0)


def test_a_delayed_first_packet_does_not_shift_the_window() -> None:
    """The window starts when the first packet would have arrived without a queue."""
    assert received(send_stats(), first_delay=0.6).freeze_seconds == 0.0


@pytest.mark.parametrize("seconds", [0.6, 12.0])
def test_freezes_refer_to_the_judged_time(seconds: float) -> None:
    """A second after a change of rung is not judged, or half of a window shorter than two."""
    stats = received(send_stats(stepped_down=True, seconds=seconds))
    assert stats.judged_seconds == max(seconds - 1.0, seconds / 2)
    assert 0 <= stats.freeze_seconds <= stats.judged_seconds


def test_lost_frames_freeze_for_their_duration() -> None:
    """Thirty frames that never arrived are a freeze of a second."""
    stats = received(send_stats(), lost=range(120, 150))
    assert stats.freeze_count == 1
    assert stats.freeze_seconds == pytest.approx(1.03, abs=0.05)


@pytest.mark.parametrize(
    ("sent", "frames", "lost", "skipped", "expected"),
    [
        ({}, 360, range(0), range(0), 30.0),
        ({"video_packets": 324}, 324, range(0), range(100, 136), 30.0),
        ({"video_packets": 324}, 324, range(0), range(0), 30.0),  # none after the last packet
        ({"video_packets": 324, "adapts": True}, 324, range(0), range(100, 136), 27.0),
        ({}, 360, range(99, 135), range(0), 25.75),  # none is shown before the next keyframe, 150
        ({}, 360, range(324, 360), range(0), 27.0),
        ({}, 360, range(36), range(0), 25.0),  # none is shown before the next keyframe, 60
        ({"video_packets": 324}, 324, range(200, 210), range(100, 136), 30 * 314 / 324),
        ({"video_packets": 90}, 90, range(0), range(0), 15.0),
    ],
    ids=[
        "flawless",
        "sender",
        "end",
        "browser",
        "line",
        "lost-end",
        "lost-start",
        "both",
        "overloaded",
    ],
)
def test_frames_are_per_second_of_sending(
    sent: dict[str, Any], frames: int, lost: range, skipped: range, expected: float
) -> None:
    """What the sender's host did not send is no lack of the line; what was lost is.

    Of a browser, whose picture adapts to the line, all that is missing counts; of another sender at
    most half of the time is left out.
    """
    stats = received(send_stats(**sent), frames, lost=lost, skipped=skipped)
    assert stats.frames_per_second == pytest.approx(expected, abs=0.02)


def test_a_pause_before_a_picture_that_the_end_cuts() -> None:
    """The sender stood still for 1.2 s, and the call ended within its next picture."""
    video = Arrivals(90_000)
    for number in range(324):
        flags = FRAME_START | FRAME_END | KEYFRAME * (number % 30 == 0)
        add(video, number, number * 3000, 0.02 + number / 30, flags)
    add(video, 324, 359 * 3000, 0.02 + 359 / 30, FRAME_START)
    stats = receive_stats(Arrivals(48_000), video, send_stats(video_packets=325), PATH)
    assert stats.frames_per_second == pytest.approx(30, abs=0.1)


def test_a_picture_of_which_one_packet_arrived() -> None:
    """It is not shown, whether it is the only one or the last."""
    for packets in (1, 50):
        video = Arrivals(90_000)
        for number in range(packets - 1):
            add(video, number, number * 3000, number / 30, FRAME_START | FRAME_END | KEYFRAME)
        add(video, packets - 1, packets * 3000, packets / 30, 0)
        sent = send_stats(video_packets=packets)
        shown = receive_stats(Arrivals(48_000), video, sent, PATH).frames_per_second
        assert shown == pytest.approx((packets - 1) / 6)


MESSAGE_FIELDS: dict[type[StatsMessage], str] = {
    SendStats: "rung seconds audio_first audio_packets audio_window video_first video_packets "
    "video_rung video_window retransmitted refused frames_left_out adapts stepped_down loss_stays "
    "capacity setup_seconds round_trip_p50 round_trip_p95 local_port remote_port loop_lag_seconds "
    "loop_stalled_ratio socket_drops cpu_ratio disturbed_seconds stepped_after "
    "loop_lag_median_seconds audio_late",
    ReceiveStats: "datagrams_sent datagrams_received audio_sent audio_lost audio_concealed "
    "audio_burst_ratio audio_play_out jitter_seconds pdv_seconds video_sent video_lost "
    "video_missing judged_seconds frames_complete frames_per_second freeze_count freeze_seconds "
    "height video_bits_per_second bits_per_second line",
    BrowserReceiverReport: "written line_bytes audio_packets audio_lost audio_newest "
    "video_packets video_lost video_newest",
    BrowserSendStats: "seconds height stepped_down capacity retransmitted setup_seconds "
    "round_trip_p50 round_trip_p95 host_limited camera microphone hidden frames_left_out "
    "silent loop_lag",
}


@pytest.mark.parametrize("message", MESSAGE_FIELDS, ids=lambda message: message.__name__)
def test_message_fields_are_a_contract(message: type[StatsMessage]) -> None:
    """Hubs, agents and join pages of other versions read and send these keys."""
    assert " ".join(field.name for field in fields(message)) == MESSAGE_FIELDS[message]


def test_advice_makes_the_picture_smaller_at_once_and_larger_late() -> None:
    """Asked for 720p: what fits the line, never below the least rate, and nothing twice."""
    advice = PictureAdvice(rung("720p"))
    top = rung("720p").line_rate
    assert advice.update(1.2 * top, 0.0) is None
    small = advice.update(420e3, 1.0)
    assert small is not None and (small["height"], small["line_rate"]) == (360, 420_000)
    assert 300e3 < small["video"] < 400e3
    assert advice.update(421e3, 1.3) is None
    rate = advice.update(500e3, 1.6)
    assert rate is not None and rate["height"] == 360
    early = advice.update(top, 20.0)
    assert early is not None and early["height"] == 360
    late = advice.update(1.2 * top, 31.5)
    assert late is not None and late["height"] == 720
    least = advice.update(10e3, 32.0)
    assert least is not None and (least["height"], least["video"]) == (180, 28_000)
    assert PictureAdvice(rung("audio")).update(1e5, 0.0) is None
