"""A process of the latency benchmark at the lab's headquarters: our monitor, or blackbox's client.

Prints one JSON object: `cpu_per_1000`, CPU seconds of this process for 1000 probes, and `rtts`, the
round-trip times of each target in seconds, in the order of measuring (null: lost, NaN: received at
a time that is not trusted).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.probes.latency.monitor import LatencyMonitor
from jharnet_monitor.probes.latency.window import LatencySummary

BLACKBOX_AT_ONCE = 100
_RTT = re.compile(r'^probe_icmp_duration_seconds\{phase="rtt"\} (\S+)$', re.MULTILINE)
_SUCCESS = re.compile(r"^probe_success 1$", re.MULTILINE)


def district(targets: list[str], rounds: int, interval: float) -> Config:
    """A configuration with an office per target, and a packet every `interval` seconds to each."""
    return Config.model_validate(
        {
            "district": {"id": "bench", "name": "Bench", "name_hi": "Bench"},
            "hub": {"tls": False, "uplink": {"contracted": "34 Mbit/s"}},
            "probes": {"latency": {"every": f"{rounds * interval}s", "packets": rounds}},
            "offices": [
                {"id": f"o{number}", "name": "O", "name_hi": "O", "router": target}
                for number, target in enumerate(targets)
            ],
        }
    )


async def ours(targets: list[str], rounds: int, interval: float) -> dict[str, Any]:
    """Send `rounds` packets to every target. CPU is measured without the first round, and without
    the summary, which the product makes once a minute."""
    summaries: list[LatencySummary] = []
    monitor = LatencyMonitor(
        district(targets, rounds, interval),
        SystemClock(),
        on_summary=summaries.append,
        on_reachability=lambda change: None,
    )
    spent: list[float] = []

    async def look_after_the_first_round() -> None:
        await asyncio.sleep(interval)
        spent.append(time.process_time())

    look = asyncio.create_task(look_after_the_first_round())
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(monitor.run(), (rounds - 0.5 / len(targets)) * interval)
    await look
    cpu = time.process_time() - spent[0]
    await monitor.flush()
    rtts: dict[str, list[float | None]] = {}
    for summary in summaries:
        sent, received = (int(summary.result.values[name]) for name in ("sent", "received"))
        untimed = [math.nan] * (received - len(summary.rtts))
        address = summary.result.conditions["address"]
        rtts.setdefault(address, []).extend([*summary.rtts, *untimed, *[None] * (sent - received)])
    return {"cpu_per_1000": cpu / (len(targets) * (rounds - 1)) * 1000, "rtts": rtts}


async def blackbox(targets: list[str], rounds: int, interval: float) -> dict[str, Any]:
    """Request probes from blackbox_exporter on its usual port, `at_once` of them at once."""
    rtts: dict[str, list[float | None]] = defaultdict(list)
    due = iter(targets * rounds)

    async def ask(session: ClientSession) -> None:
        for target in due:
            async with session.get("/probe", params={"target": target, "module": "icmp"}) as answer:
                text = await answer.text()
            found = _RTT.search(text) if _SUCCESS.search(text) else None
            rtts[target].append(float(found.group(1)) if found else None)

    connector = TCPConnector(limit=BLACKBOX_AT_ONCE)
    async with ClientSession("http://127.0.0.1:9115", connector=connector) as session:
        await asyncio.gather(*(ask(session) for _ in range(min(BLACKBOX_AT_ONCE, len(targets)))))
    return {"rtts": rtts}


def main() -> None:
    """`latency_subject.py ours|blackbox ROUNDS INTERVAL FILE`, with one target per line in FILE."""
    subject, rounds, interval, file = sys.argv[1:]
    targets = Path(file).read_text("ascii").split()
    run = {"ours": ours, "blackbox": blackbox}[subject]
    print(json.dumps(asyncio.run(run(targets, int(rounds), float(interval)))))


if __name__ == "__main__":
    main()
