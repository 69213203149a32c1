"""Transport-wide feedback: the format by hand, what is reported, and who is offered it."""

from __future__ import annotations

import random
import re
import socket
import struct
import time
from itertools import pairwise
from typing import NamedTuple

import pytest

from jharnet_monitor.rtc.aiortc_private import StampedDatagram, _bound_socket
from jharnet_monitor.rtc.receive.transport_feedback import TransportFeedback, pack_feedback
from jharnet_monitor.rtc.sdp import parse_streams, with_transport_cc
from tests.faults.fuzz_media import MAX_FEEDBACK_BYTES
from tests.faults.fuzz_media import OFFER as OFFER_WITH_IT

OURS, THEIRS = 0x11111111, 0x22222222
ID = 5
OFFER = re.sub(r"(?m)^a=(rtcp-fb:\d+ transport-cc|extmap:4 .*)\n", "", OFFER_WITH_IT)
EXTENSION = "a=extmap:{} http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"


class Feedback(NamedTuple):
    """A message as its receiver reads it."""

    base: int
    statuses: int
    feedback_count: int
    arrived: dict[int, int]
    """When each packet that arrived did, in ticks of 0.25 ms, by its place after `base`."""


def read(message: bytes) -> Feedback:
    """Read a message by sections 3.1.1 to 3.1.5 of the draft; raises `AssertionError`."""
    first, kind, words, ours, theirs, base, count, last = struct.unpack_from("!BBHIIHHI", message)
    assert (first & 0xDF, kind, ours, theirs) == (0x8F, 205, OURS, THEIRS)
    assert len(message) == 4 * (words + 1) <= MAX_FEEDBACK_BYTES
    end = len(message) - (message[-1] if first & 0x20 else 0)
    statuses: list[int] = []
    at = 20
    while len(statuses) < count:
        (chunk,) = struct.unpack_from("!H", message, at)
        at += 2
        if not chunk >> 15:
            statuses += [chunk >> 13] * (chunk & 0x1FFF)
        elif not chunk & 0x4000:
            statuses += [chunk >> 13 - place & 1 for place in range(14)]
        else:
            statuses += [chunk >> 12 - 2 * place & 3 for place in range(7)]
    ticks = 256 * (last >> 8)
    arrived = {}
    for place, status in enumerate(statuses[:count]):
        assert status < 3
        if status:
            ticks += int.from_bytes(message[at : at + status], signed=status == 2)
            at += status
            arrived[place] = ticks
    assert at == end
    assert not any(statuses[count:])
    return Feedback(base, count, last & 0xFF, arrived)


def packet(number: int, payload: int = 100, identity: int = ID) -> bytes:
    """An RTP packet with this transport-wide number."""
    fixed = struct.pack("!BBHII", 0x90, 96, 7, 9000, THEIRS)
    extension = struct.pack("!HHBHx", 0xBEDE, 1, identity << 4 | 1, number & 0xFFFF)
    return fixed + extension + bytes(payload)


def reported(taken: list[tuple[int, float]]) -> list[Feedback]:
    """All feedback on these packets, each a number and its arrival in seconds."""
    feedback = TransportFeedback(ID, OURS)
    return [read(m) for number, at in taken for m in feedback.rtp_received(packet(number), at)]


@pytest.mark.parametrize(
    ("base", "numbers", "ticks", "wanted"),
    [
        # Small, small, lost, 400 ticks and -4 ticks later: a vector of two bits each. It wraps.
        (65534, [65534, 65535, 65537, 65538], [770, 774, 1174, 1170],
         "8fcd0006 11111111 22222222 fffe0005 00000309 d4a0 02 04 0190 fffc"),
        # 21 small deltas in a row: a run, and one byte of padding.
        (10, list(range(10, 31)), list(range(768, 789)),
         "afcd000a 11111111 22222222 000a0015 00000309 2015 00" + " 01" * 20 + " 01"),
        # Arrived, lost, arrived, arrived: a vector of one bit each, and three bytes of padding.
        (1, [1, 3, 4], [255, 255, 256],
         "afcd0006 11111111 22222222 00010004 00000009 ac00 ff 00 01 000003"),
        # 221 lost (the draft's own example of a run), then one that arrived.
        (0, [221], [0], "afcd0006 11111111 22222222 000000de 00000009 00dd 2001 00 000003"),
    ],
    ids=["vector-of-two", "run", "vector-of-one", "lost"],
)  # fmt: skip
def test_the_format_by_hand(base: int, numbers: list[int], ticks: list[int], wanted: str) -> None:
    """The bytes that the draft's figures give."""
    assert pack_feedback((OURS, THEIRS), base, numbers, ticks, 9) == bytes.fromhex(wanted)


