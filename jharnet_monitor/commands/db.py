"""`jharnet-monitor db …`: migrate, verify, back up and prune the database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import track

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.database import open_store
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.probes import KEPT
from jharnet_monitor.store import Store
from jharnet_monitor.store.chain import GENESIS, ChainLink
from jharnet_monitor.store.retention import cutoff

app = typer.Typer(
    help="Migrate, verify, back up and prune the database.",
    no_args_is_help=True,
)
console = Console(highlight=False)
progress = Console(stderr=True)


@app.command()
def migrate(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Update the database to this version's schema; the hub does this when it starts."""
    with open_store(load_config(config, files=False), current_schema=False) as store:
        console.print(f"schema {store.migrate()}")


@app.command()
def verify(
    config: ConfigFile = DEFAULT_CONFIG,
    root: Annotated[
        str | None, typer.Option(help="Also check that this root hash is in the chain.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the hash chain over all records: exit code 0 if nothing was changed, else 1."""
    if root is not None and (len(root) != len(GENESIS) or not set(root) <= set("0123456789abcdef")):
        raise UserError(f"--root {root}: must be the 64 hexadecimal digits of a root")
    with open_store(load_config(config, files=False)) as store:
        links, problems = _recompute(store)
    matching = [link for link in links if link.root == root]
    if root is not None and not matching:
        problems.append(f"the root {root} is not in the chain")
    records = sum(part.records for link in links for part in link.parts.values())
    if as_json:
        result = {
            "ok": not problems, "hours": len(links), "records": records,
            "root": links[-1].root if links else None, "problems": problems,
        }  # fmt: skip
        console.print_json(data=result)
    else:
        for problem in problems:
            console.print(problem, soft_wrap=True, markup=False)
        console.print(_summary(links, records, matching, problems), soft_wrap=True)
    if problems:
        raise typer.Exit(1)


def _recompute(store: Store) -> tuple[list[ChainLink], list[str]]:
    links: list[ChainLink] = []
    problems: list[str] = []
    total = len(store.chain.links())
    for link, found in track(
        store.chain.check(), "recomputing", total, console=progress, transient=True
    ):
        links.append(link)
        problems += found
    return links, problems


def _summary(
    links: list[ChainLink], records: int, matching: list[ChainLink], problems: list[str]
) -> str:
    if not links:
        return "no hour is sealed yet; each one is sealed after it ends"
    hours = formats.number(len(links))
    if problems:
        return f"[red]changed:[/] {formats.number(len(problems))} problems in {hours} hours"
    pruned = sum(bool(link.pruned) for link in links)
    parts = [f"{formats.number(records)} records in {hours} hours are unchanged"]
    if pruned:
        parts.append(f"{formats.number(pruned)} hours were partly pruned")
    if matching:
        parts.append(
            f"the given root is that of the hour from {matching[0].begin:%Y-%m-%d %H:%M} UTC"
        )
    return f"[green]ok:[/] {'; '.join(parts)}; root {links[-1].root}"


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to write; an existing one is replaced.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Copy the database; the hub may keep running."""
    with open_store(load_config(config, files=False)) as store:
        store.backup(file)
    console.print(f"{file}: {formats.size(file.stat().st_size)}", soft_wrap=True)


@app.command()
def prune(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Delete the records that are older than `retention:`; the hub does this every night."""
    settings = load_config(config, files=False)
    zone = ZoneInfo(settings.district.timezone)
    before = cutoff(SystemClock().now(), settings.retention.raw, zone)
    with open_store(settings) as store:
        removed = store.retention.prune(before, zone, KEPT)
    count = formats.number(removed)
    console.print(
        f"deleted {count} records from before {before:%Y-%m-%d}; their daily summaries remain"
    )
