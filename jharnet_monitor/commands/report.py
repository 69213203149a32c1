"""`report`: write the report of a week or another period."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar
from zoneinfo import ZoneInfo

import typer

from jharnet_monitor.commands.lazy import LazyGroup
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.errors import UserError
from jharnet_monitor.report.output.draft import ENDINGS
from jharnet_monitor.report.output.files import OutputFile, TypesettingError, write
from jharnet_monitor.report.output.worker import Worker, WorkerError

if TYPE_CHECKING:
    from jharnet_monitor.config import Config
    from jharnet_monitor.judge.calendar.period import Period

READER = "jharnet_monitor.report.output.compose"
"""The module that reads a report's data, in a process of its own."""


class _Commands(LazyGroup):
    lazy: ClassVar[Mapping[str, str]] = {"drill": "report_drill:drill", "send": "mail:send"}


app = typer.Typer(cls=_Commands, invoke_without_command=True)
progress = plain_console(stderr=True)

Lang = Annotated[str | None, typer.Option(help="hi, en or hi,en; default: report.languages.")]
Out = Annotated[
    Path | None, typer.Option(help="Directory for the files; default: report.directory.")
]
Open = Annotated[bool, typer.Option("--open", help="Open the first file.")]


@app.callback()
def report(
    context: typer.Context,
    week: Annotated[
        str | None, typer.Option(help="ISO week, 2026-W47; default: last complete week.")
    ] = None,
    day: Annotated[str | None, typer.Option(help="2026-11-25")] = None,
    month: Annotated[str | None, typer.Option(help="2026-11")] = None,
    quarter: Annotated[str | None, typer.Option(help="2026-Q4")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day, 2026-11-01")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day, 2026-11-15")] = None,
    lang: Lang = None,
    format_: Annotated[str, typer.Option("--format", help=", ".join(ENDINGS))] = "pdf",
    out: Out = None,
    open_: Open = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write the Deputy Commissioner's report: which blocks can hold a conference, and why not."""
    if context.invoked_subcommand is not None:
        _refuse_options_before(context, context.invoked_subcommand)
        return
    with Worker(READER) as reader:  # it loads its libraries while this process loads its own
        from jharnet_monitor.clock import SystemClock  # noqa: PLC0415
        from jharnet_monitor.config.load import load_config  # noqa: PLC0415
        from jharnet_monitor.report.output.build import make  # noqa: PLC0415

        loaded = load_config(config, files=False)
        chosen = {"week": week, "day": day, "month": month, "quarter": quarter}
        reported = _period(loaded, chosen, first, last)
        languages = languages_of(loaded, lang)
        formats = parts_of("--format", format_, ENDINGS)
        with progress.status(f"reading {reported.name} …"):
            now = SystemClock().now()
            try:
                drafts = reader.call("read_packed", loaded, reported, languages, now, _cores())
            except WorkerError as error:
                raise UserError(
                    f"{reported.name}: the database could not be read: {error}"
                ) from None
    paths = write_all(make(drafts, formats), out or loaded.report.directory, "typesetting …")
    name = drafts[0].stem.partition("-")[2]  # without years of which there is nothing to report
    show({"period": name}, paths, as_json=as_json, open_=open_)


def _refuse_options_before(context: typer.Context, command: str) -> None:
    """Raise `UserError` for options of `report` before a command of its own, which has others: a
    week that is given there would not be the one that is sent.
    """
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE":
            name = option.opts[0]
            raise UserError(
                f"{name}: no option of `report` has an effect on `report {command}`; "
                f"give its own after it (`report {command} --help` lists them)"
            )


def _cores() -> int:
    """How many processes read: one a core that this program may use, but no more than two, as each
    needs memory of its own.
    """
    return min(2, len(os.sched_getaffinity(0)))


def languages_of(config: Config, given: str | None) -> list[str]:
    """The languages in `--lang`, else the configuration's; raises `UserError`."""
    from jharnet_monitor.i18n.words import LANGUAGES  # noqa: PLC0415

    if given is None:
        return list(config.report.languages)
    return parts_of("--lang", given, LANGUAGES)


def parts_of(option: str, given: str, known: Collection[str]) -> list[str]:
    """The parts of a value such as `hi,en`, each once; raises `UserError`."""
    parts = list(dict.fromkeys(part.strip() for part in given.split(",")))
    for part in parts:
        if part not in known:
            raise UserError(f"{option} {given}: `{part}` is not one of {', '.join(known)}")
    return parts


def _period(
    config: Config, chosen: dict[str, str | None], first: str | None, last: str | None
) -> Period:
    from jharnet_monitor.clock import SystemClock  # noqa: PLC0415
    from jharnet_monitor.judge.calendar import period  # noqa: PLC0415

    zone = ZoneInfo(config.district.timezone)
    given = {name: value for name, value in chosen.items() if value is not None}
    if (first is None) != (last is None):
        raise UserError("--from and --to go together; give both")
    if len(given) + (first is not None) > 1:
        raise UserError("give one of --week, --day, --month, --quarter, or --from with --to")
    if first is not None and last is not None:
        return period.date_range(first, last, zone)
    if not given:
        today = SystemClock().now().astimezone(zone).date()
        return period.week_of(today - timedelta(days=7), zone)
    readers: dict[str, Callable[[str, ZoneInfo], Period]] = {
        "week": period.week,
        "day": period.day,
        "month": period.month,
        "quarter": period.quarter,
    }
    ((name, value),) = given.items()
    return readers[name](value, zone)


def write_all(files: Iterable[OutputFile], out: Path, doing: str) -> list[Path]:
    """Write files as they are made, show progress, return the paths; raises `UserError`."""
    paths: list[Path] = []
    try:
        with progress.status(doing) as status:
            for file in files:
                status.update(f"writing {file.name} …")
                paths.append(write(file, out))
    except TypesettingError as error:
        raise UserError(f"the report could not be typeset: {error}") from error
    return paths


def show(about: dict[str, str], paths: list[Path], *, as_json: bool, open_: bool) -> None:
    """Print what was written, as text or JSON; with `open_`, open the first file."""
    if as_json:
        print(json.dumps(about | {"files": [str(path) for path in paths]}, ensure_ascii=False))
    else:
        for path in paths:
            print(path)
    if open_:
        typer.launch(str(paths[0]))
