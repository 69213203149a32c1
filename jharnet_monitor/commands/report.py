"""`report`: the weekly report, and that of any other period, as files."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.report.build import FORMATS, make, write
from jharnet_monitor.report.pdf import SettingError
from jharnet_monitor.report.period import Period, week, week_of
from jharnet_monitor.report.source import summarise
from jharnet_monitor.report.words import LANGUAGES
from jharnet_monitor.store import Store, StoreError

app = typer.Typer(invoke_without_command=True)
progress = Console(stderr=True)


@app.callback()
def report(
    context: typer.Context,
    week_name: Annotated[
        str | None, typer.Option("--week", help="ISO week, 2026-W47; the last whole one if absent.")
    ] = None,
    lang: Annotated[str | None, typer.Option(help="hi, en or hi,en; else the config's.")] = None,
    format_: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))] = "pdf",
    out: Annotated[Path, typer.Option(help="Directory for the files.")] = Path(),
    open_: Annotated[bool, typer.Option("--open", help="Show the first file when done.")] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write the Deputy Commissioner's report: which blocks can hold a conference, and why not."""
    if context.invoked_subcommand is not None:
        return
    languages = _chosen("--lang", lang, LANGUAGES) if lang else None
    formats = _chosen("--format", format_, FORMATS)
    loaded = load_config(config, files=False)
    period = _period(loaded, week_name)
    paths = _write(loaded, period, languages or loaded.report.languages, formats, out)
    if as_json:
        print(json.dumps({"period": period.name, "files": [str(path) for path in paths]}))
    else:
        for path in paths:
            print(path)
    if open_:
        typer.launch(str(paths[0]))


def _chosen(option: str, given: str, known: Collection[str]) -> list[str]:
    """The parts of `hi,en`, each once; raises `UserError`."""
    parts = list(dict.fromkeys(part.strip() for part in given.split(",")))
    for part in parts:
        if part not in known:
            raise UserError(f"{option} {given}: `{part}` is none of {', '.join(known)}")
    return parts


def _period(config: Config, name: str | None) -> Period:
    zone = ZoneInfo(config.district.timezone)
    if name is not None:
        return week(name, zone)
    today = SystemClock().now().astimezone(zone).date()
    return week_of(today - timedelta(days=7), zone)


def _write(
    config: Config, period: Period, languages: Sequence[str], formats: Sequence[str], out: Path
) -> list[Path]:
    clock = SystemClock()
    store = Store(config.hub.database, clock)
    paths: list[Path] = []
    try:
        with progress.status(f"reading {period.name} …") as status:
            summary = summarise(store, config, period, clock.now())
            for made in make(summary, languages, formats):
                status.update(f"writing {made.name} …")
                paths.append(write(made, out))
    except StoreError as error:
        raise UserError(f"{config.hub.database}: {error}") from error
    except SettingError as error:
        raise UserError(str(error)) from error
    finally:
        store.close()
    return paths
