"""What an office costs a hub, from 11 offices of a district to 264 of a division.

    python -m tests.bench.scale [--quick] [--json FILE] [--seed N] [--offices N ...]
        [--keep DIRECTORY]

Each size is a real hub (`jharnet-monitor run`) on a database of a year (`tests.bench.scale_history`
states what is in it), with an agent for every office that hands in two measurements a minute, and
routers on loopback that the hub pings once a second. Measured are the start until `/-/ready`, CPU
and memory of the hub at work, `/metrics`, the status page with all that it loads, all shipped rules
in a real Prometheus that scrapes this hub, and the weekly report as a process of its own.

Not in the figures: speed tests and calls, whose cost depends on the lines and which this agent
refuses, and a state of 24 hubs of 11 offices, which is 24 times the first column;
`tests.bench.state` and `tests.bench.metrics_scale` measure what is shared there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
from rich.console import Console
from rich.table import Table

from jharnet_monitor.judge.calendar.period import week_of
from tests.bench.marks import Row, at_most, finish, note, parser
from tests.bench.metrics_scale import configuration, worst
from tests.bench.report import family, proportional_kilobytes
from tests.bench.scale_history import YEAR, HistoryDays, fill
from tests.bench.scale_hub import ScaleHub, agents
from tests.exporters_support import free_port, prometheus
from tests.faults.installation import environment

ZONE = ZoneInfo("Asia/Kolkata")
SIZES = (11, 44, 132, 264)
START_MARK, REPORT_MARK, MEMORY_MARK, PAGE_MARK, RULES_MARK = 5.0, 15.0, 300.0, 150.0, 0.5
FLAT = 1.1
"""The most that an office may cost in the last column, compared with the first."""
SCRAPE_SECONDS = 15.0
UNITS = {
    "start": "s",
    "start, CPU": "s",
    "CPU": "s/min",
    "memory": "MB",
    "/metrics": "kB",
    "/metrics, compressed": "kB",
    "status page": "kB",
    "status page, compressed": "kB",
    "all rules once": "s",
    "weekly report": "s",
    "weekly report, CPU": "s",
    "memory of the report": "MB",
    "database, minutes of a week": "MB",
    "database, all that was made": "MB",
}
MARKS = {
    "start": START_MARK,
    "weekly report": REPORT_MARK,
    "memory of the report": MEMORY_MARK,
    "status page, compressed": PAGE_MARK,
    "all rules once": RULES_MARK,
}

Figures = dict[str, float]


async def measure(directory: Path, count: int, options: argparse.Namespace) -> Figures:
    """All figures of a hub of so many offices."""
    offices = [f"office-{number}" for number in range(count)]
    hub, now = ScaleHub(directory, offices), datetime.now(UTC)
    weekly = await asyncio.to_thread(_database, directory, offices, options, now)
    size = (directory / "monitor.db").stat().st_size
    found = {"database, minutes of a week": weekly / 1e6, "database, all that was made": size / 1e6}
    try:
        found["start"] = await hub.start()
        found["start, CPU"] = hub.cpu_seconds()
        async with agents(hub):
            found |= await _at_work(hub, 15 if options.quick else 60)
            window = 10 if options.quick else 30
            found["all rules once"] = await asyncio.to_thread(_rules, hub, window)
    finally:
        await asyncio.to_thread(hub.stop)
    _show(count, found)  # now, because on a busy computer the report takes minutes
    report = await asyncio.to_thread(_report, hub, now)
    _show(count, report)
    return found | report


def _show(count: int, found: Figures) -> None:
    for name, figure in found.items():
        print(f"{count} offices: {name}: {figure:.4g} {UNITS[name]}", file=sys.stderr, flush=True)


def _database(
    directory: Path, offices: Sequence[str], options: argparse.Namespace, now: datetime
) -> int:
    """Fill the database, or copy one that was kept; returns the bytes of a week of minutes."""
    database = directory / "monitor.db"
    kept = options.keep and options.keep / f"{len(offices)}-{options.seed}.db"
    if kept and kept.exists():
        shutil.copyfile(kept, database)
        return int(kept.with_suffix(".bytes").read_text("ascii"))
    days = HistoryDays(60, 36, 36) if options.quick else YEAR
    weekly = fill(database, offices, options.seed, now, days)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(database, kept)
        kept.with_suffix(".bytes").write_text(str(weekly), "ascii")
    return weekly


async def _at_work(hub: ScaleHub, seconds: int) -> Figures:
    """CPU, memory and sizes, with a scrape every 15 s as Prometheus does."""
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        await asyncio.sleep(20)  # until the agents are connected and the start's work is done
        before, began = hub.cpu_seconds(), time.monotonic()
        while (rest := began + seconds - time.monotonic()) > 0:
            await _bytes(http, f"{hub.http}/metrics")
            await asyncio.sleep(min(rest, SCRAPE_SECONDS))
        cpu = (hub.cpu_seconds() - before) / (time.monotonic() - began) * 60
        memory = hub.megabytes()
        metrics = [await _bytes(http, f"{hub.http}/metrics", how) for how in ("identity", "gzip")]
        await _bytes(http, f"{hub.http}/")
        await asyncio.sleep(10)  # the page reads the last week of every office
        pages = [await _page(http, hub.http, how) for how in ("identity", "gzip")]
    return {
        "CPU": cpu,
        "memory": memory,
        "/metrics": len(metrics[0]) / 1e3,
        "/metrics, compressed": len(metrics[1]) / 1e3,
        "status page": pages[0] / 1e3,
        "status page, compressed": pages[1] / 1e3,
    }


async def _bytes(http: aiohttp.ClientSession, url: str, encoding: str = "gzip") -> bytes:
    async with http.get(url, headers={"Accept-Encoding": encoding}) as answer:
        answer.raise_for_status()
        return await answer.read()


async def _page(http: aiohttp.ClientSession, base: str, encoding: str) -> int:
    """Bytes of the status page and of the files that it loads."""
    page = await _bytes(http, f"{base}/", "identity")
    files = set(re.findall(rb'(?:href|src)="(/static/[^"#]+)', page))
    sizes = [len(await _bytes(http, f"{base}{file.decode()}", encoding)) for file in files]
    return len(await _bytes(http, f"{base}/", encoding)) + sum(sizes)


def _rules(hub: ScaleHub, seconds: int) -> float:
    """Seconds of one evaluation of all shipped rules, the worst of several."""
    port = free_port()
    settings = configuration(hub.directory, [hub.port], port)
    with prometheus(settings, hub.directory, port) as url:
        time.sleep(seconds)
        offices = worst(url, "sum(jharnet:offices:count_by_state)[5s:1s]")
        assert offices == len(hub.offices), f"the rules see {offices:g} offices"
        return worst(url, f"sum(prometheus_rule_group_last_duration_seconds)[{seconds - 2}s:1s]")


def _report(hub: ScaleHub, now: datetime) -> Figures:
    """Seconds and memory of the report of the last whole week, with its worker process."""
    week = week_of((now - timedelta(days=7)).astimezone(ZONE).date(), ZONE).name
    command = [sys.executable, "-m", "jharnet_monitor", "report", "--week", week, "--lang", "hi"]
    command += ["--out", str(hub.directory), "--config", str(hub.config)]
    began, before, peak = time.monotonic(), os.times(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
    while process.poll() is None:
        peak = max(peak, sum(map(proportional_kilobytes, family(process.pid))))
        time.sleep(0.1)
    if process.returncode != 0:
        raise SystemExit(f"the report failed with {process.returncode}")
    taken, after = time.monotonic() - began, os.times()
    cpu = after.children_user + after.children_system
    return {
        "weekly report": taken,
        "weekly report, CPU": cpu - before.children_user - before.children_system,
        "memory of the report": peak / 1024,
    }


def table(found: dict[int, Figures]) -> Table:
    """All figures by size, and the cost of an office of each."""
    sizes = list(found)
    shown = Table("figure", "unit", *map(str, sizes), *(f"an office of {n}" for n in sizes),
                  title="Offices of one hub")  # fmt: skip
    for name, unit in UNITS.items():
        figures = [found[size][name] for size in sizes]
        shares = [figure / size for figure, size in zip(figures, sizes, strict=True)]
        shown.add_row(name, unit, *(f"{one:.4g}" for one in [*figures, *shares]))
    return shown


def judged(found: dict[int, Figures]) -> list[Row]:
    """The marks of the largest hub, and whether an office costs no more there than in the
    smallest."""
    first, last = min(found), max(found)
    rows = [note(f"{size} offices: {name}", figures[name], UNITS[name])
            for size, figures in found.items() for name in UNITS if size != last]  # fmt: skip
    for name, unit in UNITS.items():
        value, label = found[last][name], f"{last} offices: {name}"
        rows.append(
            at_most(label, value, MARKS[name], unit) if name in MARKS else note(label, value, unit)
        )
    for name in UNITS:
        share = found[last][name] / last / (found[first][name] / first)
        rows.append(at_most(f"an office of {last} compared with one of {first}: {name}", share,
                            FLAT, ""))  # fmt: skip
    return rows


def main() -> int:
    """Measure every size; returns 0 if all marks are met."""
    command_line = parser(__doc__)
    command_line.add_argument("--offices", type=int, nargs="+", help="sizes; default 11 to 264")
    command_line.add_argument(
        "--keep", type=Path, metavar="DIRECTORY",
        help="keep the filled databases there for another run of the same day",
    )  # fmt: skip
    options = command_line.parse_args()
    sizes = options.offices or ((11, 22) if options.quick else SIZES)
    found: dict[int, Figures] = {}
    for size in sorted(sizes):
        with tempfile.TemporaryDirectory(prefix="jhn-scale-") as directory:
            found[size] = asyncio.run(measure(Path(directory), size, options))
    Console(width=160).print(table(found))
    return finish("Cost of an office", judged(found), options)


if __name__ == "__main__":
    sys.exit(main())
