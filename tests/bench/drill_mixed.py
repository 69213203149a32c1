"""A drill of eleven offices, of which three take part by a browser and eight by the program.

    python -m tests.bench.drill_mixed [--quick] [--profile NAME] [--offices N] [--json FILE]

Needs root, chromium and firefox-esr. All offices have the same line, so all grades must be the
same, whatever takes part: two Chromiums, a Firefox and eight agents. The drill lasts a minute, or
twenty seconds with `--quick`; eleven ends and a hub on two processors need them for themselves.
With `--offices 3` a Chromium, a Firefox and an agent take part, which a busy computer may carry.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from jharnet_monitor.demo.flow import Demo, running
from jharnet_monitor.demo.places import LabPlace
from jharnet_monitor.demo.setup import PORT
from jharnet_monitor.lab import Lab
from jharnet_monitor.profiles import Profile
from tests.bench.marks import Row, finish, note, parser, within
from tests.page_support import way
from tests.tab_support import Name, Seat, tab

BROWSERS: Mapping[str, Name] = {"block01": "chromium", "block02": "firefox", "block04": "chromium"}
MOST_OFFICES = 11
LINE = way("4 Mbit/s")
UPLINK = {"delay": "1ms", "rate": "100 Mbit/s"}
SECONDS, QUICK_SECONDS = 60.0, 20.0
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


def held(one: Demo, profile: str, seconds: float) -> dict[str, Any]:
    """The drill, once it is over and stored."""
    order = {"profile": profile, "minutes": seconds / 60}
    drill: dict[str, Any] = one.hub.post("/api/v1/drills", order)
    while drill["state"] == "running" or drill.get("unstored"):
        time.sleep(1)
        drill = one.hub.get(f"/api/v1/drills/{drill['id']}")
    for office in drill["offices"]:
        office["detail"] = _detail(one, office)
    return drill


def _detail(one: Demo, office: Mapping[str, Any]) -> str:
    """Why a call has no grade."""
    query = f"office={office['office']}&probe=conference&limit=100"
    found = one.hub.get(f"/api/v1/measurements?{query}")
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
    chosen = options.parse_args()
    district = district_of(chosen.offices)
    directory = Path(tempfile.mkdtemp(prefix="jhmixed"))
    place = LabPlace(district, "jhmixed")
    with running(place, district, directory, Console(quiet=True)) as (one, _):
        await asyncio.to_thread(one.wait_for_agents)
        async with AsyncExitStack() as stack:
            for office in district["offices"]:
                if office["absent"]:
                    await _join(stack, one, place.lab, office["id"], directory)
            await asyncio.sleep(CLIPS_SECONDS)
            seconds = QUICK_SECONDS if chosen.quick else SECONDS
            drill = await asyncio.to_thread(held, one, chosen.profile, seconds)
    return finish("A drill of browsers and programs", list(rows_of(drill, chosen.profile)), chosen)


async def _join(stack: AsyncExitStack, one: Demo, lab: Lab, office: str, directory: Path) -> None:
    browser = tab(BROWSERS[office], directory / office, seat=Seat(lab, office))
    page = await stack.enter_async_context(browser)
    token = one.installation.token(office).read_text().strip()
    await page.join(f"https://{one.place.hub_address}:{PORT}/join/{office}#t={token}")


def main() -> int:
    """The exit code."""
    return asyncio.run(measure())


if __name__ == "__main__":
    sys.exit(main())
