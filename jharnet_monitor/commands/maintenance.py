"""`maintenance`: announce, list and withdraw planned maintenance at the running hub."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich import box
from rich.table import Table

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.operate import local_moment
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console, print_table
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.model import parse_utc
from jharnet_monitor.wire.client import HubClient

console = plain_console()
_KEYS = ("number", "office", "from", "to", "reason", "withdrawn")
"""What the hub says of planned maintenance."""


def maintenance(
    office: Annotated[str | None, typer.Argument(help="Id of the office, or `all`.")] = None,
    begin: Annotated[
        str | None, typer.Option("--from", help="2026-11-25T14:00, district's time")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="2026-11-25T16:00, district's time")
    ] = None,
    reason: Annotated[str, typer.Option(help="Reason for the maintenance.")] = "",
    every: Annotated[bool, typer.Option("--list", help="List what is announced.")] = False,
    withdraw: Annotated[
        int | None, typer.Option("--withdraw", help="Number of maintenance to withdraw.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Announce maintenance: no alerts, and not counted as an outage; measuring goes on.

    What is withdrawn excuses nothing from then on; it stays on record.
    """
    if [office is not None, every, withdraw is not None].count(True) != 1:
        raise UserError("name one OFFICE with --from and --to, or --list, or --withdraw NUMBER")
    loaded = load_config(config)
    zone = ZoneInfo(loaded.district.timezone)
    wanted = None
    if office is not None:
        wanted = _window(loaded, str(config), office, begin, end, reason)
    hub = HubClient.from_config(loaded)
    if wanted is not None:
        announced = hub.object_with(hub.post("/api/v1/maintenance", wanted), *_KEYS)
        _show_one(announced, zone, as_json=as_json)
        return
    if withdraw is not None:
        found = hub.object_with(hub.delete(f"/api/v1/maintenance/{withdraw}"), *_KEYS)
        if as_json:
            print(json.dumps(found, ensure_ascii=False))
        else:
            console.print(f"withdrawn: maintenance {withdraw}; from now on it excuses nothing")
        return
    listed = hub.get("/api/v1/maintenance")
    if not isinstance(listed, list):
        raise hub.unreadable("no list")
    _list([hub.object_with(one, *_KEYS) for one in listed], zone, as_json=as_json)


def _window(
    config: Config, path: str, office: str, begin: str | None, end: str | None, reason: str
) -> dict[str, Any]:
    """The request to the hub; raises `UserError` for values that the hub would refuse."""
    known = [o.id for o in config.offices]
    if office not in ("all", *known):
        raise UserError(f"no office `{office}` in {path}; there are {', '.join(known)}, or `all`")
    if begin is None or end is None:
        raise UserError("maintenance needs --from and --to, such as 2026-11-25T14:00")
    zone = ZoneInfo(config.district.timezone)
    start, stop = local_moment(begin, zone, "--from"), local_moment(end, zone, "--to")
    if start >= stop:
        raise UserError(f"--from {begin} must be before --to {end}")
    if stop <= SystemClock().now():
        raise UserError(f"--to {end} is in the past; announce maintenance before it ends")
    return {
        "office": None if office == "all" else office,
        "from": start.isoformat(),
        "to": stop.isoformat(),
        "reason": reason,
    }


def _show_one(window: dict[str, Any], zone: ZoneInfo, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(window, ensure_ascii=False))
        return
    remark = ""
    if parse_utc(window["from"]) < SystemClock().now():
        remark = "; the time before now does not count as planned maintenance"
    begin, end = (_local(window[key], zone) for key in ("from", "to"))
    office = window["office"] or "all"
    console.print(
        f"planned: {office} from {begin} to {end}{remark} (number {window['number']})",
        soft_wrap=True,
    )


def _list(windows: list[dict[str, Any]], zone: ZoneInfo, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(windows, ensure_ascii=False))
        return
    table = Table("number", "office", "from", "to", "reason", "withdrawn", box=box.SIMPLE)
    for one in windows:
        withdrawn = "" if one["withdrawn"] is None else _local(one["withdrawn"], zone)
        begin, end = (_local(one[key], zone) for key in ("from", "to"))
        table.add_row(
            str(one["number"]), one["office"] or "all", begin, end, one["reason"], withdrawn
        )
    print_table(table)


def _local(text: str, zone: ZoneInfo) -> str:
    moment: datetime = parse_utc(text).astimezone(zone)
    return f"{moment:%Y-%m-%dT%H:%M}"
