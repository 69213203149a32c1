"""Writes the dossier of a period beside the reports, in a process of its own (`worker`)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.dossier.build import build
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.store import Store


def write_dossier(config: Config, period: Period, now: datetime) -> list[Path]:
    """The dossier, with its letter; returns its path.

    Raises `UserError`, `StoreError`, `TypesettingError`.
    """
    name = f"dossier-{period.days[0]}_{period.days[-1]}.zip"
    out = config.report.directory / name
    store = Store(config.hub.database, SystemClock())
    try:
        store.require_schema()
        build(store, config, period, out, now, lambda _: None)
    finally:
        store.close()
    return [out]
