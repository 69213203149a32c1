"""`jharnet-monitor state …`: what districts tell the state, its report, and proof of both."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile, LogLevel
from jharnet_monitor.commands.process import set_up_logging, until_signal
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.state_file import StateFile
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.errors import UserError, as_one_line
from jharnet_monitor.i18n import formats

if TYPE_CHECKING:
    from jharnet_monitor.judge.calendar.period import Period

app = typer.Typer(
    help="The state above the districts: signed weeks, one table, one report.",
    no_args_is_help=True,
)
console = plain_console(highlight=False)

DEFAULT_STATE = Path("state.yaml")
StateOption = Annotated[
    Path,
    typer.Option("--state", "-s", envvar="JHARNET_STATE", help="The state's YAML file."),
]
Week = Annotated[str | None, typer.Option(help="ISO week, 2026-W47; default: last complete week.")]


def _state(file: Path) -> StateFile:
    return load_yaml_model(file, StateFile)


def _period(week: str | None) -> Period:
    from jharnet_monitor.judge.calendar import period  # noqa: PLC0415
    from jharnet_monitor.state.week import ZONE  # noqa: PLC0415

    if week is not None:
        return period.week(week, ZONE)
    today = SystemClock().now().astimezone(ZONE).date()
    return period.week_of(today - timedelta(days=7), ZONE)


@app.command()
def key(
    file: Annotated[Path, typer.Argument(help="File for the private key.")],
) -> None:
    """Make a hub's key; print the public part, which the state registers."""
    from jharnet_monitor.security.signing import fingerprint, make_key  # noqa: PLC0415

    line = make_key(file)
    print(line)
    plain_console(stderr=True).print(
        f"fingerprint {fingerprint(line)}; tell it to the state by telephone, apart from the line",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@app.command()
def push(
    week: Week = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the signed week to a file, and send nothing.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Sign the judgements of a week and hand them in; the hub does this every week."""
    from jharnet_monitor.report.output.files import write_whole  # noqa: PLC0415
    from jharnet_monitor.state.push import make_signed, send  # noqa: PLC0415

    loaded, period = load_config(config), _period(week)
    if loaded.state is None:
        raise UserError(f"{config}: state: is not set; set the state's receiver and the key there")
    now = SystemClock().now()
    if period.end > now:
        raise UserError(f"--week {period.name}: the week is not over")
    signed = make_signed(loaded, period, now)
    if out is not None:
        write_whole(out, signed.model_dump_json().encode())
        console.print(f"{out}: {period.name}, {signed.sha256}", soft_wrap=True)
        return
    result = asyncio.run(send(loaded.state, signed))
    console.print(f"{period.name}: {result}, {signed.sha256}", soft_wrap=True)


@app.command()
def receive(state: StateOption = DEFAULT_STATE, log_level: LogLevel = "info") -> None:
    """Take the districts' signed weeks over HTTPS, until a signal stops it."""
    from jharnet_monitor.state.receiver import WeekReceiver  # noqa: PLC0415

    set_up_logging(log_level)
    receiver = WeekReceiver(state, _state(state), SystemClock())
    asyncio.run(until_signal(receiver.run, receiver.stop))


@app.command()
def report(
    week: Week = None,
    lang: Annotated[str | None, typer.Option(help="hi, en or hi,en; default: `languages`.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Directory for the files; default: `directory`.")
    ] = None,
    state: StateOption = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Write the state's report of a week: a row a district, also for one that is silent."""
    from jharnet_monitor.commands.report import parts_of, write_all  # noqa: PLC0415
    from jharnet_monitor.i18n.words import LANGUAGES, words  # noqa: PLC0415
    from jharnet_monitor.state.paper import basis_of, make_report  # noqa: PLC0415
    from jharnet_monitor.state.table import StateTable  # noqa: PLC0415

    loaded, period = _state(state), _period(week)
    languages = parts_of("--lang", lang, LANGUAGES) if lang else loaded.languages
    table = StateTable(loaded.database)
    try:
        table.prepare(loaded.districts)
        names = (period.before().name, period.name)
        rows = [(d, name, held.signed) for name in names for d, held in table.newest(name).items()]
    finally:
        table.close()
    known = {district.id for district in loaded.districts}
    basis = basis_of(period.name, SystemClock().now().replace(microsecond=0),
                     [row for row in rows if row[0] in known])  # fmt: skip
    made = (make_report(loaded, basis, words(language)) for language in languages)
    paths = write_all(made, out or loaded.directory, "typesetting …")
    if as_json:
        print(json.dumps({"week": period.name, "districts": len(basis.weeks),
                          "files": [str(path) for path in paths]}))  # fmt: skip
        return
    for path in paths:
        print(path)


@app.command()
def rules(
    directory: Annotated[
        Path, typer.Argument(help="Directory for rules/districts.yml and vmauth.yml.")
    ] = Path(),
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Write what vmalert and vmauth need to know of the expected districts."""
    from jharnet_monitor.report.output.files import write_whole  # noqa: PLC0415
    from jharnet_monitor.state.rules import expected_rules, vmauth_config  # noqa: PLC0415

    loaded = _state(state)
    for name, text in (
        ("rules/districts.yml", expected_rules(loaded)),
        ("vmauth.yml", vmauth_config(loaded)),
    ):
        write_whole(directory / name, text.encode())
        print(directory / name)


@app.command()
def verify(
    report: Annotated[
        Path | None, typer.Argument(help="A report to check; without it, the table.")
    ] = None,
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Check every signature, and that a report follows from the signed weeks: exit code 0 if so,
    else 1."""
    from jharnet_monitor.state.table import StateTable  # noqa: PLC0415
    from jharnet_monitor.state.verify import check_report, check_rows  # noqa: PLC0415

    loaded = _state(state)
    if report is not None:
        logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it explains what is no PDF
        basis, problems = check_report(loaded, report)
        good = f"{basis.week} of {len(basis.weeks)} districts follows from their signed weeks"
    else:
        table = StateTable(loaded.database)
        try:
            table.prepare(loaded.districts)
            count, problems = check_rows(loaded, table.rows())
        finally:
            table.close()
        good = f"{formats.number(count)} signed weeks are as they were signed"
    for problem in problems:
        console.print(as_one_line(problem), soft_wrap=True)
    if problems:
        console.print(Text("changed or damaged:", "red"), f"{len(problems)} problems")
        raise typer.Exit(1)
    console.print(Text("ok:", "green"), good, soft_wrap=True)
