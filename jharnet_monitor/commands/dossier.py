"""`jharnet-monitor dossier …`: the letter with its evidence in one file, and its verifier."""

from __future__ import annotations

import json
import re
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
from jharnet_monitor.i18n import formats
from jharnet_monitor.judge.calendar.period import date_range
from jharnet_monitor.store import Store

app = typer.Typer(
    help="The letter to the department with its evidence in one file, and its verifier.",
    no_args_is_help=True,
)
console = Console(highlight=False)
progress = Console(stderr=True)


@app.command()
def build(
    first: Annotated[str, typer.Option("--from", help="First day, 2026-09-01")],
    last: Annotated[str, typer.Option("--to", help="Last day, 2026-11-29")],
    out: Annotated[Path, typer.Option(help="The ZIP file to write.")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write letter, sheets, raw measurements, hash chain and certificate form into one ZIP file."""
    from jharnet_monitor.dossier.build import build as write  # noqa: PLC0415 - slow to load
    from jharnet_monitor.report.output.files import TypesettingError  # noqa: PLC0415

    loaded = load_config(config, files=False)
    period = date_range(first, last, ZoneInfo(loaded.district.timezone))
    store = _open(loaded)
    try:
        with progress.status("reading …") as status:
            claims = write(store, loaded, period, out, SystemClock().now(), status.update)
    except TypesettingError as error:
        raise UserError(f"the papers cannot be set: {error}") from error
    finally:
        store.close()
    found = claims.district
    verdicts = {verdict.value: names for verdict, names in found.verdicts.items() if names}
    if as_json:
        told = {"file": str(out), "measurements": found.measurements, "verdicts": verdicts}
        print(json.dumps(told, ensure_ascii=False))
        return
    for name, offices in verdicts.items():
        console.print(f"{name}: {', '.join(offices)}", soft_wrap=True, markup=False)
    console.print(str(out), soft_wrap=True, markup=False)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The dossier.")],
    root: Annotated[
        str | None, typer.Option(help="The value that a recipient outside was mailed.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Do not stop at the first problem.")] = False,
    as_json: AsJson = False,
) -> None:
    """Derive every figure anew and check hashes and chain: exit 0 if all is as claimed, 1 if not.

    Needs nothing but the file.
    """
    from jharnet_monitor.dossier.verify import verify as check  # noqa: PLC0415 - slow to load

    if root is not None and not re.fullmatch(r"[0-9a-f]{64}", root):
        raise UserError(f"--root {root}: must be the 64 hexadecimal digits of a root")
    with progress.status("reading …") as status:
        found = check(file, root, status.update, every=every)
    if as_json:
        told = {
            "ok": not found.problems, "problems": found.problems, "hours": found.links,
            "records": found.records, "figures": found.figures, "papers": found.papers,
            "root": found.root, "exact": found.same_tools, "notes": found.notes,
        }  # fmt: skip
        print(json.dumps(told, ensure_ascii=False))
    else:
        for problem in found.problems:
            console.print(problem, soft_wrap=True, markup=False)
        if not found.problems:
            _praise(found.links, found.records, found.figures, found.papers)
            for note in found.notes:
                console.print(note, soft_wrap=True, markup=False)
            _reach(root, found.same_tools)
    if found.problems:
        raise typer.Exit(1)


def _praise(links: int, records: int, figures: int, papers: int) -> None:
    counts = (formats.number(count) for count in (figures, records, papers, links))
    console.print(
        "all is as claimed: {} figures derived anew from {} records, {} papers set anew,"
        " {} hours of the chain recomputed".format(*counts),
        soft_wrap=True,
    )


def _reach(root: str | None, same_tools: bool) -> None:
    """What this check could not show."""
    if root is None:
        console.print(
            "without --root nothing speaks against a chain that was rebuilt as a whole:"
            " ask a recipient outside for the value that they were mailed",
            soft_wrap=True,
        )
    if not same_tools:
        console.print(
            "set by other versions of program, Typst or font: papers were compared by their text",
            soft_wrap=True,
        )


def _open(config: Config) -> Store:
    """The hub's database, which must be there."""
    store = Store(config.hub.database, SystemClock())
    store.require_schema()
    return store
