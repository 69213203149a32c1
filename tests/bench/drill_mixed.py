"""A drill of eleven offices, of which three take part by a browser and eight by the program.

    python -m tests.bench.drill_mixed [--quick] [--profile NAME] [--json FILE]

Needs root, chromium and firefox-esr. All offices have the same line, so all grades must be the
same, whatever takes part: two Chromiums, a Firefox and eight agents. The drill lasts a minute, or
twenty seconds with `--quick`; eleven ends and a hub on two processors need them for themselves.
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

BROWSERS: Mapping[str, Name] = {"block01": "chromium", "block02": "firefox", "block03": "chromium"}
OFFICES = tuple(f"block{number:02}" for number in range(1, 12))
LINE = way("4 Mbit/s")
UPLINK = {"delay": "1ms", "rate": "100 Mbit/s"}
DISTRICT: Mapping[str, Any] = {
    "uplink": {"contracted": "100 Mbit/s", "truth": {"down": UPLINK, "up": UPLINK}},
    "offices": [
        {
            "id": office, "name": f"Block {office[-2:]}", "name_hi": f"प्रखंड {office[-2:]}",
            "subdivision": "Dhalbhum", "contracted": "4 Mbit/s", "kind": "leased-line",
            "absent": office in BROWSERS, "truth": {"down": LINE, "up": LINE},
        }
        for office in OFFICES
    ],
}  # fmt: skip
SECONDS, QUICK_SECONDS = 60.0, 20.0
CLIPS_SECONDS = 75.0
"""Until eight agents have made their clips, which they do once, at their start."""


def held(one: Demo, profile: str, seconds: float) -> dict[str, Any]:
    """The drill, once it is over and stored."""
    order = {"profile": profile, "minutes": seconds / 60}
    drill: dict[str, Any] = one.hub.post("/api/v1/drills", order)
    while drill["state"] == "running" or drill.get("unstored"):
        time.sleep(1)
        drill = one.hub.get(f"/api/v1/drills/{drill['id']}")
    return drill


def rows_of(drill: Mapping[str, Any], profile: str) -> Iterator[Row]:
    """Who took part, and with what grade."""
    best = Profile.named(profile).best_grade
    offices = {one["office"]: one for one in drill["offices"]}
    for kind, names in (
        ("browsers", [name for name in OFFICES if name in BROWSERS]),
        ("programs", [name for name in OFFICES if name not in BROWSERS]),
    ):
        joined = sum(offices[name]["joined"] for name in names)
        yield within(f"{kind} that took part", joined, len(names), len(names), "offices")
    for name in OFFICES:
        one = offices[name]
        grade = -1.0 if one["grade"] is None else one["grade"]
        what = f"{name}, {BROWSERS.get(name, 'program')}"
        yield within(f"{what}: grade", grade, best, best, "grade", str(one.get("cause") or ""))
        gallery = one["gallery"] or {}
        if gallery.get("outcome") is not None:
            yield note(f"{what}: gallery went well", float(gallery["outcome"] == "ok"), "yes")


async def measure() -> int:
    """Hold the drill; the exit code."""
    options = parser(__doc__)
    options.add_argument("--profile", choices=list(Profile), default=Profile.P360)
    chosen = options.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="jhmixed"))
    place = LabPlace(DISTRICT, "jhmixed")
    with running(place, DISTRICT, directory, Console(quiet=True)) as (one, _):
        await asyncio.to_thread(one.wait_for_agents)
        async with AsyncExitStack() as stack:
            for office in BROWSERS:
                await _join(stack, one, place.lab, office, directory)
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
