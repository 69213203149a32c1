"""`demo --history`: a made-up past in a database of its own, with its report and dossier."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.console import Console

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.demo.history import fill
from jharnet_monitor.demo.places import district_data
from jharnet_monitor.demo.setup import Installation, install_history
from jharnet_monitor.dossier.build import build
from jharnet_monitor.errors import UserError, file_error
from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.judge.calendar.period import date_range, week_of
from jharnet_monitor.report.output.build import make
from jharnet_monitor.report.output.compose import read_drafts
from jharnet_monitor.report.output.files import TypesettingError, write
from jharnet_monitor.store import Store

MOST_WEEKS = 52


def make_history(past: str, out: Path, json_file: Path | None, console: Console) -> None:
    """Fill the database, write report and dossier, and say how to look at them."""
    weeks = parse_weeks(past)
    installation = Installation(out, out / "reports")
    if installation.config.exists():
        raise UserError(f"{installation.config}: is there already; give another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        install_history(district_data(), installation)
    except OSError as error:
        raise file_error(f"{error.filename or out}: cannot be written", error) from error
    config = load_config(installation.config)
    started = time.monotonic()
    with console.status(f"making up {weeks} weeks …"):
        count = fill(config, out / "monitor.db", weeks, SystemClock().now())
    seconds = time.monotonic() - started
    console.print(f"{count:,} made-up measurements in {seconds:.1f} s")
    with console.status("writing the report and the dossier …"):
        files = [*_report(config), _dossier(config, weeks, out / "dossier.zip")]
    for path in files:
        console.print(str(path), soft_wrap=True, markup=False)
    console.print(
        f"Look at the pages with `jharnet-monitor run --config {installation.config}`;"
        f" all of it is made up, and says so. Sign in with the token in {installation.api_token}.",
        soft_wrap=True,
        markup=False,
    )
    if json_file is not None:
        result = {"seconds": seconds, "measurements": count, "config": str(installation.config),
                "files": [str(path) for path in files]}  # fmt: skip
        json_file.write_text(json.dumps(result, indent=2), "utf-8")


def parse_weeks(text: str) -> int:
    """The number of weeks in `12w`; raises `UserError`.

    >>> parse_weeks("12w")
    12
    """
    found = re.fullmatch(r"([0-9]{1,3})w", text)
    if found is None or not 1 <= int(found[1]) <= MOST_WEEKS:
        raise UserError(f"--history {text}: must be weeks from 1w to {MOST_WEEKS}w, such as 12w")
    return int(found[1])


def _report(config: Config) -> list[Path]:
    """The last whole week's report, in both languages."""
    now = SystemClock().now()
    zone = ZoneInfo(config.district.timezone)
    period = week_of(now.astimezone(zone).date() - timedelta(days=7), zone)
    try:
        made = make(read_drafts(config, period, LANGUAGES, now), ["pdf", "html", "xlsx"])
        return [write(one, config.report.directory) for one in made]
    except TypesettingError as error:
        raise UserError(f"the report could not be typeset: {error}") from error


def _dossier(config: Config, weeks: int, out: Path) -> Path:
    """The dossier of all whole weeks, but of no more than eight."""
    now = SystemClock().now()
    zone = ZoneInfo(config.district.timezone)
    today = now.astimezone(zone).date()
    last = today - timedelta(days=today.weekday() + 1)
    first = last - timedelta(weeks=min(weeks, 8)) + timedelta(days=1)
    store = Store(config.hub.database, SystemClock())
    try:
        build(store, config, date_range(str(first), str(last), zone), out, now, lambda _: None)
    except TypesettingError as error:
        raise UserError(f"the dossier could not be typeset: {error}") from error
    finally:
        store.close()
    return out
