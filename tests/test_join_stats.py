"""What the join page makes of its browser's counters, and what the hub makes of that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Browser

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData, Reading
from jharnet_monitor.probes.conference.result import CallSides, reading
from jharnet_monitor.profiles import rung
from jharnet_monitor.rtc.browser import BrowserSendStats, send_stats_from_arrivals
from jharnet_monitor.rtc.receive.arrivals import Arrivals
from jharnet_monitor.rtc.rtp import RtpHeader
from tests.join_support import Door, browser, door, open_link
from tests.test_receive import received, send_stats

__all__ = ["browser", "door"]

LEFT_OUT = """async ([module, calls]) => {
  const { leftOut } = await import(module);
  return calls.map(([made, encoded, busy]) => {
    const at = (share) => ({
      source: { video: { frames: 100 + share * made } },
      out: { video: { framesEncoded: 90 + share * encoded, totalEncodeTime: 3 + share * busy } },
    });
    return leftOut([at(0), at(0.5), at(1)], 10);
  });
}"""
ENCODERS = {
    "it keeps up, barely": ((300, 299, 9.2), 1),
    "it keeps up": ((300, 300, 9.5), 0),
    "too slow": ((283, 190, 8.6), 93),
    "quick, but its rate is limited": ((300, 150, 1.5), 0),
    "stuck": ((300, 0, 0.0), 0),
    "a slow camera": ((150, 150, 3.0), 0),
}
"""Frames that were made and encoded, and seconds of encoding, of ten; and what counts."""


LAG = """async ([module, lags]) => {
  const { sent } = await import(module);
  const all = lags.map((lag, i) => ({
    at: i / 4, lag, in: {}, source: {}, pair: {}, remote: {},
    out: { video: { frameHeight: i < 8 ? 180 : 360 } },
  }));
  return sent(all, { video: 400000 }, 3, null).loop_lag;
}"""

SEEN = """async ([module, samples, hub]) => {
  const { seen } = await import(module);
  const all = samples.map(([at, packets, frames, freezes, frozen]) => ({
    at,
    in: {
      audio: { packetsReceived: packets, packetsLost: 0, bytesReceived: 100 * packets },
      video: {
        packetsReceived: packets, packetsLost: 0, bytesReceived: 900 * packets, frameHeight: 360,
        framesDecoded: frames, framesReceived: frames, freezeCount: freezes,
        totalFreezesDuration: frozen,
      },
    },
    out: {}, remote: {},
  }));
  return seen(all, all.at(-1), hub);
}"""
HUB = {"audio_packets": 400, "audio_window": 100, "video_packets": 400, "video_window": 100,
       "seconds": 7.5}  # fmt: skip
"""What the hub sent in a call of ten seconds: 40 packets a second, 100 before its window."""


def samples(freezes: dict[float, float]) -> list[list[float]]:
    """Four a second, with freezes of so many seconds that end at these times."""
    found = []
    for quarter in range(42):
        at = min(quarter, 40) / 4
        ended = [length for end, length in freezes.items() if end <= at]
        found.append([quarter / 4, 40 * at, 30 * at, len(ended), sum(ended)])
    return found


async def script(browser: Browser, door: Door) -> tuple[Any, str]:
    """A page, and the address of the module that counts."""
    page = await open_link(browser, door.link)
    module = await page.locator("script[type=module]").get_attribute("src")
    assert module is not None
    return page, module.replace("join.js", "join-stats.js")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("freezes", "seconds"),
    [
        ({}, 0.0),
        ({5.0: 0.6, 9.0: 0.4}, 1.0),
        (
            {2.9: 2.2},
            0.25,
        ),  # counted at 3 s, in a window whose first packets were counted at 2.75 s
        ({2.1: 1.5}, 0.0),
    ],
)
async def test_a_freeze_before_the_window_is_not_in_it(
    door: Door, browser: Browser, freezes: dict[float, float], seconds: float
) -> None:
    """On 1 Mbit/s Firefox counted 1.3 to 2.6 s right after the window had begun, and half of the
    calls had grade 1 for it, on a line that carried 3."""
    page, module = await script(browser, door)
    found = await page.evaluate(SEEN, [module, samples(freezes), HUB])
    assert found["freeze_seconds"] == pytest.approx(seconds)
    assert found["video_sent"] == 290 and found["frames_per_second"] == pytest.approx(30)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("wait", "count", "seconds"), [(0.5, 0, 0.0), (1.0, 1, 1.0), (6.0, 1, 6.0)]
)
async def test_the_wait_for_the_first_picture_is_a_freeze(
    door: Door, browser: Browser, wait: float, count: int, seconds: float
) -> None:
    """A browser counts none before it has shown a picture: a page that was black for most of a call
    had no freeze and 30 frames a second. An agent counts it from one second on."""
    page, module = await script(browser, door)
    black = [
        [at, packets, max(0, frames - 30 * wait), *freezes]
        for at, packets, frames, *freezes in samples({})
    ]
    found = await page.evaluate(SEEN, [module, black, HUB | {"video_window": 0}])
    assert found["freeze_count"] == count
    assert found["freeze_seconds"] == pytest.approx(seconds)


@pytest.mark.browser
async def test_only_a_busy_encoder_is_too_slow(door: Door, browser: Browser) -> None:
    """Frames that a quick encoder leaves out are left out for the line's rate."""
    page, module = await script(browser, door)
    given = [list(call) for call, _ in ENCODERS.values()]
    found = await page.evaluate(LEFT_OUT, [module, given])
    assert dict(zip(ENCODERS, found, strict=True)) == {
        name: wanted for name, (_, wanted) in ENCODERS.items()
    }


