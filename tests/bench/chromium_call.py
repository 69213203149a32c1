"""A real call between two Chromiums over a link of the lab: the truth for a condition.

Each runs headless in its own namespace and sends the product's moving picture (720p30, VP8, at most
1.7 Mbit/s, frame rate before size) and a beep; only the picture's decoding is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.async_api import Browser, Page

from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.profiles import FRAMES_PER_SECOND
from jharnet_monitor.rtc.media.clip_maker import picture
from jharnet_monitor.rtc.media.clips import LOOP_FRAMES
from tests.browser_support import FAKE_DEVICES, chromium, chromium_at

WIDTH, HEIGHT = 1280, 720
SCRIPT = Path(__file__).with_name("chromium_page.js")
ADDRESS = "https://call.invalid/"
"""Never resolved: the benchmark serves the page. A page needs https to use a camera."""
GRAIN = 12
"""Noise in the picture: with it, Chromium sends the heights known of a talking head, 540p at
0.6 Mbit/s and, after 40 s, 720p at 0.9."""
PATIENCE = 15.0
"""Seconds in which a call must connect."""
ARGUMENTS = (
    *FAKE_DEVICES,
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
)


def write_picture(path: Path) -> None:
    """Write the product's clip as YUV4MPEG2, which Chromium uses as its camera."""
    chroma = bytes([128]) * (WIDTH * HEIGHT // 2)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FRAMES_PER_SECOND}:1 Ip C420jpeg\n".encode())
        for index in range(LOOP_FRAMES):
            luma = np.ascontiguousarray(picture(HEIGHT, WIDTH, index, GRAIN))
            file.write(b"FRAME\n" + luma.tobytes() + chroma)


class Pair:
    """Two Chromiums, at headquarters and at an office."""

    def __init__(self, here: Browser, there: Browser) -> None:
        self.here, self.there = here, there

    async def call(self, warm_up: float, window: float) -> dict[str, Any]:
        """The statistics of both ends in the window; `down` is what arrived at the office.

        `{"connected": False}` if the call did not connect.
        """
        async with AsyncExitStack() as stack:
            ends = [await stack.enter_async_context(_page(b)) for b in (self.here, self.there)]
            offer = await ends[1].evaluate("make_offer()")
            answer = await ends[0].evaluate("sdp => make_answer(sdp)", offer)
            await ends[1].evaluate("sdp => accept(sdp)", answer)
            try:
                async with asyncio.timeout(PATIENCE):
                    while any([await e.evaluate(CONNECTED) != "connected" for e in ends]):
                        await asyncio.sleep(0.1)
            except TimeoutError:
                return {"connected": False}
            await asyncio.sleep(warm_up)
            for end in ends:
                await end.evaluate("watch()")
            await asyncio.sleep(window)
            up, down = [await end.evaluate("watched()") for end in ends]
        return {"connected": True, "down": down, "up": up}


CONNECTED = "call.connection.connectionState"


@asynccontextmanager
async def _page(browser: Browser) -> AsyncIterator[Page]:
    context = await browser.new_context()
    page = await context.new_page()
    await page.route("**/*", lambda r: r.fulfill(content_type="text/html", body="<title>c</title>"))
    await page.goto(ADDRESS)
    await page.add_script_tag(content=SCRIPT.read_text())
    try:
        yield page
    finally:
        await context.close()


@asynccontextmanager
async def pair(lab: Lab, office: str, scratch: Path, nice: int = 0) -> AsyncIterator[Pair]:
    """Both browsers, each started in its own namespace."""
    picture = scratch / "picture.y4m"
    if not picture.exists():
        write_picture(picture)
    directory = scratch / office
    directory.mkdir(exist_ok=True)
    arguments = (*ARGUMENTS, f"--use-file-for-fake-video-capture={picture}")
    here, there = (chromium_at(lab, where, directory, nice) for where in (HEADQUARTERS, office))
    async with (
        chromium(*arguments, program=here, home=scratch) as one,
        chromium(*arguments, program=there, home=scratch) as other,
    ):
        yield Pair(one, other)
