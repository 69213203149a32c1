"""Writes the sheets of a drill into the directory of reports as soon as the drill is over."""

from __future__ import annotations

import logging
from datetime import datetime

from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.report.output.files import TypesettingError
from jharnet_monitor.report.output.worker import WorkerError, in_own_process

log = logging.getLogger(__name__)


def write_sheets(drill: Drill, config: Config, made_at: datetime, *, made_up: bool = False) -> None:
    """Write a drill's sheets, which the hub's reports page then lists. Blocks.

    `made_up` marks sheets with invented data. A sheet that cannot be written is logged and does not
    affect the drill.
    """
    module = "jharnet_monitor.report.output.drill_sheet"
    try:
        order = drill.to_json(), config, made_at, made_up
        for path in in_own_process(module, "write_drill_sheets", *order):
            log.info("wrote %s", path)
    except (TypesettingError, UserError, WorkerError) as error:
        log.error("the sheet of drill %s could not be written: %s", drill.id, error)
