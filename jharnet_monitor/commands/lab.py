"""`jharnet-monitor lab …`: build and control a district in network namespaces."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from jharnet_monitor.commands.options import AsJson
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config.yaml_model import load_yaml_model
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.lab import HEADQUARTERS, Lab, LabSpec, take_down
from jharnet_monitor.lab.layout import DEFAULT_PREFIX
from jharnet_monitor.model import Direction

app = typer.Typer(
    help="A district in network namespaces, over links whose delay, loss and rate are known.",
    no_args_is_help=True,
)
console = plain_console(width=max(plain_console().width, 124), highlight=False)

_COUNTS = ("packets_in", "packets_out", "dropped_loss", "dropped_queue", "dropped_cut")

Prefix = Annotated[
    str, typer.Option(help="Name prefix, so that several labs can run side by side.")
]
Where = Annotated[
    str, typer.Argument(metavar="OFFICE|uplink", help="Id of an office in the lab, or `uplink`.")
]
What = Annotated[str, typer.Argument(metavar="[link|power|lan]", help="What to cut or restore.")]


@app.command()
def up(
    file: Annotated[Path, typer.Argument(help="The lab file, such as config/lab.yaml.")],
    prefix: Prefix = DEFAULT_PREFIX,
    seed: Annotated[int | None, typer.Option(help="Overrides the file's seed.")] = None,
) -> None:
    """Build the lab and leave it running until `lab down`."""
    spec = load_yaml_model(file, LabSpec)
    if seed is not None:
        spec = spec.model_copy(update={"seed": seed})
    lab = Lab.start(spec, prefix, detached=True)
    table = _table(
        f"Lab `{prefix}` is running · seed {spec.seed}", "place namespace router PC router-v6 PC-v6"
    )
    for where in (HEADQUARTERS, *lab.offices):
        here = lab.addresses(where)
        table.add_row(where, lab.namespace(where), here.router, here.pc, here.router6, here.pc6)
    console.print(table)


@app.command("set")
def set_(
    where: Where,
    settings: Annotated[
        list[str],
        typer.Argument(
            metavar="down.loss=2% …",
            help="Direction (down, up), key and value; keys as in the lab file.",
        ),
    ],
    prefix: Prefix = DEFAULT_PREFIX,
) -> None:
    """Change the delay, jitter, loss, rate or queue of a direction while the lab runs."""
    lab = Lab(prefix)
    for setting in settings:
        lab.request("set", where=where, setting=setting)


@app.command()
def cut(where: Where, what: What = "link", prefix: Prefix = DEFAULT_PREFIX) -> None:
    """Cut the link, the power or the LAN of an office, or the uplink."""
    Lab(prefix).cut(where, what)


@app.command()
def restore(where: Where, what: What = "link", prefix: Prefix = DEFAULT_PREFIX) -> None:
    """Undo a cut; after a power cut the office's PC has a new boot id."""
    Lab(prefix).restore(where, what)


@app.command()
def status(prefix: Prefix = DEFAULT_PREFIX, as_json: AsJson = False) -> None:
    """Show the packets that went in, came out and were dropped; with --json also per flow."""
    lab = Lab(prefix)
    truth = lab.status()
    if as_json:
        print(json.dumps(truth | {"flows": lab.flows()}, indent=2))
        return
    table = _table(
        f"Lab `{prefix}` · seed {truth['seed']}",
        "link delay jitter rate queue loss in out lost full cut wait",
    )
    for name, link in truth["links"].items():
        for direction in Direction:
            table.add_row(f"{name} {direction}", *_cells(link[direction]))
        for cut_ in link["cuts"]:
            table.add_row(Text(f"  {cut_} cut", "red"))
    console.print(table)
    late = truth["lateness_ms"]
    console.print(
        f"packets left late by {late['p50']} ms (p50), {late['p99']} ms (p99); "
        f"{'real-time' if truth['realtime'] else 'NOT real-time'}; "
        f"{truth['interface_drops']} dropped before the emulator; {truth['flows_known']} flows"
    )


def _cells(link: dict[str, Any]) -> list[str]:
    settings = link["settings"]
    loss = settings["loss"]["mean"]
    if settings["loss"]["burst"]:
        loss += f" by {settings['loss']['burst']:g}"
    return [
        settings["delay"],
        settings["jitter"],
        settings["rate"] or "any",
        settings["queue"],
        loss,
        *(formats.number(link[count]) for count in _COUNTS),
        formats.milliseconds(link["queue_mean_ms"] / 1000),
    ]


def _table(title: str, headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for number, heading in enumerate(headings.split()):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    return table


@app.command("exec", context_settings={"ignore_unknown_options": True})
def exec_(
    where: Annotated[
        str, typer.Argument(metavar="OFFICE|headquarters", help="Where to run the program.")
    ],
    command: Annotated[
        list[str], typer.Argument(metavar="-- CMD …", help="The program and its arguments.")
    ],
    prefix: Prefix = DEFAULT_PREFIX,
) -> None:
    """Run a program on an office's PC or at headquarters, and exit with its exit code."""
    lab = Lab(prefix)
    with lab.inside(
        where
    ):  # join before the power check, so that a later power cut ends the program
        argv, environment = lab.command(where, command)
        try:
            os.execvpe(argv[0], argv, os.environ | environment)  # noqa: S606
        except FileNotFoundError:
            raise UserError("the lab needs the program `ip`: install iproute2") from None


@app.command()
def down(prefix: Prefix = DEFAULT_PREFIX) -> None:
    """Stop the lab and everything in it, and remove what is left of one that crashed."""
    found = take_down(prefix)
    console.print(f"removed {len(found)} parts of the lab" if found else "there was no lab")
