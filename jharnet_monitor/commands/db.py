"""`jharnet-monitor db …`: migrate, verify, back up and prune the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.progress import track
from rich.text import Text

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.database import open_store
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config.load import load_config
from jharnet_monitor.config.schema import LEAST_RETENTION
from jharnet_monitor.config.sealed_settings import settings_event
from jharnet_monitor.errors import StoreError, UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.probes import PRUNABLE
from jharnet_monitor.standby.save import files_of_the_hub
from jharnet_monitor.store import Store
from jharnet_monitor.store.chain import GENESIS, ChainLink, CheckedLink
from jharnet_monitor.store.packing import PACKED
from jharnet_monitor.store.pruning import OF_THE_DATABASE, SETTINGS, PruningRule
from jharnet_monitor.store.retention import cutoff

app = typer.Typer(
    help="Migrate, verify, back up and prune the database.",
    no_args_is_help=True,
)
console = plain_console(highlight=False)
progress = plain_console(stderr=True)


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
    """Recompute the hash chain over all records, and look for damage: exit code 0 if nothing was
    changed or damaged, else 1."""
    if root is not None and (len(root) != len(GENESIS) or not set(root) <= set("0123456789abcdef")):
        raise UserError(f"--root {root}: must be the 64 hexadecimal digits of a root")
    with open_store(load_config(config, files=False)) as store:
        checked, problems = _checked(store)
    links = [one.link for one in checked]
    matching = [one for one in links if one.root == root]
    if root is not None and not matching:
        problems.append(f"the root {root} is not in the chain")
    pruned, records = _pruned(checked), _sealed(checked)
    if as_json:
        result = {
            "ok": not problems, "hours": len(links), "records": records - pruned.total(),
            "pruned": dict(pruned), "root": links[-1].root if links else None,
            "problems": problems,
        }  # fmt: skip
        console.print_json(data=result)
    else:
        for problem in problems:
            console.print(problem, soft_wrap=True)
        for note in _notes(checked, pruned):
            console.print(note, soft_wrap=True)
        remaining = records - pruned.total()
        console.print(_summary(links, remaining, matching, problems), soft_wrap=True)
    if problems:
        raise typer.Exit(1)


def _checked(store: Store) -> tuple[list[CheckedLink], list[str]]:
    """The recomputed links, and all problems: what is damaged, and what was changed."""
    problems, checked = store.damage(), list[CheckedLink]()
    try:
        checked = _recompute(store)
        problems += [problem for one in checked for problem in one.problems]
        problems += store.chain.strays()
    except StoreError as error:
        problems.append(f"the chain cannot be recomputed: {error}")
    return checked, problems


def _recompute(store: Store) -> list[CheckedLink]:
    rule = PruningRule(PRUNABLE, timedelta(seconds=LEAST_RETENTION))
    total = len(store.chain.links())
    return list(
        track(
            store.chain.check(rule), "recomputing", total, console=progress, transient=True,
            disable=not progress.is_terminal,
        )
    )  # fmt: skip


def _sealed(checked: list[CheckedLink]) -> int:
    """How many records were sealed, without those of a link that cannot be read."""
    return sum(part.records for one in checked for part in one.parts.values())


def _pruned(checked: list[CheckedLink]) -> Counter[str]:
    """How many records of each kind were pruned."""
    found: Counter[str] = Counter()
    for one in checked:
        found.update(one.pruned)
    return found


def _notes(checked: list[CheckedLink], pruned: Counter[str]) -> Iterator[str]:
    """What was pruned, and what of it no event confirms."""
    if not pruned:
        return
    hours = [one for one in checked if one.pruned]
    kinds = ", ".join(f"{formats.number(count)} of {kind}" for kind, count in pruned.items())
    yield (
        f"pruned: {kinds}, in {formats.number(len(hours))} hours"
        f" up to {hours[-1].link.begin:%Y-%m-%d %H:%M} UTC"
    )
    old = sum(bool(one.unsealed) for one in hours)
    if old:
        yield (
            f"{formats.number(old)} of these hours were pruned before prunings were sealed: that"
            " retention did it is not proved"
        )


def _summary(
    links: list[ChainLink], records: int, matching: list[ChainLink], problems: list[str]
) -> Text:
    hours = formats.number(len(links))
    if not links and not problems:
        return Text("no hour is sealed yet; each one is sealed after it ends")
    if problems:
        found = f" {formats.number(len(problems))} problems, {hours} hours"
        return Text.assemble(("changed or damaged:", "red"), found)
    parts = [f"{formats.number(records)} records in {hours} hours are unchanged"]
    if matching:
        parts.append(
            f"the given root is that of the hour from {matching[0].begin:%Y-%m-%d %H:%M} UTC"
        )
    return Text.assemble(("ok:", "green"), f" {'; '.join(parts)}; root {links[-1].root}")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="File to write; an earlier backup is replaced.")],
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Copy the database; the hub may keep running."""
    settings = load_config(config, files=False)
    for own in (config, *files_of_the_hub(settings)):
        if own.resolve() == file.resolve() or (own.exists() and _is_same(own, file)):
            raise UserError(f"{file}: belongs to the hub ({own}); name another file for the backup")
    with open_store(settings) as store:
        store.backup(file)
    console.print(f"{file}: {formats.size(file.stat().st_size)}", soft_wrap=True)


def _is_same(own: Path, file: Path) -> bool:
    """Whether a name that exists leads to the same file, as a hard link does."""
    return file.exists() and own.samefile(file)


@app.command()
def pack(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Pack all sealed hours now, and give the space back to the disk; the hub must not be running.
    It packs by itself, and uses the space for what comes, without this."""
    with open_store(load_config(config, files=False)) as store:
        store.ownership.take()
        before, links = store.size(), store.chain.links()
        total = sum(not link.packed for link in links)
        for _ in track(iter(store.packing.step, False), "packing", total, console=progress,
                       transient=True, disable=not progress.is_terminal):  # fmt: skip
            pass
        store.packing.shrink()
        after, packed = store.size(), sum(link.packed == PACKED for link in store.chain.links())
        hours = packed - sum(link.packed == PACKED for link in links)
    console.print(
        f"{formats.number(hours)} hours packed; {formats.size(before)} before,"
        f" {formats.size(after)} now"
    )


@app.command()
def prune(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Delete the records that are older than `retention:`; the hub does this once a day."""
    settings = load_config(config, files=False)
    zone = ZoneInfo(settings.district.timezone)
    before = cutoff(SystemClock().now(), settings.retention.raw, zone)
    with open_store(settings) as store:
        # Both verifiers hold a pruning to the retention that was sealed before it.
        last = store.event_log.last_event(OF_THE_DATABASE, SETTINGS)
        changed = settings_event(None if last is None else last.data, settings)
        if changed is not None:
            store.event_log.add_event(OF_THE_DATABASE, SETTINGS, SystemClock().now(), changed)
        removed = store.retention.prune(before, zone, PRUNABLE)
    count = formats.number(removed)
    console.print(
        f"deleted {count} records from before {before:%Y-%m-%d}; their daily summaries remain"
    )
