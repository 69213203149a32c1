"""An empty SQLite database of the newest schema, migrated once per process and then copied."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.store import Store


@cache
def _content() -> bytes:
    with tempfile.TemporaryDirectory(prefix="jhn-empty-") as directory:
        file = Path(directory) / "empty.db"
        store = Store(f"sqlite:///{file}", SystemClock())
        store.migrate()
        store.close()
        return file.read_bytes()


def write_empty_database(file: Path) -> None:
    """Write it unless the file exists already; a migration would take ten times as long."""
    if not file.exists():
        file.write_bytes(_content())
