"""A browser's voice that its computer sent late, known from the send times of its picture."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf
from unittest import mock

import pytest

from jharnet_monitor.profiles import rung
from jharnet_monitor.rtc.browser import BrowserSendStats
from jharnet_monitor.rtc.call import Call
from jharnet_monitor.rtc.receive.arrivals import FRAME_END, FRAME_START, Arrivals
from jharnet_monitor.rtc.receive.send_times import SendTimes, _longest_near, _nearest, sent_late
from jharnet_monitor.rtc.rtp import RtpHeader
from jharnet_monitor.rtc.stats.playout import AudioQuality, audio_quality
from tests.test_join_stats import SENT

EXTENSION, SECONDS, TRIP = 3, 6, 0.02
FIRST, LOST, PHASE = 1000, 20, 0.013
Times = Callable[[float], float]


def packet(sent: float) -> bytes:
    """An RTP packet that says when it was sent, seconds before the 24 bits wrap and after."""
    ticks = round((sent + 60) * (1 << 18)) % (1 << 24)
    header = bytes((0x90, 96)) + bytes(10)
    return header + b"\xbe\xde\0\1" + bytes((EXTENSION << 4 | 2,)) + ticks.to_bytes(3)


Ends = tuple[Arrivals, Arrivals, SendTimes]
"""Voice, picture and send times of the picture."""


def call(made: Times, stamped: Times, line: Times, frames: int = 30, lost: int = 0) -> Ends:
    """50 packets of voice and `frames` of the picture a second; one packet of voice is lost.

    `made` gives when the voice of a time leaves its encoder, `stamped` the same of the picture, and
    `line` when it arrives what was sent then. Every `lost`-th picture is lost.
    """
    voice, video, times = Arrivals(48_000), Arrivals(90_000), SendTimes(EXTENSION)
    for number in range(50 * SECONDS):
        header = RtpHeader(111, False, FIRST + number, 960 * number, 7, 12)
        if number != LOST:
            voice.add(header, 100, line(made(number / 50)), FRAME_START | FRAME_END, None)
    for number in range(frames * SECONDS):
        if lost and number % lost == 0:
            continue
        captured = number / frames + PHASE
        sent = stamped(captured)
        header = RtpHeader(96, True, number, round(90_000 * captured), 8, 12)
        video.add(header, 900, line(sent), FRAME_START | FRAME_END, None)
        times.add(packet(sent), line(sent))
    return voice, video, times


def quality(voice: Arrivals, late: tuple[tuple[int, float], ...]) -> AudioQuality:
    """How the whole call would be played."""
    return audio_quality(voice, FIRST, 50 * SECONDS, 0, dict(late))


def at_once(at: float) -> float:
    """Nothing is late."""
    return at


def clear(sent: float) -> float:
    """An empty line."""
    return sent + TRIP


def paused(at: float) -> float:
    """Nothing passes for a tenth of the second second, two tenths of the third and so on."""
    return max(at, int(at) + int(at) / 10)


def holding(first: float, interval: float, period: float) -> Times:
    """A line that holds up what is sent between two pictures, `first` and the next, and releases it
    before the next: a picture that it does not delay. So in each `period`."""

    def arrives(sent: float) -> float:
        since = (sent - first - 0.001) % period
        return clear(sent) + max(0.0, interval - 0.002 - since)

    return arrives


def test_voice_that_a_computer_sends_late_is_not_the_lines() -> None:
    """Firefox on a computer that paused sent its voice in bursts, much of it too late to be played,
    and a line that lost nothing got grade 0."""
    voice, video, times = call(paused, paused, clear)
    raw = quality(voice, ())
    assert raw.concealed > 0.06 * 50 * SECONDS and raw.pdv is not None and raw.pdv > 0.2
    late = sent_late(voice, video, times, True)
    assert dict(late)[150] == pytest.approx(0.3, abs=0.001)
    assert {number // 50 for number, _ in late} == {1, 2, 3, 4, 5}
    mended = quality(voice, late)
    assert mended.concealed == 1, "the lost one"
    assert mended.pdv is not None and mended.pdv < 0.011


def test_a_delay_of_the_line_stays_the_lines() -> None:
    """Where the line holds everything back, the picture is as late as the voice."""
    ends = call(at_once, at_once, lambda sent: paused(sent) + TRIP)
    assert sent_late(*ends, True) == sent_late(*ends, False) == ()


@pytest.mark.parametrize(
    ("frames", "lost", "line", "timers_late"),
    [
        (30, 0, holding(PHASE, 1 / 30, 0.1), True),
        (12, 0, holding(PHASE, 1 / 12, 0.25), True),
        (30, 5, holding(PHASE + 4 / 30, 2 / 30, 5 / 30), True),
        (30, 0, holding(PHASE, 1 / 30, 0.1), False),
        (30, 20, holding(PHASE + 19 / 30, 2 / 30, 20 / 30), False),
    ],
)
def test_a_delay_that_no_picture_shows_stays_the_lines(
    frames: int, lost: int, line: Times, timers_late: bool
) -> None:
    """It is shorter than the time between two pictures, of a slow camera or where some are lost."""
    ends = call(at_once, at_once, line, frames, lost)
    delayed = quality(ends[0], ()).pdv
    assert delayed is not None and delayed > 0.02
    assert sent_late(*ends, timers_late) == ()


@pytest.mark.parametrize(("timers_late", "delay"), [(True, 0.025), (False, 0.045)])
def test_a_short_delay_that_stays_is_the_computers(timers_late: bool, delay: float) -> None:
    """A browser stays late after a pause, or after one of its sound alone, which its timers do not
    show: so is what arrives just after a picture."""
    late = sent_late(*call(lambda at: at + delay * (at >= 2), at_once, clear), timers_late)
    assert [number for number, _ in late] == list(range(100, 50 * SECONDS))
    assert dict(late)[250] == pytest.approx(delay, abs=0.001)


def test_a_pause_of_the_computer_proves_nothing_at_other_times() -> None:
    """What the line holds up between pictures in other seconds is the line's."""

    def made(at: float) -> float:
        return max(at, 3.2) if at >= 3 else at

    late = sent_late(*call(made, made, holding(PHASE, 1 / 30, 0.1)), True)
    assert late and all(2.9 < number / 50 < 3.4 for number, _ in late)


