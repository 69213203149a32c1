"""The join page left open in a real Chromium: its line is cut, its hub killed, its tab reloaded.

    python -m tests.faults.browser [--quick] [--json FILE] [--seed N]

Needs root and chromium. Whatever happens, the page comes back by itself, and every measurement that
it made is stored once: those of the outage too, by which the hub learns what the office saw. With
`--quick` the cut lasts 25 s instead of 60 s.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from tests.bench.marks import Row, arguments, at_most, finish, within
from tests.page_support import OFFICE, PageLab, district, until_state, way

CUT_SECONDS, QUICK_CUT_SECONDS = 60.0, 25.0
BACK_SECONDS = 20.0
WAITING = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("jharnet-potka");
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const store = opening.result.transaction("measurements").objectStore("measurements");
    const asked = store.getAll();
    asked.onsuccess = () => resolve(asked.result.map((one) => one.id));
  };
})"""


async def waiting_ids(page: Page) -> set[str]:
    """The ids of the measurements that wait in the browser."""
    return set(await page.evaluate(WAITING))


async def stored(one: PageLab) -> list[dict[str, Any]]:
    """What the hub has of the page's own measurements."""
    return await one.measurements("latency", "page_hub")


async def handed_in(one: PageLab, page: Page, waiting: set[str]) -> list[Row]:
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


async def back(page: Page) -> float:
    """Seconds until the page is connected again."""
    began = time.monotonic()
    await until_state(page, "waiting")
    return time.monotonic() - began


async def cut(one: PageLab, page: Page, seconds: float) -> list[Row]:
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


async def hub_killed(one: PageLab, page: Page) -> list[Row]:
    """The hub is killed and started again."""
    await asyncio.to_thread(one.kill_hub)
    await until_state(page, "lost")
    waiting = await waiting_ids(page)
    one.programs.start_hub()
    await asyncio.to_thread(one.wait)
    rows = [at_most("back after the hub", await back(page), BACK_SECONDS, "s")]
    return rows + await handed_in(one, page, waiting)


async def reloaded(one: PageLab, page: Page) -> list[Row]:
    """The tab is loaded again while the line is cut, and joins by itself."""
    one.lab.cut(OFFICE)
    await until_state(page, "lost")
    await asyncio.sleep(2)
    waiting = await waiting_ids(page)
    one.lab.restore(OFFICE)
    await page.reload()
    rows = [at_most("back after a reload", await back(page), BACK_SECONDS, "s")]
    return rows + await handed_in(one, page, waiting)


async def measure() -> int:
    """All faults in turn; the exit code."""
    options = arguments(__doc__)
    directory = Path(tempfile.mkdtemp(prefix="jhbrowser"))
    line = way("4 Mbit/s")
    rows: list[Row] = []
    with PageLab.started(district("4 Mbit/s", line, line), directory, "http", "jhbrowse") as one:
        async with one.page(directory) as page:
            seconds = QUICK_CUT_SECONDS if options.quick else CUT_SECONDS
            for name, found in (
                ("cut", await cut(one, page, seconds)),
                ("hub killed", await hub_killed(one, page)),
                ("tab reloaded", await reloaded(one, page)),
            ):
                rows += [Row(f"{name}: {r.name}", r.measured, r.mark, r.unit, r.ok) for r in found]
    return finish("The join page left open", rows, options)


def main() -> int:
    """The exit code."""
    return asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
