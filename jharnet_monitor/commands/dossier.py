"""`jharnet-monitor dossier …`: build and verify the letter with its evidence in one file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.database import open_store
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.judge.calendar.period import date_range

if TYPE_CHECKING:
    from jharnet_monitor.dossier.verify import VerifyResult

app = typer.Typer(
    help="Build and verify the dossier: the letter to the department with its evidence.",
    no_args_is_help=True,
)
console = plain_console(highlight=False)
progress = plain_console(stderr=True)


@app.command()
def build(
    first: Annotated[str, typer.Option("--from", help="First day, 2026-09-01")],
    last: Annotated[str, typer.Option("--to", help="Last day, 2026-11-29")],
    out: Annotated[Path, typer.Option(help="The ZIP file to write.")],
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write letter, sheets, raw measurements, hash chain and certificate form into one ZIP file."""
    from jharnet_monitor.dossier.build import build as build_dossier  # noqa: PLC0415 - slow to load
    from jharnet_monitor.report.output.files import TypesettingError  # noqa: PLC0415

    loaded = load_config(config, files=False)
    period = date_range(first, last, ZoneInfo(loaded.district.timezone))
    now = SystemClock().now()
    try:
        with open_store(loaded) as store, progress.status("reading …") as status:
            claims = build_dossier(store, loaded, period, out, now, status.update)
    except TypesettingError as error:
        raise UserError(f"the documents could not be typeset: {error}") from error
    found = claims.district
    verdicts = {verdict.value: names for verdict, names in found.verdicts.items() if names}
    if as_json:
        result = {"file": str(out), "measurements": found.measurements, "verdicts": verdicts}
        print(json.dumps(result, ensure_ascii=False))
        return
    for name, offices in verdicts.items():
        console.print(f"{name}: {', '.join(offices)}", soft_wrap=True)
    console.print(str(out), soft_wrap=True)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The dossier.")],
    root: Annotated[
        str | None, typer.Option(help="Root hash that an outside recipient was mailed.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Do not stop at the first problem.")] = False,
    simulate_all: Annotated[
        bool, typer.Option("--simulate-all", help="Simulate every call again, not a sample only.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Recompute every figure, hash and document: exit code 0 if everything agrees, else 1.

    Only the file is needed.
    """
    from jharnet_monitor.dossier.verify import (  # noqa: PLC0415 - slow to load
        verify as verify_dossier,
    )

    if root is not None and not re.fullmatch(r"[0-9a-f]{64}", root):
        raise UserError(f"--root {root}: must be the 64 hexadecimal digits of a root")
    with progress.status("reading …") as status:
        verdict = verify_dossier(
            file, root, lambda text: status.update(Text(text)),  # it may name files of the dossier
            every=every, simulate_all=simulate_all,
        )  # fmt: skip
    if as_json:
        result = {
            "ok": not verdict.problems, "problems": verdict.problems, "hours": verdict.links,
            "records": verdict.records, "figures": verdict.figures, "papers": verdict.papers,
            "root": verdict.root, "exact": verdict.same_tools, "notes": verdict.notes,
            "simulated_calls": verdict.simulated.calls,
            "simulated_again": verdict.simulated.derived,
        }  # fmt: skip
        print(json.dumps(result, ensure_ascii=False))
    else:
        for problem in verdict.problems:
            console.print(problem, soft_wrap=True)
        if not verdict.problems:
            _print_success(verdict.links, verdict.records, verdict.figures, verdict.papers)
            for note in verdict.notes:
                console.print(note, soft_wrap=True)
            _print_limits(root, verdict)
    if verdict.problems:
        raise typer.Exit(1)


def _print_success(links: int, records: int, figures: int, papers: int) -> None:
    counts = (formats.number(count) for count in (figures, records, papers, links))
    console.print(
        "everything agrees: {} figures recomputed from {} records, {} documents regenerated,"
        " {} hours of the chain recomputed".format(*counts),
        soft_wrap=True,
    )


def _print_limits(root: str | None, verdict: VerifyResult) -> None:
    """Say what this check cannot prove."""
    if root is None:
        console.print(
            "without --root, a chain rebuilt as a whole cannot be ruled out:"
            " ask an outside recipient for the root hash that they were mailed",
            soft_wrap=True,
        )
    elif not verdict.root_covers:
        console.print(
            "a chain rebuilt after that hour cannot be ruled out:"
            " ask an outside recipient for a root hash that they were mailed later",
            soft_wrap=True,
        )
    if not verdict.same_tools:
        console.print(
            "the dossier was made by other versions of program, Typst or font:"
            " only the text of its documents was compared",
            soft_wrap=True,
        )
