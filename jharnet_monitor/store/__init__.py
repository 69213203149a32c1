"""The database of measurements: SQLAlchemy Core on SQLite or PostgreSQL."""

from jharnet_monitor.errors import StoreError
from jharnet_monitor.store.chain import ChainLink
from jharnet_monitor.store.event_log import LoggedEvent, Transition, Window
from jharnet_monitor.store.rows import SpentBytes
from jharnet_monitor.store.store import Store

__all__ = [
    "ChainLink", "LoggedEvent", "SpentBytes", "Store", "StoreError", "Transition", "Window",
]  # fmt: skip
