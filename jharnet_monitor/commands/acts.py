"""Records what a person did by a command, with what people did on the hub's pages."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.database import open_store
from jharnet_monitor.config import Config
from jharnet_monitor.errors import TemporaryError, UserError, as_one_line
from jharnet_monitor.store.acts import ACT, OF_PEOPLE, Act
from jharnet_monitor.wire.client import login_name


def record_act(config: Config, what: str, about: Mapping[str, Any]) -> None:
    """Add an act to the event log, if there is a database yet; it then belongs to the hash chain.

    A database that does not take it hinders nobody: that is said on standard error.
    """
    file = config.hub.database_file
    if file and not file.exists():
        return
    act = Act(what, f"user {login_name()}", "this machine", about)
    try:
        with open_store(config) as store:
            store.event_log.add_event(OF_PEOPLE, ACT, SystemClock().now(), act.to_json())
    except (TemporaryError, UserError) as error:
        reason = as_one_line(str(error))
        print(f"warning: not in the record of who did what: {reason}", file=sys.stderr)
