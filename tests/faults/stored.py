"""The measurements in a hub's database, including those that were packed with their sealed hour."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.store import Store


def ids_in(database: Path) -> list[str]:
    """The ids of all measurements in a SQLite file.

    The store reads a copy, because it may write to a file that it opens, and a backup must not
    change.
    """
    with tempfile.TemporaryDirectory(prefix="jhn-ids-") as directory:
        copy = Path(directory, "monitor.db")
        with (
            closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as db,
            closing(sqlite3.connect(copy)) as target,
        ):
            db.backup(target)
        store = Store(f"sqlite:///{copy}", SystemClock())
        try:
            return [measurement.id for measurement in store.measurements()]
        finally:
            store.close()
