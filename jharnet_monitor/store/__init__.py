"""Where measurements rest: SQLAlchemy Core on SQLite or PostgreSQL."""

from jharnet_monitor.errors import StoreError
from jharnet_monitor.store.chain import Link
from jharnet_monitor.store.event_log import Event, Transition, Window
from jharnet_monitor.store.store import Store

__all__ = ["Event", "Link", "Store", "StoreError", "Transition", "Window"]
