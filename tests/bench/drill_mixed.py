"""A drill of eleven offices, of which three take part by a browser and eight by the program.

    python -m tests.bench.drill_mixed [--quick] [--profile NAME] [--offices N] [--at-once N]
        [--page FILE] [--json FILE]

Needs root, chromium and firefox-esr. All offices have the same line, so all grades must be the
same, whatever takes part: two Chromiums, a Firefox and eight agents. The drill lasts a minute, or
twenty seconds with `--quick`; eleven ends and a hub on two processors need them for themselves.
With `--offices 3` a Chromium, a Firefox and an agent take part, which a busy computer may carry;
with `--at-once 1` the offices are called one after another, as a hub with few cores does. `--page`
keeps a picture of the result's page.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from jharnet_monitor.profiles import Profile
from tests.bench.marks import Row, finish, note, parser, within
from tests.browser_support import chromium, chromium_at
from tests.page_support import PageLab, way
from tests.tab_support import Name, Seat, tab

BROWSERS: Mapping[str, Name] = {"block01": "chromium", "block02": "firefox", "block04": "chromium"}
MOST_OFFICES = 11
LINE = way("4 Mbit/s")
UPLINK = {"delay": "1ms", "rate": "100 Mbit/s"}
SECONDS, QUICK_SECONDS = 60.0, 20.0
START_SECONDS = 120.0
CLIPS_SECONDS = 75.0
"""Until eight agents have made their clips, which they do once, at their start."""


def district_of(count: int) -> dict[str, Any]:
    """So many offices, on lines that are all alike."""
    return {
        "uplink": {"contracted": "100 Mbit/s", "truth": {"down": UPLINK, "up": UPLINK}},
        "offices": [
            {
                "id": office, "name": f"Block {office[-2:]}", "name_hi": f"प्रखंड {office[-2:]}",
                "subdivision": "Dhalbhum", "contracted": "4 Mbit/s", "kind": "leased-line",
                "absent": office in BROWSERS, "truth": {"down": LINE, "up": LINE},
            }
            for office in (f"block{number:02}" for number in range(1, count + 1))
        ],
    }  # fmt: skip


def held(one: PageLab, profile: str, seconds: float) -> dict[str, Any]:
    """The drill, once it is over and stored."""
    order = {"profile": profile, "minutes": seconds / 60}
    drill: dict[str, Any] = one.post("/api/v1/drills", order)
    while drill["state"] == "running" or drill.get("unstored"):
        time.sleep(1)
        drill = one.get(f"/api/v1/drills/{drill['id']}")
    for office in drill["offices"]:
        office["detail"] = _detail(one, office)
    return drill


def _detail(one: PageLab, office: Mapping[str, Any]) -> str:
    """Why a call has no grade."""
    query = f"office={office['office']}&probe=conference&limit=100"
    found = one.get(f"/api/v1/measurements?{query}")
    rows = found["measurements"] if isinstance(found, dict) else found
    known = {row["id"]: row["conditions"] for row in rows}
    return str(known.get(office.get("measurement"), {}).get("detail") or office.get("cause") or "")


def rows_of(drill: Mapping[str, Any], profile: str) -> Iterator[Row]:
    """Who took part, and with what grade."""
    best = Profile.named(profile).best_grade
    offices = {one["office"]: one for one in drill["offices"]}
    for kind, names in (
        ("browsers", [name for name in offices if name in BROWSERS]),
        ("programs", [name for name in offices if name not in BROWSERS]),
    ):
        joined = sum(offices[name]["joined"] for name in names)
        yield within(f"{kind} that took part", joined, len(names), len(names), "offices")
    for name, one in offices.items():
        grade = -1.0 if one["grade"] is None else one["grade"]
        what = f"{name}, {BROWSERS.get(name, 'program')}"
        yield within(f"{what}: grade", grade, best, best, "grade", one["detail"])
        gallery = one["gallery"] or {}
        if gallery.get("outcome") is not None:
            yield note(f"{what}: gallery went well", float(gallery["outcome"] == "ok"), "yes")


async def measure() -> int:
    """Hold the drill; the exit code."""
    options = parser(__doc__)
    options.add_argument("--profile", choices=list(Profile), default=Profile.P360)
    options.add_argument("--offices", type=int, default=MOST_OFFICES, metavar="N")
    options.add_argument("--at-once", type=int, metavar="N")
    options.add_argument("--page", type=Path, metavar="FILE")
    chosen = options.parse_args()
    district = district_of(chosen.offices)
    directory = Path(tempfile.mkdtemp(prefix="jhmixed"))
    settings = {"budget": "5 GB", "probes": {"drill": {"at_once": chosen.at_once}}}
    with PageLab.started(district, directory, "https", "jhmixed", settings) as one:
        async with AsyncExitStack() as stack:
            for office in district["offices"]:
                if office["absent"]:
                    await _join(stack, one, office["id"], directory)
                else:
                    one.programs.start_agent(office["id"])
            await asyncio.to_thread(_wait_for_agents, one)
            seconds = QUICK_SECONDS if chosen.quick else SECONDS
            drill = await asyncio.to_thread(held, one, chosen.profile, seconds)
            if chosen.page:
                await _keep_page(one, drill["id"], directory, chosen.page)
    print(json.dumps(drill["uplink"]))
    return finish("A drill of browsers and programs", list(rows_of(drill, chosen.profile)), chosen)


def _wait_for_agents(one: PageLab) -> None:
    """Until all take part and have made their clips; raises `TimeoutError`."""
    deadline = time.monotonic() + START_SECONDS
    while not all(office["agent"]["connected"] for office in one.get("/api/v1/offices")):
        if time.monotonic() > deadline:
            raise TimeoutError("not all agents are connected")
        time.sleep(1)
    time.sleep(CLIPS_SECONDS)


async def _join(stack: AsyncExitStack, one: PageLab, office: str, directory: Path) -> None:
    browser = tab(BROWSERS[office], directory / office, seat=Seat(one.lab, office))
    page = await stack.enter_async_context(browser)
    await page.join(one.link_of(office))


async def _keep_page(one: PageLab, drill: str, directory: Path, file: Path) -> None:
    """A picture of the drill's page, as a reader at an office sees it."""
    program = chromium_at(one.lab, "block01", directory)
    async with chromium(program=program) as browser:
        page = await browser.new_page(ignore_https_errors=True)
        await page.goto(f"{one.base}/drills/{drill}?lang=en")
        await page.screenshot(path=file, full_page=True)


def main() -> int:
    """The exit code."""
    return asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
