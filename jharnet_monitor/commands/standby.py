"""`jharnet-monitor standby …`: back the hub up as a whole, and restore it on another machine."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.i18n import formats

app = typer.Typer(
    help="Back up the whole hub, and restore it on another machine.", no_args_is_help=True
)
console = Console(highlight=False)
progress = Console(stderr=True, highlight=False)


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
        typer.Option(help="Directory for the configuration; default: where it was."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Set aside what is there already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a hub in place from its backup, after recomputing the hash chain over all records."""
    from jharnet_monitor.standby.restore import Restore  # noqa: PLC0415

    began = time.monotonic()
    with progress.status("reading …") as status:
        done = Restore(
            backup, into, replace=replace, say=lambda text: status.update(f"{text} …")
        ).run()
    seconds = time.monotonic() - began
    if as_json:
        result = {
            "config": str(done.config), "made_at": done.manifest.made_at,
            "machine": done.manifest.machine, "hours": done.hours, "records": done.records,
            "seconds": round(seconds, 1),
        }  # fmt: skip
        print(json.dumps(result, ensure_ascii=False))
        return
    console.print(
        f"[green]restored:[/] {done.config}, as it was on {done.manifest.made:%Y-%m-%d %H:%M} UTC;"
        f" {formats.number(done.records)} records in {formats.number(done.hours)} hours are"
        f" unchanged ({seconds:.0f} s)",
        soft_wrap=True,
    )
    console.print(
        "Now make sure that the old hub is off, give its name or address to this machine, and start"
        " the hub here. Agents hand in what they kept.",
        soft_wrap=True,
    )
