"""The join page left open in a real browser: its line is cut, its hub killed, its tab reloaded.

    python -m tests.faults.browser [--quick] [--browser NAME] [--hidden MINUTES] [--json FILE]

Needs root, and chromium or firefox-esr. Whatever happens, the page comes back by itself, and every
measurement that it made is stored once: those of the outage too, by which the hub learns what the
office saw. With `--quick` the cut lasts 25 s instead of 60 s. With `--hidden 60` the tab stays an
hour behind another, where the browser slows the page's own clock down; a speed test and a call are
asked for every five minutes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from tests.bench.marks import Row, at_most, finish, note, parser, within
from tests.page_support import OFFICE, PageLab, district, way
from tests.tab_support import Name, Tab

CUT_SECONDS, QUICK_CUT_SECONDS = 60.0, 25.0
BACK_SECONDS = 20.0
HIDDEN_STEP_SECONDS = 300.0
REPETITIONS, REPEAT_SECONDS = 4, 45.0
TESTS: Mapping[str, Mapping[str, Any]] = {
    "bandwidth": {},
    "conference": {"profile": "360p", "seconds": 8},
}
COVERED = 0.97
"""Share of the time for which there must be a measurement; the last one is not yet complete."""
COUNT = """(window.woken = [], (function next() {
  woken.push(performance.now());
  setTimeout(next, 50);
})(), 0)"""
WOKEN = "woken.filter((at) => at > performance.now() - 240000).length"
WAITING = """new Promise((resolve, reject) => {
  const opening = indexedDB.open("jharnet-potka");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const store = opening.result.transaction("measurements").objectStore("measurements");
    const asked = store.getAll();
    asked.onsuccess = () => resolve(asked.result.map((one) => one.id));
  };
})"""


async def waiting_ids(page: Tab) -> set[str]:
    """The ids of the measurements that wait in the browser."""
    return set(await page.ask(WAITING))


async def stored(one: PageLab) -> list[dict[str, Any]]:
    """What the hub has of the page's own measurements."""
    return await one.measurements("latency", "page_hub")


async def handed_in(one: PageLab, page: Tab, waiting: set[str]) -> list[Row]:
    """Whether all measurements that waited are stored once, and no longer wait."""
    deadline = time.monotonic() + BACK_SECONDS
    while time.monotonic() < deadline:
        names = [row["id"] for row in await stored(one)]
        remaining = await waiting_ids(page)
        if waiting <= set(names) and not waiting & remaining:
            break
        await asyncio.sleep(0.5)
    return [
        at_most("measurements that are missing", len(waiting - set(names)), 0, "rows"),
        at_most("measurements that are stored twice", len(names) - len(set(names)), 0, "rows"),
        at_most("stored ones that are still kept", len(waiting & remaining), 0, "rows"),
    ]


async def back(page: Tab) -> float:
    """Seconds until the page is connected again."""
    began = time.monotonic()
    await page.until_state("waiting")
    return time.monotonic() - began


async def cut(one: PageLab, page: Tab, seconds: float) -> list[Row]:
    """The line is cut for a while."""
    one.lab.cut(OFFICE)
    await asyncio.sleep(seconds)
    waiting = await waiting_ids(page)
    one.lab.restore(OFFICE)
    rows = [
        within("measurements of the outage", len(waiting), 1, 20, "rows"),
        at_most("back after the cut", await back(page), BACK_SECONDS, "s"),
        *await handed_in(one, page, waiting),
    ]
    outcomes = {row["outcome"] for row in await stored(one) if row["id"] in waiting}
    rows.append(within("the outage is seen as one", float("failed" in outcomes), 1, 1, "yes"))
    return rows


async def hub_killed(one: PageLab, page: Tab) -> list[Row]:
    """The hub is killed and started again."""
    await asyncio.to_thread(one.kill_hub)
    await page.until_state("lost")
    waiting = await waiting_ids(page)
    one.programs.start_hub()
    await asyncio.to_thread(one.wait)
    rows = [at_most("back after the hub", await back(page), BACK_SECONDS, "s")]
    return rows + await handed_in(one, page, waiting)


