"""`report`: the report of a week, or of any other period, as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.lazy import LazyGroup
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.report import period as periods
from jharnet_monitor.report.build import FORMATS, make
from jharnet_monitor.report.drill_paper import make_drill
from jharnet_monitor.report.files import Made, SettingError, write
from jharnet_monitor.report.period import Period
from jharnet_monitor.report.source import summarise
from jharnet_monitor.report.words import LANGUAGES
from jharnet_monitor.store import Store, StoreError


class _Commands(LazyGroup):
    lazy: ClassVar[Mapping[str, str]] = {"send": "mail:send"}


app = typer.Typer(cls=_Commands, invoke_without_command=True)
progress = Console(stderr=True)

Lang = Annotated[str | None, typer.Option(help="hi, en or hi,en; else the configuration's.")]
Out = Annotated[
    Path | None, typer.Option(help="Directory for the files; else the configuration's.")
]
Open = Annotated[bool, typer.Option("--open", help="Show the first file when done.")]


@app.callback()
def report(
    context: typer.Context,
    week: Annotated[
        str | None, typer.Option(help="ISO week, 2026-W47; the last whole one if absent.")
    ] = None,
    day: Annotated[str | None, typer.Option(help="2026-11-25")] = None,
    month: Annotated[str | None, typer.Option(help="2026-11")] = None,
    quarter: Annotated[str | None, typer.Option(help="2026-Q4")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day, 2026-11-01")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day, 2026-11-15")] = None,
    lang: Lang = None,
    format_: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))] = "pdf",
    out: Out = None,
    open_: Open = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write the Deputy Commissioner's report: which blocks can hold a conference, and why not."""
    if context.invoked_subcommand is not None:
        return
    loaded = load_config(config, files=False)
    chosen = {"week": week, "day": day, "month": month, "quarter": quarter}
    period = _period(loaded, chosen, first, last)
    languages = _languages(loaded, lang)
    formats = _parts("--format", format_, FORMATS)

    def files(store: Store) -> Iterable[Made]:
        summary = summarise(store, loaded, period, SystemClock().now())
        return make(summary, languages, formats)

    paths = _write(loaded, files, out, f"reading {period.name} …")
    _show({"period": period.name}, paths, as_json=as_json, open_=open_)


@app.command()
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
    languages = _languages(loaded, lang)
    formats = _parts("--format", format_, ("pdf", "html"))
    found: dict[str, Any] = {}

    def files(store: Store) -> Iterable[Made]:
        found.update(_drill(store, drill_id))
        return make_drill(found, loaded, languages, formats, SystemClock().now())

    paths = _write(loaded, files, out, "reading the drill …")
    _show({"drill": found["id"]}, paths, as_json=as_json, open_=open_)


def _drill(store: Store, drill_id: str | None) -> dict[str, Any]:
    if drill_id is not None:
        found = store.diary.drill(drill_id)
        if found is None:
            raise UserError(f"no drill `{drill_id}` in the database")
        return found
    now = SystemClock().now()
    every = store.diary.drills(now - timedelta(days=366), now)
    if not every:
        raise UserError("no drill was held in the last year; `jharnet-monitor drill` holds one")
    return every[-1]


def _languages(config: Config, given: str | None) -> list[str]:
    return _parts("--lang", given, LANGUAGES) if given else list(config.report.languages)


def _parts(option: str, given: str, known: Collection[str]) -> list[str]:
    """The parts of `hi,en`, each once; raises `UserError`."""
    parts = list(dict.fromkeys(part.strip() for part in given.split(",")))
    for part in parts:
        if part not in known:
            raise UserError(f"{option} {given}: `{part}` is none of {', '.join(known)}")
    return parts


def _period(
    config: Config, chosen: dict[str, str | None], first: str | None, last: str | None
) -> Period:
    zone = ZoneInfo(config.district.timezone)
    given = {name: value for name, value in chosen.items() if value is not None}
    if (first is None) != (last is None):
        raise UserError("--from and --to go together; give both")
    if len(given) + (first is not None) > 1:
        raise UserError("give one of --week, --day, --month, --quarter, or --from with --to")
    if first is not None and last is not None:
        return periods.between(first, last, zone)
    if not given:
        today = SystemClock().now().astimezone(zone).date()
        return periods.week_of(today - timedelta(days=7), zone)
    readers: dict[str, Callable[[str, ZoneInfo], Period]] = {
        "week": periods.week,
        "day": periods.day,
        "month": periods.month,
        "quarter": periods.quarter,
    }
    ((name, value),) = given.items()
    return readers[name](value, zone)


def _write(
    config: Config, files: Callable[[Store], Iterable[Made]], out: Path | None, doing: str
) -> list[Path]:
    store = _open(config)
    paths: list[Path] = []
    try:
        with progress.status(doing) as status:
            for made in files(store):
                status.update(f"writing {made.name} …")
                paths.append(write(made, out or config.report.directory))
    except StoreError as error:
        raise UserError(f"{config.hub.database}: {error}") from error
    except SettingError as error:
        raise UserError(f"the report cannot be set: {error}") from error
    finally:
        store.close()
    return paths


def _open(config: Config) -> Store:
    """The hub's database, which must be there: a report makes none."""
    store = Store(config.hub.database, SystemClock())
    store.require_schema()
    return store


def _show(about: dict[str, str], paths: list[Path], *, as_json: bool, open_: bool) -> None:
    if as_json:
        print(json.dumps(about | {"files": [str(path) for path in paths]}, ensure_ascii=False))
    else:
        for path in paths:
            print(path)
    if open_:
        typer.launch(str(paths[0]))
