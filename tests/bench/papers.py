"""Makes every paper in every situation, as PDF and as PNG, for people to look at.

python -m tests.bench.papers DIR [--only NAME ...] [--grey] [--drawn PAGES]

DIR gets a folder a situation: in both languages the weekly report with its annex, and of the
dossier the letter, sheets, method, fault ledger, certificate and drill sheets. `pdftoppm`
(poppler-utils) draws the pages. It prints how many pages each paper has and how long it took, and
ends with 1 if a weekly report has more than `PAGES`. Everything is made up, by a fixed seed.
"""

from __future__ import annotations

import argparse
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from pypdf import PdfReader

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.sealed_settings import settings_record
from jharnet_monitor.dossier.build import build
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.judge.calendar.period import date_range
from jharnet_monitor.judge.faults import FAULT
from jharnet_monitor.model import OfficeState, format_utc
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.output.build import make as render
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.report.output.files import write_whole
from jharnet_monitor.store import Store
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS
from tests import made_up_week
from tests.dossier_support import in_order
from tests.made_up_week import MADE_AT, TROUBLES, WEEK, ZONE, MadeWeek

PAGES = 4
DPI = "70"
MOST_DRAWN = 12
"""Pages drawn of a paper."""
GOOD = ("good",) * 11


def _nothing(_: MadeWeek) -> None:
    """Leave the weeks as they are."""


SHARED = WEEK.start + timedelta(days=2, hours=12)


def shared_fault(made: MadeWeek, begin: datetime = SHARED, hours: float = 3) -> None:
    """All offices fall silent in the same minute, for some hours."""
    for number, office in enumerate(made.config.offices):
        note, at = made.store.event_log.add_transition, begin + timedelta(seconds=number)
        note(office.id, OfficeState.UNREACHABLE, at, {})
        note(office.id, OfficeState.UP, at + timedelta(hours=hours), {})


def no_office_connected(made: MadeWeek) -> None:
    """The hub runs all week; it may not ping, and no agent connects."""
    begin = WEEK.start + timedelta(hours=1)  # a whole hour in UTC as well, which is sealed as such
    for office in made.config.offices:
        made.store.event_log.add_transition(office.id, OfficeState.MONITOR_DOWN, begin, {})


def open_faults(made: MadeWeek) -> None:
    """One fault is restored after a stop of the clock, one is open, and one was never booked."""
    reported = WEEK.start + timedelta(days=1, hours=14)
    stop = {"from": reported, "to": reported + timedelta(hours=1), "reason": "access"}
    closed: dict[str, Any] = {
        "docket": "JH/2026/114",
        "reported_at": reported,
        "reported_to": "NOC",
        "restored_at": reported + timedelta(hours=9),
        "stops": [stop],
    }
    since: dict[str, Any] = {
        "docket": "JH/2026/121",
        "reported_at": WEEK.start + timedelta(days=3, hours=11),
        "reported_to": "NOC",
        "note": "speed below the contract",
    }
    lines = [o.id for o, trouble in zip(made.config.offices, TROUBLES, strict=True)
             if trouble in ("line", "slow")]  # fmt: skip
    for number, (office, entry) in enumerate(zip(lines, (since, closed), strict=True)):
        data = {"fault": f"{office}-{number}", "set": _in_utc(entry)}
        at = entry.get("restored_at", entry["reported_at"])
        made.store.event_log.add_event(office, FAULT, at, data)


def _in_utc(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _in_utc(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_in_utc(value) for value in data]
    return format_utc(data) if isinstance(data, datetime) else data


@dataclass(frozen=True, slots=True)
class Situation:
    """Offices and their troubles, what happened besides, and how many weeks there are."""

    troubles: tuple[str, ...]
    happened: Callable[[MadeWeek], None] = _nothing
    weeks: int = 5
    drilled: bool = False


SITUATIONS = {
    "good": Situation(GOOD),
    "bad": Situation(TROUBLES, drilled=True),
    "empty": Situation(("",) * 11, no_office_connected, weeks=1),
    "no-hub": Situation(("",) * 11, weeks=1),
    "one-office": Situation(("slow",)),
    "264-offices": Situation(TROUBLES * 24, weeks=1, drilled=True),
    "shared-fault": Situation(GOOD, shared_fault),
    "drill": Situation(GOOD, drilled=True),
    "open-faults": Situation(TROUBLES, open_faults),
    "upgrade": Situation((*GOOD[:9], "narrow", "narrow")),
}


def files(situation: Situation, scratch: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every PDF of a situation."""
    made = made_up_week.make(
        scratch, weeks=situation.weeks, troubles=situation.troubles, drilled=situation.drilled
    )
    first = WEEK.end - timedelta(weeks=situation.weeks)
    record = settings_record(made.config)
    made.store.event_log.add_event(OF_THE_DATABASE, SETTINGS, first - timedelta(hours=1), record)
    situation.happened(made)
    made.store.close()
    in_order(scratch / "week.db")
    made.store = Store(made.database, ManualClock(MADE_AT))
    made.store.chain.seal()
    summary = summarise(made.store, made.config, WEEK, MADE_AT)
    for one in render(drafts(summary, LANGUAGES), ["pdf"]):
        yield one.name, one.content
    yield from _of_the_dossier(made, situation.weeks, scratch / "dossier.zip")
    made.store.close()


def _of_the_dossier(made: MadeWeek, weeks: int, path: Path) -> Iterator[tuple[str, bytes]]:
    """Every PDF of a dossier over all weeks; of a hub that never ran there is none."""
    first = (WEEK.end - timedelta(weeks=weeks)).date()
    period = date_range(str(first), str(WEEK.days[-1]), ZONE)
    try:
        build(made.store, made.config, period, path, MADE_AT, lambda _: None)
    except UserError as error:
        print(f"no dossier: {error}")
        return
    with zipfile.ZipFile(path) as dossier:
        for name in dossier.namelist():
            if name.endswith(".pdf"):
                yield Path(name).name, dossier.read(name)


def draw(path: Path, most: int, *, grey: bool) -> None:
    """Draw the first pages of a PDF beside it."""
    colour = ["-gray"] if grey else []
    subprocess.run(
        [
            "pdftoppm",
            "-png",
            "-r",
            DPI,
            "-l",
            str(most),
            *colour,
            str(path),
            str(path.with_suffix("")),
        ],
        check=True,
    )


def main() -> int:
    """Make the papers; returns 0 if no weekly report has more than `PAGES`."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("directory", type=Path)
    options.add_argument("--only", nargs="+", default=list(SITUATIONS), choices=list(SITUATIONS))
    options.add_argument("--grey", action="store_true", help="as a printer without colour")
    options.add_argument("--drawn", type=int, default=MOST_DRAWN, help="pages drawn of a paper")
    chosen = options.parse_args()
    too_long = False
    for name in chosen.only:
        folder = chosen.directory / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("week.db*"):
            old.unlink()
        began = time.monotonic()
        for file, content in files(SITUATIONS[name], folder):
            write_whole(folder / file, content)
            draw(folder / file, chosen.drawn, grey=chosen.grey)
            pages = len(PdfReader(BytesIO(content)).pages)
            took = time.monotonic() - began
            print(f"{name:14} {file:40} {pages:3} pages {took:6.1f} s", flush=True)
            too_long |= file.startswith("weekly") and "annex" not in file and pages > PAGES
    return int(too_long)


if __name__ == "__main__":
    raise SystemExit(main())
