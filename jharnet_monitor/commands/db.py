"""`jharnet-monitor db …`: the database's schema, its hash chain, copies of it, and old rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.progress import track

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.store import Store, StoreError
from jharnet_monitor.store.chain import GENESIS, ChainLink
from jharnet_monitor.store.retention import cutoff

app = typer.Typer(
    help="The database: its schema, the proof that nothing was changed, copies, old rows.",
    no_args_is_help=True,
)
console = Console(highlight=False)
progress = Console(stderr=True)


@app.command()
def migrate(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Bring the database to this program's schema; the hub does so itself when it starts."""
    with _opened(load_config(config, files=False), whole=False) as store:
        console.print(f"schema {store.migrate()}")


@app.command()
def verify(
    config: ConfigFile = DEFAULT_CONFIG,
    root: Annotated[
        str | None, typer.Option(help="A root that someone outside holds: is it in the chain?")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recompute the hash chain over every record: exit 0 if all is as sealed, 1 if not."""
    if root is not None and (len(root) != len(GENESIS) or not set(root) <= set("0123456789abcdef")):
        raise UserError(f"--root {root}: must be the 64 hexadecimal digits of a root")
    with _opened(load_config(config, files=False)) as store:
        links, problems = _recompute(store)
    held = [one for one in links if one.root == root]
    if root is not None and not held:
        problems.append(f"the root {root} is not in the chain")
    records = sum(part.records for one in links for part in one.parts.values())
    if as_json:
        told = {
            "ok": not problems, "hours": len(links), "records": records,
            "root": links[-1].root if links else None, "problems": problems,
        }  # fmt: skip
        console.print_json(data=told)
    else:
        for problem in problems:
            console.print(problem, soft_wrap=True, markup=False)
        console.print(_in_words(links, records, held, problems), soft_wrap=True)
    if problems:
        raise typer.Exit(1)


def _recompute(store: Store) -> tuple[list[ChainLink], list[str]]:
    links: list[ChainLink] = []
    problems: list[str] = []
    total = len(store.chain.links())
    for one, found in track(
        store.chain.check(), "recomputing", total, console=progress, transient=True
    ):
        links.append(one)
        problems += found
    return links, problems


def _in_words(
    links: list[ChainLink], records: int, held: list[ChainLink], problems: list[str]
) -> str:
    if not links:
        return "nothing is sealed yet: the first hour is sealed when it is over"
    if problems:
        return f"[red]changed:[/] {len(problems)} findings in {len(links)} hours"
    pruned = sum(bool(one.pruned) for one in links)
    words = [f"{records} records in {len(links)} hours are as they were sealed"]
    if pruned:
        words.append(f"{pruned} hours have pruned parts")
    if held:
        words.append(f"the given root was the chain's at {held[0].begin:%Y-%m-%d %H:%M} UTC + 1 h")
    return f"[green]ok:[/] {'; '.join(words)}; root {links[-1].root}"


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy goes; replaced when it is there.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Copy the database while the hub goes on writing into it."""
    with _opened(load_config(config, files=False)) as store:
        store.backup(file)
    console.print(f"{file}: {file.stat().st_size / 1e6:.1f} MB", soft_wrap=True)


@app.command()
def prune(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Take out what `retention:` no longer keeps; the hub does so itself every night."""
    settings = load_config(config, files=False)
    zone = ZoneInfo(settings.district.timezone)
    before = cutoff(SystemClock().now(), settings.retention.raw, zone)
    with _opened(settings) as store:
        removed = store.retention.prune(before, zone)
    console.print(f"{removed} records from before {before:%Y-%m-%d} are gone; their days remain")


@contextmanager
def _opened(config: Config, *, whole: bool = True) -> Iterator[Store]:
    """The store; `whole` when its schema must be there already."""
    store = Store(config.hub.database, SystemClock())
    try:
        if whole:
            store.require_schema()
        yield store
    except StoreError as error:
        raise UserError(f"hub.database: {config.hub.database}: {error}") from error
    finally:
        store.close()
