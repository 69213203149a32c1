"""Commands for a running hub: `probe`, `reload`."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.result import render
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.probes import PROBES
from jharnet_monitor.wire.client import HubClient

console = plain_console()
_progress = plain_console(stderr=True)
_MEASUREMENT = ("office", "probe", "outcome", "cause", "values", "conditions")
"""What of a measurement is shown."""

_OPTIONS = "KEY=VALUE, as often as needed: " + "; ".join(
    f"{name}: {', '.join(one.options.model_fields)}"
    for name, one in PROBES.items()
    if one.options.model_fields
)


def probe(
    name: Annotated[str, typer.Argument(metavar="PROBE", help=f"{', '.join(PROBES)}")],
    office: Annotated[str, typer.Argument(help="Id of the office.")],
    option: Annotated[list[str] | None, typer.Option("--option", "-o", help=_OPTIONS)] = None,
    path: Annotated[str | None, typer.Option(help="The same as -o path=…, for bandwidth.")] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Run one probe on one office now; exit code 1 if its outcome is not ok."""
    if name not in PROBES:
        raise UserError(f"no probe `{name}`; there are {', '.join(PROBES)}")
    given = _parse_options(option or [])
    options = PROBES[name].parse_options(given if path is None else {**given, "path": path})
    loaded = load_config(config)
    if office not in {o.id for o in loaded.offices}:
        known = ", ".join(o.id for o in loaded.offices)
        raise UserError(f"no office `{office}` in {config}; there are {known}")
    hub = HubClient.from_config(loaded)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=_progress, transient=True, disable=not _progress.is_terminal,
    ) as progress:  # fmt: skip
        progress.add_task(f"running {name} on {office}, once its turn comes …")
        answer = hub.post(f"/api/v1/offices/{office}/probes/{name}", options)
    result = hub.object_with(answer, *_MEASUREMENT)
    if as_json:
        print(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        console.print(render(result))
    raise typer.Exit(0 if result["outcome"] == "ok" else 1)


def _parse_options(given: list[str]) -> dict[str, object]:
    """The options of a probe from `KEY=VALUE`; a value that is a number is read as one."""
    options: dict[str, object] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise UserError(f"--option {one}: must be KEY=VALUE, such as seconds=10")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def reload(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Make the running hub reload its configuration; an invalid one is refused."""
    loaded = load_config(config)
    hub = HubClient.from_config(loaded)
    hub.object_with(hub.post("/-/reload"), "reloaded")
    console.print(f"reloaded: {len(loaded.offices)} offices")


def local_moment(text: str, zone: ZoneInfo, option: str) -> datetime:
    """A time that was given to an option, in the district's zone unless it names its own."""
    try:
        if not re.search(r"\d[T ]\d", text):
            raise ValueError("a date without a time")
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{option} {text}: must be a time such as 2026-11-25T14:00") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)
