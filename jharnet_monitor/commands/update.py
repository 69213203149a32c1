"""`update`: publish a version for the agents, offer it to them, and see how far it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.table import Table

from jharnet_monitor.commands.acts import record_act
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.handover.releases import Releases
from jharnet_monitor.i18n.formats import moment
from jharnet_monitor.i18n.words import words
from jharnet_monitor.model import parse_utc
from jharnet_monitor.wire.client import HubClient

app = typer.Typer(no_args_is_help=True, help="Bring new versions to the agents over JharNet.")
console = plain_console()
_STATUS = ("releases", "offered", "offices")
"""What the hub says of updates."""


@app.command()
def publish(
    bundle: Annotated[Path, typer.Argument(help="What `jharnet-monitor bundle` made.")],
    fingerprint: Annotated[
        str | None, typer.Option(help="As `bundle` printed it; needed the first time.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Check a bundle's signature and keep the agent's version in it; nobody gets it yet.

    A bundle with a lower serial than a published one is refused, as agents would refuse it.
    """
    settings = load_config(config, files=False)
    if not bundle.is_file():
        raise UserError(f"{bundle}: there is no such file")
    release = Releases(settings.updates.directory).publish(bundle, fingerprint)
    about = {"version": release.version, "serial": release.serial}
    record_act(settings, "release published", about)
    size = sum(wheel.size for wheel in release.wheels.values()) / 1e6
    print(
        f"{release.version} is published, for Python {', '.join(release.pythons)} ({size:.0f} MB)"
    )
    print(f"next: jharnet-monitor update offer {release.version}")


@app.command()
def offer(
    version: Annotated[str, typer.Argument(help="The version of a published release.")],
    office: Annotated[
        list[str] | None, typer.Argument(help="Offices; without any, all of them in stages.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Offer a version to the agents: first to `updates.first`, and after `updates.soak` to all.

    One agent that goes back or refuses halts the others; offer again once you know why. The others
    wait until each of the first was connected with the version after that. An office for whose
    machine it is not made is `unable`, and the next one is first in its place.
    """
    body = {"version": version, "offices": office or None}
    loaded = load_config(config)
    hub = HubClient.from_config(loaded)
    _show(hub.object_with(hub.post("/api/v1/updates", body), *_STATUS), loaded)


@app.command()
def withdraw(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Offer no version any more; what is installed stays."""
    hub = HubClient.from_config(load_config(config))
    hub.object_with(hub.post("/api/v1/updates", {"version": None}), *_STATUS)
    print("no version is offered")


@app.command()
def status(config: ConfigFile = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show what is published and offered, how each office stands, and what an office waits for.

    The last line is the release key, as agents enrolled by hand need it in `agent.yaml`. Exit code
    1 if an office refused the offered version or went back.
    """
    loaded = load_config(config)
    hub = HubClient.from_config(loaded)
    found = hub.object_with(hub.get("/api/v1/updates"), *_STATUS)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _show(found, loaded)
        if key := found.get("release_key"):
            print(f"line for the agent.yaml of agents enrolled by hand:\nrelease_key: {key}")
    raise typer.Exit(1 if found["offered"] and found["offered"]["halted"] else 0)


def _show(found: dict[str, Any], config: Config) -> None:
    offered = found["offered"]
    title = "no version is offered"
    if offered:
        halted = ", halted" if offered["halted"] else ""
        zone = ZoneInfo(config.district.timezone)
        began = moment(parse_utc(offered["began"]), zone, words("en"))
        title = f"{offered['version']} is offered since {began}{halted}"
    table = Table("office", "version", "update", "why", title=title)
    for one in found["offices"]:
        texts = (one["office"], one["version"], one["state"], one["why"])
        table.add_row(*(text or "" for text in texts))
    console.print(table)
    versions = ", ".join(one["version"] for one in found["releases"]) or "none"
    console.print(f"published: {versions}", highlight=False)
