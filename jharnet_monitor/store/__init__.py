"""Where measurements rest: SQLAlchemy Core on SQLite or PostgreSQL."""

from jharnet_monitor.store.chain import Link
from jharnet_monitor.store.diary import Event, Transition, Window
from jharnet_monitor.store.engine import StoreError
from jharnet_monitor.store.store import Store

__all__ = ["Event", "Link", "Store", "StoreError", "Transition", "Window"]
