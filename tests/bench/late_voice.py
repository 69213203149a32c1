"""Late and lost packets of the voice: what a call's report calls concealed, against Chromium.

Each call sends a voice to a real Chromium over loopback and holds its packets up as drawn: a queue
that fills in 0.1 to 2 s to 0.1 to 0.5 s, stays for up to 1.5 s and drains; exponential jitter of 2
to 40 ms; pauses of 0.05 to 0.4 s, every one to five seconds; a loss of 0.2 to 10 %. Each of the
four is in every second call, and packets stay in order. The truth is the increase of Chromium's
`concealedSamples`; the product's figure is that of `audio_quality` for the same packets. A call in
which Chromium played more than 2 % less or more than the window is left out: this computer was too
slow for it.

    python -m tests.bench.late_voice [--calls N] [--quick] [--json FILE] [--seed N]

Needs Chromium. It takes half a minute for each six calls.
"""

from __future__ import annotations

import asyncio
import fractions
import math
import random
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import fmean, median, quantiles

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame
from playwright.async_api import Browser, Page

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.rtc.receive.arrivals import Arrivals
from jharnet_monitor.rtc.rtp import RtpHeader
from jharnet_monitor.rtc.stats.playout import audio_quality
from tests.bench.chromium_call import ADDRESS, ARGUMENTS
from tests.bench.chromium_truth import MARGIN
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.browser_support import chromium

CLOCK, FRAME, PAYLOAD_TYPE = 48_000, 960, 96
"""Of aiortc's Opus."""
PER_SECOND = CLOCK / FRAME
WARM_UP, HELD_UP, CALM = 3.0, 24.0, 1.5
"""Nothing is held up in the warm-up and, after `HELD_UP`, for `CALM`; the counters are read half a
second before the one and at the end of the other."""
START, END = WARM_UP - 0.5, HELD_UP + CALM
AT_ONCE = 6
PLAYED = 0.02
PAGE = """
window.call = {};
window.answer = async (sdp) => {
  call.connection = new RTCPeerConnection();
  call.connection.ontrack = ({track}) => {
    call.element = new Audio();
    call.element.srcObject = new MediaStream([track]);
    call.element.play();
  };
  await call.connection.setRemoteDescription({type: 'offer', sdp});
  await call.connection.setLocalDescription();
  while (call.connection.iceGatheringState !== 'complete') {
    await new Promise((done) => setTimeout(done, 20));
  }
  return call.connection.localDescription.sdp;
};
window.heard = async () => {
  for (const entry of (await call.connection.getStats()).values()) {
    if (entry.type === 'inbound-rtp') return [entry.concealedSamples, entry.totalSamplesReceived];
  }
};
"""

Delay = Callable[[float], float]
"""Seconds by which a packet is held up, from the seconds since the first."""
Send = Callable[[bytes], Coroutine[None, None, None]]


