"""Opens the hub's database for a command, and closes it when the command is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.store import Store


@contextmanager
def open_store(config: Config, *, current_schema: bool = True) -> Iterator[Store]:
    """The store of the configured database.

    With `current_schema`, raises `UserError` unless the database exists and has this version's
    schema.
    """
    store = Store(config.hub.database, SystemClock())
    try:
        if current_schema:
            store.require_schema()
        yield store
    finally:
        store.close()