@pytest.mark.browser
async def test_the_longest_lag_is_that_of_the_judged_window(door: Door, browser: Browser) -> None:
    """A browser is busy when a call begins, or its picture changes; here until two seconds."""
    page, module = await script(browser, door)
    for busy, lag in ((1, 0.003), (8, 0.003), (9, 0.3), (39, 0.3)):
        lags = [0.3 if quarter == busy else 0.003 for quarter in range(40)]
        assert await page.evaluate(LAG, [module, lags]) == lag


def judged(frames_arrived: int, **browsers: Any) -> Reading | NoData:
    """The reading of a call in which so many of the page's 360 frames arrived, or why there is
    none."""
    ours, theirs = send_stats(), send_stats(adapts=True, rung="360p", **browsers)
    down, up = replace(received(ours), height=360), replace(received(theirs), height=360)
    up = replace(up, frames_per_second=frames_arrived / 12)
    try:
        return reading(rung("360p"), CallSides(ours, theirs, down, up), Criteria(), {})
    except NoData as error:
        return error


def test_a_slow_encoder_of_a_page_blames_no_line() -> None:
    """In a call over TCP at 720p on a busy computer, 14 of 30 frames a second arrived, and the
    line got grade 3. A perfect call proves the line nevertheless."""
    spoiled = judged(130, frames_left_out=150)
    assert isinstance(spoiled, NoData) and spoiled.cause is Cause.HOST_OVERLOADED
    assert "skipped 150 of 360 video frames" in spoiled.detail
    for arrived, left_out, grade in ((130, 0, 2), (130, None, 2), (280, 80, 3)):
        found = judged(arrived, frames_left_out=left_out)
        assert isinstance(found, Reading), found
        assert found.values["grade"] == grade


def test_a_freeze_while_a_page_stood_still_blames_no_line() -> None:
    """The rule for our own agent; an older page does not say how late its timers were."""
    still = judged(130, loop_lag_seconds=0.2)
    assert isinstance(still, NoData) and still.cause is Cause.HOST_OVERLOADED
    assert still.detail == "the agent stood still for 0.20 s"
    for arrived, lag, grade in ((130, 0.09, 2), (130, None, 2), (360, 0.2, 3)):
        found = judged(arrived, loop_lag_seconds=lag)
        assert isinstance(found, Reading), found
        assert found.values["grade"] == grade


SENT = {
    "seconds": 10.0, "height": 360, "stepped_down": False, "capacity": None, "retransmitted": 0,
    "setup_seconds": 0.5, "round_trip_p50": 0.04, "round_trip_p95": 0.05, "host_limited": 0.0,
    "camera": False, "microphone": False, "hidden": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "sound"),
    [
        ({}, "tone"),
        ({"silent": False}, "tone"),
        ({"silent": True}, "silence"),
        ({"silent": False, "microphone": True}, "microphone"),
    ],
)
def test_silence_differs_from_a_tone(sent: dict[str, bool], sound: str) -> None:
    """Firefox plays nothing on a computer without a sound device; older pages do not say."""
    stats = BrowserSendStats.from_json({**SENT, **sent})
    assert stats.conditions()["agent_audio"] == sound


@pytest.mark.parametrize("lag", [None, 0.2])
def test_the_lag_of_a_page_is_that_of_its_end(lag: float | None) -> None:
    """As if our own agent's event loop had been so late."""
    stats = BrowserSendStats.from_json({**SENT, "loop_lag": lag})
    found = send_stats_from_arrivals(stats, Arrivals(48_000), Arrivals(90_000), (1, 2))
    assert found.loop_lag_seconds == lag


def test_what_arrives_while_a_pages_packets_are_counted_fails_no_call() -> None:
    """They are counted in a thread; the columns of a packet that arrives meanwhile are not all as
    long at each moment."""
    logs = Arrivals(48_000), Arrivals(90_000)
    for log in logs:
        for number in range(50):
            log.add(RtpHeader(96, True, number, 960 * number, 7, 12), 100, number / 50, 0, None)
    stats = BrowserSendStats.from_json(SENT)
    whole = send_stats_from_arrivals(stats, *logs, (1, 2))
    for log in logs:
        log.at.append(1.0)
    assert send_stats_from_arrivals(stats, *logs, (1, 2)) == whole
