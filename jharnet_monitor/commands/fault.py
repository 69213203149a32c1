"""`fault`: the ledger of faults reported to the operator, at the running hub."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich import box
from rich.table import Table

from jharnet_monitor.commands.operate import local_moment
from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console, print_table
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.i18n.formats import duration
from jharnet_monitor.i18n.words import words
from jharnet_monitor.model import parse_utc
from jharnet_monitor.wire.client import HubClient, HubRefusal

console = plain_console()

_OPTION_OF = {
    "docket": "--docket", "reported_by": "--by", "reported_to": "--to", "note": "--note",
    "reported_at": "--reported", "restored_at": "--restored", "withdrawn": "--withdraw",
    "stop": "--stop", "stop.reason": "--stop", "from": "--from", "to": "--until",
}  # fmt: skip
"""The option for each key of the hub's API."""
_NOT_OVER = "no measured outage "
"""How the hub's answer begins while the outage lasts whose end it was asked for."""


class Action(StrEnum):
    """What is done to the ledger."""

    LIST = "list"
    ADD = "add"
    UPDATE = "update"
    CLOSE = "close"


def fault(
    office: Annotated[str, typer.Argument(help="Id of the office, or `all` to list.")],
    action: Annotated[Action, typer.Argument(help="What to do.")] = Action.LIST,
    number: Annotated[
        int | None, typer.Argument(help="Number of the fault, for update and close.")
    ] = None,
    docket: Annotated[str | None, typer.Option(help="The operator's number of it.")] = None,
    by: Annotated[str | None, typer.Option(help="Who reported it.")] = None,
    to: Annotated[str | None, typer.Option(help="To whom.")] = None,
    reported: Annotated[
        str | None, typer.Option(help="When: 2026-11-25T14:00; default: now.")
    ] = None,
    restored: Annotated[
        str | None,
        typer.Option(help="When the line was restored; default for close: as measured."),
    ] = None,
    note: Annotated[str | None, typer.Option(help="Anything else, in one line.")] = None,
    stop: Annotated[
        str | None, typer.Option(help="Stop the operator's clock: power or access.")
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", help="From when it stands.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="Until when it stands.")] = None,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="It was booked by mistake and counts nowhere.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Book faults that were reported to the operator, and how they ended; times are the district's.

    Every entry is sealed in the hash chain; nothing is erased.
    """
    loaded = load_config(config)
    known = [one.id for one in loaded.offices]
    if office not in known and not (office == "all" and action is Action.LIST):
        raise UserError(f"no office `{office}` in {config}; there are {', '.join(known)}")
    zone = ZoneInfo(loaded.district.timezone)
    entry: dict[str, Any] = {
        "docket": docket, "reported_by": by, "reported_to": to, "note": note,
        "reported_at": _moment(reported, zone, "--reported"),
        "restored_at": _moment(restored, zone, "--restored"),
        "withdrawn": withdraw or None,
        "stop": _stop(stop, begin, end, zone),
    }  # fmt: skip
    entry = {key: value for key, value in entry.items() if value is not None}
    if action is Action.LIST and entry:
        raise UserError(
            f"{_OPTION_OF[next(iter(entry))]}: a list takes no entry; book it with"
            f" `fault {office} add`, or `fault {office} update NUMBER`"
        )
    hub = HubClient.from_config(loaded)
    if action is Action.LIST:
        found = hub.get("/api/v1/faults" + ("" if office == "all" else f"?office={office}"))
        _show(hub.object_with(found, "faults", "proposed"), zone, as_json=as_json)
        return
    if action is Action.ADD:
        booked = _book(hub, "/api/v1/faults", {"office": office, **entry})
    else:
        if number is None:
            raise UserError(f"which fault of {office}? Such as: fault {office} {action} 2")
        if action is Action.CLOSE:
            entry.setdefault("restored_at", "measured")
        if not entry:
            options = dict.fromkeys(_OPTION_OF.values())  # `stop.reason` has that of `stop`
            raise UserError(f"an update says something: give {', '.join(options)}")
        booked = _book(hub, f"/api/v1/faults/{office}-{number}", entry)
    if as_json:
        print(json.dumps(booked, ensure_ascii=False, indent=2))
    else:
        console.print(f"booked: {booked['id']}", soft_wrap=True)


def _book(hub: HubClient, path: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Book an entry; a refusal is in the words of this command."""
    try:
        return hub.object_with(hub.post(path, entry), "id")
    except HubRefusal as error:
        reason = re.sub(
            r"`([a-z_.]+)`", lambda found: f"`{_OPTION_OF.get(found[1], found[1])}`", error.reason
        )
        if reason.startswith(_NOT_OVER):
            raise TemporaryError(reason) from None
        raise HubRefusal(error.status, reason) from None


def _moment(text: str | None, zone: ZoneInfo, option: str) -> str | None:
    return None if text is None else local_moment(text, zone, option).isoformat()


def _stop(
    reason: str | None, begin: str | None, end: str | None, zone: ZoneInfo
) -> dict[str, Any] | None:
    if reason is None:
        if begin is not None or end is not None:
            raise UserError("--from and --until go with --stop power or --stop access")
        return None
    if begin is None:
        raise UserError(f"--stop {reason}: needs --from, such as 2026-11-25T14:00")
    return {
        "reason": reason,
        "from": _moment(begin, zone, "--from"),
        "to": _moment(end, zone, "--until"),
    }


def _show(found: Mapping[str, Any], zone: ZoneInfo, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("fault", "docket", "reported", "restored", "time", "of", "measured outage"):
        table.add_column(name)
    english = words("en")
    for one in found["faults"]:
        outage = one["outage"] or {"from": None, "to": None}
        times = [_local(outage[end], zone) for end in ("from", "to")]
        table.add_row(
            one["id"], one["docket"], _local(one["reported_at"], zone),
            _local(one["restored_at"], zone) or "open",
            duration(one["seconds_to_restore"], english), duration(one["limit_seconds"], english),
            " – ".join(times) if times[0] else "",
        )  # fmt: skip
    print_table(table)
    for one in found["proposed"]:
        console.print(
            f"not booked: {one['office']}, {one['state']} since {_local(one['began_at'], zone)};"
            f" book it with `fault {one['office']} add`",
            soft_wrap=True,
        )


def _local(moment: str | None, zone: ZoneInfo) -> str:
    if moment is None:
        return ""
    at: datetime = parse_utc(moment).astimezone(zone)
    return f"{at:%d.%m.%Y %H:%M}"