def test_the_reader_reads_what_the_draft_shows() -> None:
    """Its example of a vector, so that the round trips below are held to it."""
    body = b"\x9f\x1c" + bytes(8) + b"\x00\x02"
    one = struct.pack("!BBHIIHHI", 0xAF, 205, 7, OURS, THEIRS, 100, 14, 0) + body
    assert sorted(read(one).arrived) == [1, 2, 3, 4, 5, 9, 10, 11]


def test_feedback_goes_round_with_wrap_gaps_and_large_deltas() -> None:
    """Everything that arrived is reported as it arrived, and only that."""
    dice = random.Random(3)
    at, taken = 1_000_000.0, []
    for number in range(65_000, 67_000):
        at += dice.choice((0.0, 0.001, 0.005, 0.02, 0.3 if number % 200 == 0 else 0.01))
        if dice.random() > 0.1 and not 65_530 <= number < 65_590:
            taken.append((number, at))
    messages = reported([*taken, (67_000, at + 1), (67_001, at + 2)])
    found: dict[int, int] = {}
    lost, following = 0, 65_000
    for count, message in enumerate(messages):
        assert message.feedback_count == count & 0xFF
        base = message.base + (65_536 if message.base < 30_000 else 0)
        assert base == following or not count
        following = base + message.statuses
        lost += message.statuses - len(message.arrived)
        found |= {base + place: ticks for place, ticks in message.arrived.items()}
    expected = dict(taken)
    for number, ticks in found.items():
        exact = expected.get(number, at + number - 66_999) * 4000
        assert (ticks - exact + 2**31) % 2**32 - 2**31 == pytest.approx(0, abs=0.51)
    assert set(expected) <= set(found)
    assert lost == following - taken[0][0] - len(found)


def test_a_late_packet_is_reported_after_all() -> None:
    """It was reported lost; then from it on everything is reported again, with a negative delta."""
    first, second = reported([(1, 0.0), (3, 0.02), (4, 0.06), (2, 0.08), (5, 0.12), (6, 0.3)])[:2]
    assert (first.base, first.statuses, sorted(first.arrived)) == (1, 4, [0, 2, 3])
    assert second.base == 2
    assert second.arrived == {0: 320, 1: 80, 2: 240, 3: 480, 4: 1200}


def test_a_pause_of_more_than_a_delta_can_say_begins_another_message() -> None:
    """8.19 s are 32767 ticks."""
    late = reported([(1, 0.0), (2, 0.04), (3, 9.0), (4, 9.3)])
    assert [(one.base, one.statuses) for one in late[:2]] == [(1, 2), (3, 1)]
    assert late[1].arrived == {0: 36_000}


def test_a_repeated_number_keeps_its_first_arrival() -> None:
    """As a network that doubles packets, or a stranger, would send it."""
    (only,) = reported([(7, 0.0), (7, 0.03), (8, 0.06)])
    assert only.arrived == {0: 0, 1: 240}


@pytest.mark.parametrize(
    ("payload", "gap", "wanted"),
    [(2456, 1 / 128, 7 / 128), (56, 1 / 128, 12 / 128), (56, 1 / 16, 4 / 16)],
    ids=["2.5 Mbit/s", "123 kbit/s", "15 kbit/s"],
)
def test_how_often_depends_on_the_rate(payload: int, gap: float, wanted: float) -> None:
    """5 % of the rate are for feedback of 68 bytes, every 50 to 250 ms, if packets come."""
    feedback = TransportFeedback(ID, OURS)
    times = [n * gap for n in range(500) if feedback.rtp_received(packet(n, payload), n * gap)]
    assert {after - before for before, after in pairwise(times[1:])} == {wanted}