async def reloaded(one: PageLab, page: Tab) -> list[Row]:
    """The tab is loaded again while the line is cut, and joins by itself."""
    one.lab.cut(OFFICE)
    await page.until_state("lost")
    await asyncio.sleep(2)
    waiting = await waiting_ids(page)
    one.lab.restore(OFFICE)
    await page.open(one.link.partition("#")[0])
    rows = [at_most("back after a reload", await back(page), BACK_SECONDS, "s")]
    return rows + await handed_in(one, page, waiting)


async def hidden(one: PageLab, page: Tab, minutes: float) -> list[Row]:
    """The tab is behind another for this long, and the office is tested all the while."""
    await page.hide()
    await page.ask(COUNT)
    before = {row["id"] for row in await stored(one)}
    began = time.time()
    tests = good = again = 0
    while (left := began + 60 * minutes - time.time()) > 0:
        await asyncio.sleep(min(left, HIDDEN_STEP_SECONDS))
        for probe, options in TESTS.items():
            outcome, repeated = await _tested(one, probe, options)
            tests, good, again = tests + 1, good + (outcome == "ok"), again + repeated
    woken = await page.ask(WOKEN)
    ended = time.time()
    rows = [row for row in await stored(one) if row["id"] not in before]
    covered = sum(row["duration_seconds"] for row in rows if _start(row) >= began)
    say_so = [row for row in rows if row["conditions"].get("agent_page_hidden")]
    failed = sum(row["outcome"] != "ok" for row in rows)
    share = covered / (ended - began - 120)  # one began before, and one is not yet complete
    twice = len(rows) - len({row["id"] for row in rows})
    return [
        note("time behind another tab", (ended - began) / 60, "min"),
        note("wake-ups of the page's own clock in the last 4 minutes", woken, "times"),
        within("tests that went well", good / tests, 1, 1, "share", f"of {tests}"),
        note("tests that were repeated, as the computer was too busy", again, "times"),
        within("time that is covered by measurements", share, COVERED, 1.05, "share"),
        within("those that say that it was hidden", len(say_so) / len(rows), 0.9, 1, "share"),
        at_most("measurements that failed", failed, 0, "rows"),
        at_most("measurements that are stored twice", twice, 0, "rows"),
    ]


async def _tested(one: PageLab, probe: str, options: Mapping[str, Any]) -> tuple[str, int]:
    """A test's outcome, and how often it was repeated because the computer was too busy: that says
    nothing about the tab, unless it is so each time.
    """
    result: dict[str, Any] = {}
    runs = 0
    while runs <= REPETITIONS and (not runs or result["cause"] == "host_overloaded"):
        await asyncio.sleep(REPEAT_SECONDS if runs else 0.0)
        result = await one.probe(probe, **options)
        runs += 1
        if result["outcome"] != "ok":
            at = f"{datetime.now(UTC):%H:%M:%S} UTC"
            print(at, probe, result["outcome"], result["cause"], result["conditions"], flush=True)
    return str(result["outcome"]), runs - 1


def _start(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["started_at"]).timestamp()


async def measure() -> int:
    """All faults in turn, or the time behind another tab; the exit code."""
    options = parser(__doc__)
    options.add_argument("--browser", choices=get_args(Name), default="chromium")
    options.add_argument(
        "--hidden", type=float, metavar="MINUTES", help="behind another tab instead"
    )
    chosen = options.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="jhbrowser"))
    line = way("4 Mbit/s")
    data = district("4 Mbit/s", line, line)
    settings = {"budget": "5 GB"}
    rows: list[Row] = []
    with PageLab.started(data, directory, "http", f"jhbr{chosen.browser[:4]}", settings) as one:
        async with one.tab(chosen.browser, directory) as page:
            await page.join(one.link)
            if chosen.hidden:
                found = await hidden(one, page, chosen.hidden)
                return finish(
                    f"The join page behind another tab of {chosen.browser}", found, chosen
                )
            seconds = QUICK_CUT_SECONDS if chosen.quick else CUT_SECONDS
            for name, found in (
                ("cut", await cut(one, page, seconds)),
                ("hub killed", await hub_killed(one, page)),
                ("tab reloaded", await reloaded(one, page)),
            ):
                rows += [Row(f"{name}: {r.name}", r.measured, r.mark, r.unit, r.ok) for r in found]
    return finish(f"The join page left open in {chosen.browser}", rows, chosen)


def main() -> int:
    """The exit code."""
    return asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