class Voice(MediaStreamTrack):
    """A tone whose loudness varies as syllables do, without a pause."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._start, self._number = time.monotonic(), 0

    async def recv(self) -> AudioFrame:
        """The next 20 ms, when they are due."""
        at = self._number / PER_SECOND
        await asyncio.sleep(max(0.0, self._start + at - time.monotonic()))
        moments = at + np.arange(FRAME) / CLOCK
        loudness = 9000 * (0.6 + 0.4 * np.sin(2 * math.pi * 4 * moments))
        wave = (loudness * np.sin(2 * math.pi * 180 * moments)).astype(np.int16)
        frame = AudioFrame.from_ndarray(wave[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = CLOCK, self._number * FRAME
        frame.time_base = fractions.Fraction(1, CLOCK)
        self._number += 1
        return frame


def log_uniform(chance: random.Random, low: float, high: float) -> float:
    """A number between the two, even on a logarithmic scale."""
    return math.exp(chance.uniform(math.log(low), math.log(high)))


def queue(chance: random.Random) -> Delay:
    """A queue that fills and drains again and again."""
    points, at = [(0.0, 0.0)], WARM_UP + chance.expovariate(0.5)
    while at < HELD_UP - 4:
        peak, rise = chance.uniform(0.1, 0.5), chance.uniform(0.1, 2.0)
        hold, fall = chance.uniform(0, 1.5), peak / chance.uniform(0.1, 1.0)
        points += [(at, 0.0), (at + rise, peak), (at + rise + hold, peak)]
        at += rise + hold + fall
        points.append((at, 0.0))
        at += chance.expovariate(0.5)
    times, waits = zip(*points, strict=True)
    return lambda at: float(np.interp(at, times, waits))


def jitter(chance: random.Random) -> Delay:
    """Each packet waits by chance."""
    mean = log_uniform(chance, 0.002, 0.04)
    return lambda at: chance.expovariate(1 / mean)


def pauses(chance: random.Random) -> Delay:
    """Nothing passes for some tenths of a second, now and then."""
    stops, at, often = [(0.0, 0.0)], WARM_UP, chance.uniform(0.2, 1.0)
    while (at := at + chance.expovariate(often)) < HELD_UP:
        stops.append((at, at + chance.uniform(0.05, 0.4)))
    return lambda at: max(end - at if start <= at < end else 0.0 for start, end in stops)


TROUBLES = {"queue": queue, "jitter": jitter, "pauses": pauses}


@dataclass
class Sender:
    """Holds the packets of a call up, loses some, and notes those that left."""

    chance: random.Random
    delays: list[Delay] = field(default_factory=list)
    loss: float = 0.0
    started: float | None = None
    """When the first packet was made, by the event loop."""
    first: int = 0
    packets: int = 0
    left: Arrivals = field(default_factory=lambda: Arrivals(CLOCK))
    _release: float = 0.0

    def draw(self) -> None:
        """Draw one trouble or more."""
        drawn = [name for name in (*TROUBLES, "loss") if self.chance.random() < 0.5]
        for name in drawn or [self.chance.choice([*TROUBLES, "loss"])]:
            if name == "loss":
                self.loss = log_uniform(self.chance, 0.002, 0.1)
            else:
                self.delays.append(TROUBLES[name](self.chance))

    def between(self, send: Send) -> Send:
        """What takes the place of `send`."""
        loop = asyncio.get_running_loop()

        async def send_later(data: bytes) -> None:
            if data[1] & 0x7F != PAYLOAD_TYPE:
                await send(data)
                return
            header = RtpHeader(PAYLOAD_TYPE, False, *_numbers(data), 7, 12)
            if self.started is None:
                self.started, self.first = loop.time(), header.sequence
            self.packets += 1
            since = loop.time() - self.started
            held_up = WARM_UP <= since < HELD_UP
            waits = max(0.0, *(delay(since) for delay in self.delays)) if self.delays else 0.0
            self._release = max(self._release, loop.time() + waits * held_up)
            if held_up and self.chance.random() < self.loss:
                return

            def leave() -> None:
                self.left.add(header, len(data), time.monotonic(), 0, None)
                sent.append(loop.create_task(send(data)))

            loop.call_at(self._release, leave)

        sent: list[asyncio.Task[None]] = []
        return send_later

    def concealed(self) -> float:
        """Share of the window that the product calls concealed."""
        window, end = round(START * PER_SECOND), min(round(END * PER_SECOND), self.packets)
        quality = audio_quality(self.left, self.first, end, window, {})
        return quality.concealed / (end - window)


def _numbers(data: bytes) -> tuple[int, int]:
    """Sequence number and timestamp."""
    return int.from_bytes(data[2:4]), int.from_bytes(data[4:8])


@dataclass(frozen=True, slots=True)
class HeldCall:
    """Shares of the window: concealed by Chromium, concealed as the product says, and played."""

    truth: float
    product: float
    played: float


async def call(page: Page, chance: random.Random) -> HeldCall:
    """One call to `page`."""
    loop, sender = asyncio.get_running_loop(), Sender(chance)
    sender.draw()
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        transport = connection.addTrack(Voice()).transport
        transport._send_rtp = sender.between(transport._send_rtp)  # type: ignore[assignment,method-assign]
        await connection.setLocalDescription(await connection.createOffer())
        answer = await page.evaluate("sdp => answer(sdp)", connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        while sender.started is None:
            await asyncio.sleep(0.05)
        heard = []
        for moment in (START, END):
            await asyncio.sleep(max(0.0, sender.started + moment - loop.time()))
            heard.append(await page.evaluate("heard()"))
    finally:
        await connection.close()
    samples = CLOCK * (END - START)
    concealed, played = ((after - before) / samples for before, after in zip(*heard, strict=True))
    return HeldCall(concealed, sender.concealed(), played)


async def calls(seed: int, count: int) -> list[HeldCall]:
    """So many calls, some at a time."""
    held: list[HeldCall] = []
    async with chromium(*ARGUMENTS) as browser:
        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, count))
            async with AsyncExitStack() as stack:
                pages = [await _page(browser, stack) for _ in numbers]
                chances = [random.Random(f"{seed} {number}") for number in numbers]
                held += await asyncio.gather(*map(call, pages, chances))
    return held


async def _page(browser: Browser, stack: AsyncExitStack) -> Page:
    context = await stack.enter_async_context(await browser.new_context())
    page = await context.new_page()
    await page.route("**/*", lambda r: r.fulfill(content_type="text/html", body="<title>v</title>"))
    await page.goto(ADDRESS)
    await page.add_script_tag(content=PAGE)
    return page


def rows(held: Sequence[HeldCall]) -> list[Row]:
    """The figures and their marks."""
    used = [one for one in held if abs(one.played - 1) <= PLAYED]
    errors = [abs(one.product - one.truth) for one in used]
    limit = Criteria().concealed
    wrong = [abs(one.truth - limit) for one in used if (one.product > limit) != (one.truth > limit)]
    clear = sum(distance > MARGIN for distance in wrong)
    return [
        note("calls", len(used), "calls"),
        note("  left out", len(held) - len(used), "calls"),
        note("mean of Chromium's share", fmean(one.truth for one in used), "ratio"),
        note("mean error", fmean(one.product - one.truth for one in used), "ratio"),
        at_most("median of the absolute error", median(errors), 0.005, "ratio"),
        at_most("95th percentile", quantiles(errors, n=20)[-1], 0.025, "ratio"),
        note("on the other side of the limit of grade 0", len(wrong), "calls"),
        at_most("  Chromium's share more than 0.015 off it", clear, 0.02 * len(used), "calls"),
    ]


def main() -> int:
    """Run it."""
    found = parser(__doc__)
    found.add_argument("--calls", type=int, default=60, metavar="N", help="how many (60)")
    options = found.parse_args()
    held = asyncio.run(calls(options.seed, AT_ONCE if options.quick else options.calls))
    return finish("late and lost voice", rows(held), options)


if __name__ == "__main__":
    sys.exit(main())
