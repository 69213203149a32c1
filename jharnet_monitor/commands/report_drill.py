"""`report drill`: the sheet of one drill, to be signed."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.database import open_store
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.report import Lang, Open, Out, languages_of, parts_of, show, write_all
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.report.output.drill_sheet import make_drill_sheets
from jharnet_monitor.store import Store


def drill(
    drill_id: Annotated[str | None, typer.Argument(help="The drill; the newest if absent.")] = None,
    lang: Lang = None,
    format_: Annotated[str, typer.Option("--format", help="pdf, html")] = "pdf",
    out: Out = None,
    open_: Open = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write the paper of one drill: the test of all blocks on a page, to be signed."""
    loaded = load_config(config, files=False)
    languages = languages_of(loaded, lang)
    formats = parts_of("--format", format_, ("pdf", "html"))
    with open_store(loaded) as store:
        found, made_up = _found(store, drill_id), store.made_up()
    now = SystemClock().now()
    files = make_drill_sheets(found, loaded, languages, formats, now, made_up=made_up)
    paths = write_all(files, out or loaded.report.directory, "typesetting …")
    show({"drill": found.id}, paths, as_json=as_json, open_=open_)


def _found(store: Store, drill_id: str | None) -> Drill:
    """The drill by its id, else the newest."""
    if drill_id is not None:
        found = store.event_log.drill(drill_id)
        if found is None:
            raise UserError(f"no drill `{drill_id}` in the database")
        return found
    now = SystemClock().now()
    every = store.event_log.drills(now - timedelta(days=366), now)
    if not every:
        raise TemporaryError(
            "no drill was held in the last year; `jharnet-monitor drill` holds one"
        )
    return every[-1]
