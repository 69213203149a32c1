"""Reads a report's drafts in a process of its own, so that none needs the memory of both.

To read takes the database's and the figures' libraries, to set takes Typst, and each needs tens of
megabytes that it never gives back. The reader starts as a copy of this process, so it loads only
what it lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection

from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.report.draft import Draft
from jharnet_monitor.report.period import Period


def read_drafts(
    config: Config, period: Period, languages: Sequence[str], now: datetime
) -> list[Draft]:
    """The report of a period in each language; blocks. Raises `UserError`."""
    fork = get_context("fork")
    here, there = fork.Pipe(duplex=False)
    reader = fork.Process(target=_tell, args=(there, config, period, languages, now))
    reader.start()
    there.close()
    try:
        found: list[Draft] | UserError = here.recv()
    except EOFError:
        raise UserError(f"{period.name}: the process that read the database was ended") from None
    finally:
        here.close()
        reader.join()
    if isinstance(found, UserError):
        raise found
    return found


def _tell(
    there: Connection, config: Config, period: Period, languages: Sequence[str], now: datetime
) -> None:
    try:
        there.send(_drafts(config, period, languages, now))
    except UserError as error:
        there.send(error)
    except KeyboardInterrupt:
        pass  # Ctrl-C reaches both processes; the other one tells


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
