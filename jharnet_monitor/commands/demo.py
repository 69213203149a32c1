"""`demo`: run everything on this machine and measure a district whose links are known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jharnet_monitor.commands.demo_history import make_history
from jharnet_monitor.commands.process import hangup
from jharnet_monitor.config.load import load_config
from jharnet_monitor.demo.flow import Demo, running, week_measured, write_result
from jharnet_monitor.demo.places import LabPlace, LoopbackPlace, Place, district_data
from jharnet_monitor.demo.truth import ComparisonRow
from jharnet_monitor.errors import UserError, file_error
from jharnet_monitor.i18n.formats import with_borderline
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.twin.borderline import borderline_grade
from jharnet_monitor.model import Outcome

console = Console(width=None if sys.stdout.isatty() else 110)


def demo(
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Stop after this many minutes (default: until Ctrl-C)."),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", help="Write the address, the report's path and the table to this file."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the report, which is kept.")] = Path(
        "demo-report"
    ),
    past: Annotated[
        str | None,
        typer.Option(
            "--history",
            help="Instead, fill a database of its own in --out with a made-up past, such as 12w.",
        ),
    ] = None,
) -> None:
    """Run the hub and eleven agents, measure, report, and compare with the lab's truth.

    As root, the offices are network namespaces with emulated links; without root they are loopback
    addresses, and every link is perfect. At the end everything except the report is removed.

    With --history nothing is measured: a made-up district's past shows what report, letter, dossier
    and pages look like. Every page and paper of it says that it is made up.
    """
    if past is not None:
        make_history(past, out.absolute(), json_file, console)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(f"--out {out}: cannot be written", error) from error
    end_in_order()
    end = None if minutes is None else time.monotonic() + minutes * 60
    try:
        data = district_data()
        with running(_place(data), data, out.absolute(), console) as (one, relay):
            _show(one, relay.url, json_file)
            _stay(one, relay.url, end)
    except KeyboardInterrupt:
        console.print("stopped")


def end_in_order() -> None:
    """End as on Ctrl-C when the process is terminated, or when its terminal is closed."""
    closed = hangup()
    terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number in closed:  # the shell and the terminal may both send it
            signal.signal(number, signal.SIG_IGN)
            _write_no_more(terminals)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, *closed):
        signal.signal(number, interrupt)


def _write_no_more(terminals: Sequence[int]) -> None:
    """Drop further output: an error of writing to a closed terminal would stop the clearing up."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in terminals:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _place(data: Mapping[str, Any]) -> Place:
    if os.geteuid() == 0:
        console.print("Setting up the district in network namespaces …")
        return LabPlace(data)
    console.print(
        "[yellow]Not root: the offices are loopback addresses of this machine. The programs are "
        "the real ones, but every link is perfect, so there is nothing to compare with. Run the "
        "demo as root to emulate links.[/yellow]"
    )
    return LoopbackPlace(data)


def _show(one: Demo, url: str, json_file: Path | None) -> None:
    """Measure, and print the results."""
    with console.status("starting the hub and eleven agents …"):
        one.wait_for_agents()
    console.print(f"The status page is at [bold]{url}/[/bold]")
    one.measure()
    one.compare()
    one.cut_power()
    report = _report(one)
    console.print(_outcomes(one))
    if one.rows:
        console.print(_comparison(one.rows))
    console.print(f"Status page: [bold]{url}/[/bold]")
    console.print(f"Report:      [bold]{escape(str(report))}[/bold]")
    if json_file is not None:
        write_result(json_file, url, report, one.rows)


def _report(one: Demo) -> Path:
    """Write the report of the week with the `report` command."""
    zone = ZoneInfo(load_config(one.installation.config).district.timezone)
    argv = [
        sys.executable, "-P", "-m", "jharnet_monitor", "report",
        "--config", str(one.installation.config),
        "--week", week_measured(one.results, zone),
        "--lang", "hi,en",
        "--out", str(one.installation.reports),
        "--json",
    ]  # fmt: skip
    with console.status("writing the report …"):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise UserError(f"the demo's report was not written: {done.stderr.strip()}")
    return Path(json.loads(done.stdout)["files"][0])


def _stay(one: Demo, url: str, end: float | None) -> None:
    if end is None:
        console.print("Running until Ctrl-C.")
    while end is None or time.monotonic() < end:
        one.programs.check()
        time.sleep(0.5)


def _outcomes(one: Demo) -> Table:
    """The results, one office per row."""
    table = Table(title="Measured", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("office", no_wrap=True)
    for heading in ("RTT\nms", "lost", "down\nMbit/s", "up\nMbit/s", "Internet\nMbit/s", "grade"):
        table.add_column(heading, justify="right")
    for office in one.offices:
        mine = {_series_of(m): m for m in one.results if m["office"] == office}
        lost = _figure(mine.get("latency"), "loss_ratio", 0.01)
        table.add_row(
            office,
            _figure(mine.get("latency"), "rtt_p50_seconds", 0.001),
            lost if lost.startswith("[") else f"{lost} %",
            _figure(mine.get("bandwidth"), "download_bits_per_second", 1e6),
            _figure(mine.get("bandwidth"), "upload_bits_per_second", 1e6),
            _figure(mine.get("bandwidth internet"), "download_bits_per_second", 1e6),
            _grade(mine.get("conference")),
        )
    return table


def _series_of(measured: Mapping[str, Any]) -> str:
    path = measured["conditions"].get("path", "jharnet")
    name = str(measured["probe"])
    return name if path == "jharnet" else f"{name} {path}"


def _figure(
    measured: Mapping[str, Any] | None, name: str, unit: float, form: str = "{:.2f}"
) -> str:
    """A value in a unit, or the reason why it is missing."""
    if measured is None:
        return "[dim]not run[/dim]"
    if name in measured["values"]:
        return form.format(measured["values"][name] / unit)
    style = "red" if measured["outcome"] == Outcome.FAILED.value else "dim"
    return f"[{style}]{measured['cause'] or 'not measured'}[/{style}]"


def _grade(measured: Mapping[str, Any] | None) -> str:
    """The grade's number, and the other grade that the call may as well have."""
    figure = _figure(measured, "grade", 1, "{:.0f}")
    other = None if measured is None else borderline_grade(measured["values"])
    return with_borderline(figure, other, words("en"))


_SHOWN = {
    "rtt_p50_seconds": ("RTT, median", 1e3, "ms"),
    "lost_packets": ("lost packets", 1, ""),
    "download_bits_per_second": ("download", 1e-6, "Mbit/s"),
    "upload_bits_per_second": ("upload", 1e-6, "Mbit/s"),
    "down_wire_loss_ratio": ("loss in the call, down", 100, "%"),
    "up_wire_loss_ratio": ("loss in the call, up", 100, "%"),
    "unreachable_known_after_seconds": ("power cut seen after", 1, "s"),
    "up_known_after_seconds": ("return seen after", 1, "s"),
}


def _comparison(rows: Sequence[ComparisonRow]) -> Table:
    """The measured values with the lab's truth."""
    right = sum(row.ok for row in rows)
    table = Table(
        title=f"Against the lab's truth: {right} of {len(rows)} agree",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("office", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    for heading in ("measured", "truth", "±", "unit", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda r: (r.probe, r.quantity, r.office)):
        name, factor, unit = _SHOWN[row.quantity]
        table.add_row(
            row.office,
            name,
            "–" if row.measured is None else f"{row.measured * factor:.2f}",
            f"{row.truth * factor:.2f}",
            f"{row.tolerance * factor:.2g}",
            unit,
            "[green]ok[/green]" if row.ok else "[red]differs[/red]",
        )
    return table
