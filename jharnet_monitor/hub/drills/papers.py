"""The papers of a drill, written beside the reports as soon as the drill is over."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.report.output.files import TypesettingError
from jharnet_monitor.report.output.worker import WorkerError, in_own_process

log = logging.getLogger(__name__)


def write_papers(drill: Mapping[str, Any], config: Config, made_at: datetime) -> None:
    """Write a drill's papers into the directory of reports, which the hub's page lists; blocks.

    A paper that cannot be made is logged and does not affect the drill.
    """
    where = "jharnet_monitor.report.output.drill_sheet"
    try:
        for path in in_own_process(where, "write_drill", dict(drill), config, made_at):
            log.info("wrote %s", path)
    except (TypesettingError, UserError, WorkerError) as error:
        log.error("the paper of drill %s could not be made: %s", drill["id"], error)
