"""`jharnet-monitor standby …`: back the hub up as a whole, and restore it on another machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.errors import as_one_line
from jharnet_monitor.i18n import formats

if TYPE_CHECKING:
    from jharnet_monitor.standby.restore import Restored

app = typer.Typer(
    help="Back up the whole hub, and restore it on another machine.", no_args_is_help=True
)
console = plain_console(highlight=False)
progress = plain_console(stderr=True, highlight=False)


@app.command()
def backup(
    directory: Annotated[Path, typer.Argument(help="Directory in which a new folder is made.")],
    keep: Annotated[int, typer.Option(min=1, help="Backups that stay in the directory.")] = 3,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Save database, configuration, secrets, certificates and papers; the hub may keep running."""
    from jharnet_monitor.standby.save import save  # noqa: PLC0415

    with progress.status("copying …"):
        made = save(config, directory, keep)
    size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
    console.print(f"{made}: {formats.size(size)}", soft_wrap=True)


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="Folder that `standby backup` or the hub made.")],
    into: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the restored hub; default: that of `--config`, if the backup was"
            " made there."
        ),
    ] = None,
    database_in: Annotated[
        Path | None,
        typer.Option(help="Directory outside of `--into` in which the database may be."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Set aside what is there already.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Put a hub in place from its backup, after recomputing the hash chain over all records."""
    from jharnet_monitor.standby.restore import Restore, usual_target  # noqa: PLC0415

    began = time.monotonic()
    with progress.status("reading …") as status:
        done = Restore(
            backup, into or usual_target(backup, config), database_in=database_in,
            replace=replace, say=lambda text: status.update(f"{text} …"),
        ).run()  # fmt: skip
    seconds = time.monotonic() - began
    if as_json:
        _print_json(done, seconds)
        return
    console.print(Text("restored:", "green"), end=" ")
    _print_line(
        f"{done.config}, as it was on {done.manifest.made:%Y-%m-%d %H:%M} UTC;"
        f" {formats.number(done.records)} records in {formats.number(done.hours)} hours are"
        f" unchanged ({seconds:.0f} s)"
    )
    for notice in done.notices:
        _print_line(notice)
    _print_elsewhere(done)
    _print_line(
        "Now make sure that the old hub is off, give its name or address to this machine, and start"
        " the hub here. Agents hand in what they kept."
    )


def _print_json(done: Restored, seconds: float) -> None:
    result = {
        "config": str(done.config), "made_at": done.manifest.made_at,
        "machine": done.manifest.machine, "hours": done.hours, "records": done.records,
        "seconds": round(seconds, 1),
        "elsewhere": [
            {"file": str(one.file), "original": str(one.original), "exists": one.exists}
            for one in done.elsewhere
        ],
        "notices": list(done.notices),
    }  # fmt: skip
    print(json.dumps(result, ensure_ascii=False))


def _print_elsewhere(done: Restored) -> None:
    """List the files that a person has to copy, and say how."""
    if not done.elsewhere:
        return
    _print_line(
        "These files were outside of the hub's directory. They were not put back there, because"
        " a backup is not signed:"
    )
    for one in done.elsewhere:
        presence = "exists on this machine" if one.exists else "is missing on this machine"
        _print_line(f"  {one.original} ({presence}): {one.file}")
    _print_line(
        "Look at each one that is missing, and copy it by `cp -p`, which keeps its owner; the"
        " configuration names these paths, and a file that it names must be there before the hub"
        " starts."
    )


def _print_line(text: str) -> None:
    """Print a line that may hold a file name of a backup."""
    console.print(as_one_line(text), soft_wrap=True)
