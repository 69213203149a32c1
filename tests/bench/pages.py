"""The pages with a whole division: 264 offices, and 200 readers of the status page at once.

Served by the web application over a made-up hub with a store of a week, in a process of its own, so
that its CPU can be told from that of the readers. First paint and bytes are Chromium's, over
loopback; CPU is that of the serving process while each reader holds the page's stream open and one
office after the other changes its state.

    python -m tests.bench.pages [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import sys
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psutil
from aiohttp import web

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.live import Live
from jharnet_monitor.model import OfficeState
from jharnet_monitor.web import make_app
from tests.browser_support import chromium
from tests.made_up import full, latency
from tests.made_up_hub import MadeUpHub

OFFICES, READERS = 264, 200
PAINT_MARK, BYTES_MARK, CPU_MARK = 1.0, 150_000, 0.10
CHANGE_SECONDS = 5.0
PAINT = """new Promise((resolve) => new PerformanceObserver((list) => {
  for (const one of list.getEntriesByName("first-contentful-paint")) resolve(one.startTime);
}).observe({ type: "paint", buffered: true }))"""
"""The page may be loaded before it is painted."""


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the table."""

    name: str
    measured: float
    mark: float
    unit: str

    @property
    def ok(self) -> bool:
        """Whether the mark is met."""
        return self.measured <= self.mark


def serve(pipe: Connection, directory: str, seed: int) -> None:
    """Serve a made-up division; one office changes its state every few seconds."""
    asyncio.run(_serve(pipe, Path(directory), random.Random(seed)))


async def _serve(pipe: Connection, directory: Path, dice: random.Random) -> None:
    live = full(OFFICES)
    hub = MadeUpHub(live, directory)
    hub.clock = SystemClock()  # type: ignore[assignment]
    _as_of_now(live, hub)
    runner = web.AppRunner(make_app(hub))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = site._server
    assert server is not None
    pipe.send(server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
    offices = [office.id for office in live.config.offices]
    while not pipe.poll():
        await asyncio.sleep(CHANGE_SECONDS)
        office, now = dice.choice(offices), hub.clock.now()
        down = live.offices[office].state is OfficeState.UP
        live.set_state(office, OfficeState.UNREACHABLE if down else OfficeState.UP, now)
        live.update(latency(office, now - timedelta(seconds=60), dice.uniform(0.02, 0.08)))
    await runner.cleanup()


def _as_of_now(live: Live, hub: MadeUpHub) -> None:
    """A day of latency and a week of states, which the page reads."""
    now, log = hub.clock.now(), hub.store.event_log
    for office in live.config.offices:
        live.set_state(office.id, OfficeState.AGENT_OFF, now - timedelta(hours=2))
        live.set_state(office.id, OfficeState.UP, now - timedelta(hours=1))
        log.add_transition(office.id, OfficeState.UP, now - timedelta(days=6), {})
        log.add_transition(office.id, OfficeState.UNREACHABLE, now - timedelta(days=1), {})
        log.add_transition(office.id, OfficeState.UP, now - timedelta(hours=23), {})
        live.update(latency(office.id, now - timedelta(seconds=61)))
        hub.store.add([latency(office.id, now - timedelta(minutes=10 * n)) for n in range(1, 144)])


async def first_paint(address: str, runs: int) -> tuple[float, int]:
    """Seconds to the first contentful paint of a new browser window, and bytes of the page with all
    that it loads; medians of several runs.
    """
    paints, sizes = [], []
    async with chromium() as browser:
        for _ in range(runs):
            context = await browser.new_context()
            page = await context.new_page()
            await page.goto(address)
            paint = await page.evaluate(PAINT)
            size = await page.evaluate(
                "[...performance.getEntriesByType('navigation'),"
                " ...performance.getEntriesByType('resource')]"
                ".reduce((sum, one) => sum + one.transferSize, 0)"
            )
            paints.append(paint / 1000)
            sizes.append(int(size))
            await context.close()
    return median(paints), int(median(sizes))


async def cpu_of_readers(address: str, process: psutil.Process, seconds: float) -> float:
    """The share of a core that the hub takes while all readers hold their streams open."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        readers = [asyncio.create_task(_read(session, address)) for _ in range(READERS)]
        await asyncio.sleep(10)
        before = sum(process.cpu_times()[:2])
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.sleep(seconds)
        used, lasted = sum(process.cpu_times()[:2]) - before, loop.time() - started
        ended = [one for one in readers if one.done()]
        for one in readers:
            one.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
    if ended:
        raise RuntimeError(f"{len(ended)} of {READERS} readers were disconnected")
    return float(used / lasted)


async def _read(session: aiohttp.ClientSession, address: str) -> None:
    async with session.get(f"{address}events?lang=en&after=9999999999999") as answer:
        answer.raise_for_status()
        async for _ in answer.content.iter_any():
            pass
    raise RuntimeError("the stream ended")


async def measure(directory: str, seed: int, *, quick: bool) -> list[Found]:
    """All figures."""
    ours, theirs = multiprocessing.Pipe()
    hub = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, directory, seed))
    hub.start()
    try:
        address = f"http://127.0.0.1:{ours.recv()}/"
        async with aiohttp.ClientSession() as session, session.get(address) as answer:
            await answer.read()
        await asyncio.sleep(10 if quick else 30)  # the week of all offices is read
        paint, size = await first_paint(address, 3 if quick else 9)
        process = psutil.Process(hub.pid)
        cpu = await cpu_of_readers(address, process, 20 if quick else 120)
    finally:
        ours.send("stop")
        hub.join(15)
        hub.kill()
    return [
        Found(f"first paint of the status page, {OFFICES} offices", paint, PAINT_MARK, "s"),
        Found("bytes of the page and what it loads", size, BYTES_MARK, "B"),
        Found(f"CPU of the hub with {READERS} open status pages", cpu, CPU_MARK, "core"),
    ]


def main() -> int:
    """Print the table; 0 if every mark is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jhn-pages-") as directory:
        found = asyncio.run(measure(directory, options.seed, quick=options.quick))
    print(f"seed {options.seed}, {os.cpu_count()} cores")
    for one in found:
        word = "ok" if one.ok else "MISSED"
        print(f"{one.name:50} {one.measured:10.3f} {one.unit:5} mark {one.mark:g} {word}")
    if options.json:
        rows: list[dict[str, Any]] = [
            {"name": one.name, "measured": one.measured, "mark": one.mark, "unit": one.unit,
             "ok": one.ok}
            for one in found
        ]  # fmt: skip
        options.json.write_text(json.dumps(rows, indent=2))
    return 0 if all(one.ok for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