def test_delays_of_both_are_separated() -> None:
    """The line adds 0.15 s from the third second on, beside the pauses of the computer."""
    ends = call(paused, paused, lambda sent: clear(sent) + 0.15 * (sent >= 3))
    late = dict(sent_late(*ends, True))
    assert late[100] == pytest.approx(0.2, abs=0.001)
    assert late[200] == pytest.approx(0.4, abs=0.001), "a second after it became slower"
    assert max(late.values()) < 0.501


def test_without_a_picture_the_line_is_given_all() -> None:
    """Nothing says when the voice was sent; nor does the picture of another second."""
    assert sent_late(*call(paused, paused, clear, frames=0), True) == ()
    first_second = sent_late(*call(paused, lambda at: at / SECONDS, clear), True)
    assert {number // 50 for number, _ in first_second} <= {0, 1}


def test_the_picture_within_a_tenth_of_a_second_counts() -> None:
    """The longest transit before and after a moment, and the nearest; of older packets none."""
    times = SendTimes(EXTENSION)
    for at, transit in ((0.0, 5.0), (1.0, 3.0), (1.05, 4.0), (1.3, 2.0)):
        times.at.append(at)
        times.transit.append(transit)
    moments = (0.05, 0.5, 0.91, 0.96, 1.14, 1.16, 1.25)
    assert list(_longest_near(times, moments)) == [5.0, inf, 3.0, 4.0, 4.0, inf, 2.0]
    assert _nearest(times, moments) == [5.0, inf, 3.0, 3.0, 4.0, inf, 2.0]


def test_a_packet_without_a_send_time_is_not_noted() -> None:
    """Such as one of the voice; a send time has three bytes."""
    times = SendTimes(EXTENSION)
    assert times.add(packet(1.0), 5.0) == pytest.approx(times.transit[0])
    plain, short = bytes((0x80, 96)) + bytes(20), bytearray(packet(1.0))
    short[16] = EXTENSION << 4 | 1
    assert times.add(plain, 5.0) is None and times.add(bytes(short), 5.0) is None
    assert len(times.at) == 1


@pytest.mark.parametrize(
    ("lag", "known", "shown"),
    [(0.06, True, True), (0.006, True, False), (None, True, False), (0.06, False, None)],
)
async def test_a_browsers_packets_and_timers_show_what_it_sent_late(
    lag: float | None, known: bool, shown: bool | None
) -> None:
    """Without send times nothing is taken from the line, whatever the timers of the page say."""
    voice, video, times = call(paused, paused, clear)
    async with Call("127.0.0.1", rung("audio")) as there:
        there._send_times = times if known else None
        there.receiver.audio, there.receiver.video = voice, video
        with mock.patch.object(type(there._connection), "ports", (1, 2)):
            stats = BrowserSendStats.from_json({**SENT, "loop_lag": lag})
            sent = await there.browser_send_stats(stats)
    late = () if shown is None else sent_late(voice, video, times, shown)
    assert sent.audio_late == late
    assert sent.audio_first == FIRST and sent.loop_lag_seconds == lag


def test_the_lines_jitter_stays() -> None:
    """Of a voice that is late for good, what varies is what the picture around it waited."""
    chance = random.Random(5)
    waits = [chance.uniform(0, 0.03) for _ in range(1000 * SECONDS)]

    def line(sent: float) -> float:
        return clear(sent) + waits[int(1000 * sent) % len(waits)]

    voice, video, times = call(lambda at: at + 0.3 * (at >= 1), at_once, line)
    late = sent_late(voice, video, times, False)
    # The last of it arrives after the picture has ended.
    mended = audio_quality(voice, FIRST, 250, 0, dict(late))
    true = audio_quality(call(at_once, at_once, line)[0], FIRST, 250, 0, {})
    assert true.jitter and true.pdv and mended.jitter and mended.pdv
    assert 0.5 * true.jitter < mended.jitter < 1.5 * true.jitter
    assert mended.pdv == pytest.approx(true.pdv, rel=0.1)


def test_a_picture_of_before_shows_what_the_line_does() -> None:
    """A slow camera's last picture came more than 0.1 s ago, as late as the line made it: what was
    sent after it can be as late. The picture that comes next is not."""

    def line(sent: float) -> float:
        since = sent % 1
        if since < 0.25:
            since = 0.3 + 0.6 * since
        elif since < 0.45:
            since = 0.425 + 0.1 * since
        else:
            since += TRIP
        return int(sent) + since

    assert sent_late(*call(at_once, at_once, line, frames=2), False) == ()


def test_what_waits_behind_a_picture_on_a_narrow_line_is_the_lines() -> None:
    """A packet of the picture occupies a line of 0.3 Mbit/s for 24 ms, the fastest one, too."""
    voice, video, times = Arrivals(48_000), Arrivals(90_000), SendTimes(EXTENSION)
    sends = [(number / 50, 100, number) for number in range(50 * SECONDS)]
    sends += [(number / 30 + PHASE, 900, number) for number in range(30 * SECONDS)]
    at = 0.0
    for sent, size, number in sorted(sends):
        at = max(at, sent) + size * 8 / 0.3e6
        log, rate = (voice, 48_000) if size == 100 else (video, 90_000)
        header = RtpHeader(111, True, FIRST + number, round(rate * sent), 7, 12)
        log.add(header, size, at, FRAME_START | FRAME_END, None)
        if log is video:
            times.add(packet(sent), at)
    assert sent_late(voice, video, times, False) == ()


def test_late_timers_make_a_difference() -> None:
    """Where the whole computer stands still, its picture pauses as well, and proves less."""
    ends = call(paused, paused, clear)
    assert len(sent_late(*ends, False)) < len(sent_late(*ends, True))
