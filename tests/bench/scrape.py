"""How long does a scrape of a whole state take, and how large is it?

    python -m tests.bench.scrape [--quick] [--json FILE] [--seed N]

264 offices with a full live state, requested over HTTP as Prometheus does: OpenMetrics, compressed.
The peer is prometheus-client's own writer with the same samples in the same process.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from jharnet_monitor.metrics.registry import LiveCollector
from jharnet_monitor.web import make_app
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.made_up import full
from tests.made_up_hub import MadeUpHub

OFFICES = 264
ACCEPT = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
MARK_MILLISECONDS, MARK_BYTES = 60.0, 1_000_000


def main() -> int:
    """Measure; returns 0 if all marks are met."""
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory() as directory:
        hub = MadeUpHub(full(OFFICES), Path(directory))
        rows = asyncio.run(scrapes(hub, 100 if options.quick else 1000))
        hub.store.close()
    return finish(f"A scrape of {OFFICES} offices", rows, options)


async def scrapes(hub: MadeUpHub, number: int) -> list[Row]:
    """Scrape over loopback, one after the other."""
    gc.collect()
    gc.freeze()  # as the hub does after its start
    runner = web.AppRunner(make_app(hub))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    times, sizes = [], []
    try:
        async with aiohttp.ClientSession(headers=ACCEPT, auto_decompress=False) as session:
            for _ in range(number):
                begin = time.perf_counter()
                async with session.get(url) as answer:
                    sizes.append(len(await answer.read()))
                times.append((time.perf_counter() - begin) * 1e3)
    finally:
        await runner.cleanup()
    times = times[3:]  # the first ones fill the cache
    plain, _ = hub.metrics_registry.snapshot().encode(ACCEPT["Accept"])
    theirs = peer(hub)
    return [
        at_most("scrape, p99", quantiles(times, n=100)[98], MARK_MILLISECONDS, "ms",
                f"{quantiles(theirs, n=20)[18]:.0f} (p95, without HTTP)"),
        note("scrape, median", median(times), "ms", f"{median(theirs):.0f} (without HTTP)"),
        at_most("on the wire", max(sizes), MARK_BYTES, "bytes"),
        note("uncompressed", len(plain), "bytes"),
        note("event loop blocked", median(timed(hub.metrics_registry.snapshot, 50)), "ms"),
        note("samples", sum(ln[:1] != b"#" for ln in plain.splitlines()), ""),
    ]  # fmt: skip


def peer(hub: MadeUpHub) -> list[float]:
    """Milliseconds that prometheus-client takes to collect and write the same samples."""
    registry = CollectorRegistry()
    registry.register(LiveCollector(hub.live, hub.clock))
    return timed(lambda: generate_latest(registry), 20)  # type: ignore[no-untyped-call]


def timed(work: Callable[[], object], number: int) -> list[float]:
    """The milliseconds of each of `number` runs."""
    times = []
    for _ in range(number):
        begin = time.perf_counter()
        work()
        times.append((time.perf_counter() - begin) * 1e3)
    return times


if __name__ == "__main__":
    sys.exit(main())
