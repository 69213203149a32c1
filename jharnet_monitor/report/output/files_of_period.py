"""Writes the report of a period beside the others, in a process of its own (`worker`)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from jharnet_monitor.config import Config
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.report.output.build import make
from jharnet_monitor.report.output.compose import read_drafts
from jharnet_monitor.report.output.files import write

FORMATS = ("pdf", "html", "xlsx")


def write_report(config: Config, period: Period, now: datetime) -> list[Path]:
    """The report in every language of the configuration; returns the paths of its files.

    Raises `UserError`, `StoreError`, `TypesettingError`.
    """
    drafts = read_drafts(config, period, config.report.languages, now)
    return [write(made, config.report.directory) for made in make(drafts, FORMATS)]
