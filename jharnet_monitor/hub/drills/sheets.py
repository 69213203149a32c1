"""Writes the sheets of a drill into the directory of reports as soon as the drill is over."""

from __future__ import annotations

import logging
from datetime import datetime

from jharnet_monitor.config import Config
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.report.output.worker import in_own_process

log = logging.getLogger(__name__)


def write_sheets(drill: Drill, config: Config, made_at: datetime, *, made_up: bool = False) -> None:
    """Write a drill's sheets, which the hub's reports page then lists. Blocks.

    `made_up` marks sheets with invented data. Raises `TypesettingError`, `UserError` or
    `WorkerError` where a sheet cannot be written.
    """
    module = "jharnet_monitor.report.output.drill_sheet"
    order = drill.to_json(), config, made_at, made_up
    for path in in_own_process(module, "write_drill_sheets", *order):
        log.info("wrote %s", path)
