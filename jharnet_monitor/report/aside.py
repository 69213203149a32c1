"""Reads a report's drafts in a process of its own, so that none needs the memory of both.

To read takes the database's and the figures' libraries, to set takes Typst, and each needs tens of
megabytes that it never gives back. The reader starts as a copy of this process, so it loads only
what it lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import datetime
from importlib import import_module
from multiprocessing import get_context

from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.report.draft import Draft
from jharnet_monitor.report.period import Period


def read_drafts(
    config: Config, period: Period, languages: Sequence[str], now: datetime
) -> list[Draft]:
    """The report of a period in each language; blocks. Raises `UserError`."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as reader:
        reading = reader.submit(_drafts, config, period, languages, now)
        try:
            return reading.result()
        except BrokenProcessPool:
            raise UserError(
                f"{period.name}: the process that read the database was ended"
            ) from None


def _drafts(config: Config, period: Period, languages: Sequence[str], now: datetime) -> list[Draft]:
    clock = import_module("jharnet_monitor.clock")
    compose = import_module("jharnet_monitor.report.compose")
    source = import_module("jharnet_monitor.report.source")
    stored = import_module("jharnet_monitor.store")
    store = stored.Store(config.hub.database, clock.SystemClock())
    try:
        store.require_schema()  # the hub's database must be there: a report makes none
        summary = source.summarise(store, config, period, now)
    except stored.StoreError as error:
        raise UserError(f"{config.hub.database}: {error}") from error
    finally:
        store.close()
    found: list[Draft] = compose.drafts(summary, languages)
    return found
