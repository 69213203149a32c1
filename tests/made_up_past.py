"""A made-up past of two offices, as `demo --history` fills one, and all files made of it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.demo import history
from jharnet_monitor.demo.places import district_data
from jharnet_monitor.demo.setup import Installation, install_history
from jharnet_monitor.dossier.build import build
from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.judge.calendar.period import date_range, week
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.output.build import FORMATS, make
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.report.output.drill_sheet import make_drill_sheets
from jharnet_monitor.store import Store
from tests.made_up_week import ZONE

NOW = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
WEEKS = 2


@dataclass(frozen=True, slots=True)
class Past:
    """Two made-up weeks, with a drill, an outage of all offices and an open fault."""

    config: Config
    database: Path
    dossier: Path
    files: dict[str, bytes]
    """Of the report, the drill sheet and the dossier."""
    measurements: int
    """As many as `fill` says that it wrote."""


def make_past(directory: Path) -> Past:
    """Fill a database in `directory` and make every file of it; measured more rarely, for speed."""
    database, dossier = directory / "monitor.db", directory / "dossier.zip"
    with pytest.MonkeyPatch.context() as change:
        change.setattr(history, "LATENCY_EVERY", timedelta(hours=1))
        change.setattr(history, "TOGETHER", timedelta(hours=12))
        place = Installation(directory, directory / "reports")
        data = district_data()
        data["offices"] = [one for one in data["offices"] if one["id"] in ("potka", "baharagora")]
        install_history(data, place)
        config = load_config(place.config)
        measurements = history.fill(config, database, WEEKS, NOW)
    store = Store(f"sqlite:///{database}", ManualClock(NOW))
    files = dict(_report(store, config))
    period = date_range("2026-11-09", "2026-11-22", ZONE)
    build(store, config, period, dossier, NOW, lambda _: None)
    store.close()
    with zipfile.ZipFile(dossier) as papers:
        files |= {f"dossier/{name}": papers.read(name) for name in papers.namelist()}
    return Past(config, database, dossier, files, measurements)


def _report(store: Store, config: Config) -> Iterator[tuple[str, bytes]]:
    summary = summarise(store, config, week("2026-W47", ZONE), NOW)
    for one in make(drafts(summary, LANGUAGES), list(FORMATS)):
        yield one.name, one.content
    [drill] = store.event_log.drills(summary.period.start, summary.period.end)
    for one in make_drill_sheets(drill, config, LANGUAGES, ["pdf", "html"], NOW, made_up=True):
        yield one.name, one.content