def test_strangers_numbers_stay_bounded() -> None:
    """Jumps start afresh, a flood is forgotten, and every message fits a datagram."""
    dice = random.Random(4)
    feedback = TransportFeedback(ID, OURS)
    base = 0
    for number in range(30_000):
        base += dice.choice((1, 1, 2, -3, 900, -900, 20_000))
        for message in feedback.rtp_received(packet(base), number * dice.choice((0, 1e-4, 2e-4))):
            read(message)
        assert len(feedback._arrived) <= 4000
    for number in range(20_000):
        for message in feedback.rtp_received(packet(number), 7.0):
            read(message)
        assert len(feedback._arrived) <= 4000


def test_packets_without_a_number_are_no_packets_of_it() -> None:
    """Too short, with another extension, or with a number of another length."""
    feedback = TransportFeedback(ID, OURS)
    long = packet(1).replace(bytes([ID << 4 | 1]), bytes([ID << 4 | 2]))
    for at, data in enumerate((b"", b"\x90", packet(1)[:14], packet(1, identity=6), long)):
        assert feedback.rtp_received(data, float(at)) == []
    assert feedback._arrived == {}


def _offer(audio: int | None, video: int | None, *codecs: int, origin: str = "-") -> str:
    text = OFFER.replace("o=-", f"o={origin}")
    for identity, mid in ((audio, "a=mid:0"), (video, "a=mid:1")):
        if identity is not None:
            text = text.replace(mid, f"{mid}\n{EXTENSION.format(identity)}")
    for codec, name in ((111, "opus/48000/2"), (96, "VP8/90000")):
        if codec in codecs:
            line = f"a=rtpmap:{codec} {name}"
            text = text.replace(line, f"{line}\na=rtcp-fb:{codec} transport-cc")
    return text.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("offer", "wanted"),
    [
        (_offer(4, 4, 111, 96), 4),
        (_offer(4, 4, 96), None),
        (_offer(4, 4, 111), None),
        (_offer(4, 5, 111, 96), None),
        (_offer(None, 4, 111, 96), None),
        (_offer(15, 15, 111, 96), None),
        (_offer(0, 0, 111, 96), None),
        (_offer(4, 4, 111, 96, origin="mozilla...THIS_IS_SDPARTA-99.0"), None),
        (OFFER, None),
        (OFFER_WITH_IT, 4),
    ],
    ids=[
        "chromium",
        "video-only",
        "audio-only",
        "two-ids",
        "not-audio",
        "15",
        "0",
        "firefox",
        "-",
        "h264",
    ],
)
def test_who_takes_it(offer: str, wanted: int | None) -> None:
    """A browser that offers it for both streams under one id; Firefox keeps to what it is told."""
    assert parse_streams(offer).transport_cc_id == wanted


def test_the_answer_offers_it_for_sound_and_picture_alone() -> None:
    """Each codec but retransmission, and not a data channel, whose section has a `mid`, too."""
    data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n"
    assert "transport" not in OFFER
    answer = with_transport_cc(OFFER.replace("\n", "\r\n") + data, 7)
    assert answer.count(EXTENSION.format(7)) == 2
    for codec, wanted in ((111, 1), (96, 1), (97, 0), (99, 1)):
        assert answer.count(f"a=rtcp-fb:{codec} transport-cc\r\n") == wanted
    assert parse_streams(answer.replace(data, "")).transport_cc_id == 7


def test_a_packet_arrived_when_the_kernel_received_it() -> None:
    """However late a busy hub reads it: a delay of its own would look like a full line."""
    with (
        _bound_socket("127.0.0.1", None) as near,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        far.sendto(b"first", near.getsockname())  # Linux may begin to stamp after it
        time.sleep(0.1)
        near.recvfrom(2048)
        sent_at = []
        for number in range(3):
            sent_at.append(time.monotonic())
            far.sendto(packet(number), near.getsockname())
            time.sleep(0.1)
        read_at = time.monotonic()
        found = [near.recvfrom(2048)[0] for _ in sent_at]
    assert found == [packet(number) for number in range(3)]
    arrived_at = [one.arrived_at for one in found if isinstance(one, StampedDatagram)]
    assert arrived_at == pytest.approx(sent_at, abs=0.05)
    assert max(sent_at) + 0.09 < read_at
