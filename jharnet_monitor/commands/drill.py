"""`drill`: a conference with every office at the same time, followed live in a table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live as Display
from rich.table import Table
from rich.text import Text

from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.config import Config
from jharnet_monitor.config.calls import LONGEST_DRILL, SHORTEST_DRILL
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.conference.drill import bears, held, mark
from jharnet_monitor.model import Direction
from jharnet_monitor.profiles import Profile
from jharnet_monitor.wire.client import HubClient

console = Console()
GRADES = ("no conference", "audio only", "low video", "SD", "HD")
_COLOURS = ("red", "red", "yellow", "green", "green")
_PHASES = {"waiting": "waiting for the line", "conference": "conference", "gallery": "gallery"}


def drill(
    profile: Annotated[str, typer.Option(help=f"One of {', '.join(Profile)}.")] = Profile.P720,
    minutes: Annotated[
        float, typer.Option(min=SHORTEST_DRILL, max=LONGEST_DRILL, help="How long.")
    ] = 5.0,
    report: Annotated[
        bool, typer.Option("--report", help="Then write the page to be signed.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Hold a conference with every office at the same time, as the DC does; live table.

    Headquarters sends to all and receives from all; then comes a gallery of small pictures. Exit
    code 1 when an office did not take part, or came below the grade that is asked for.
    """
    loaded = load_config(config)
    try:
        profile = Profile.named(profile)
    except ValueError as error:
        raise UserError(f"--profile: {error}") from None
    hub = HubClient.from_config(loaded)
    state = hub.post("/api/v1/drills", {"profile": profile, "minutes": minutes})
    state = _followed(hub, state, loaded, quiet=as_json)
    if as_json:
        print(json.dumps(state, ensure_ascii=False, indent=2))
    if report:
        from jharnet_monitor.commands.report_drill import drill as write_page  # noqa: PLC0415

        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            write_page(state["id"], config=config)
    wanted = mark(state["profile"], loaded.thresholds.grade)
    raise typer.Exit(0 if all(held(row, wanted) for row in state["offices"]) else 1)


def _followed(
    hub: HubClient, state: dict[str, Any], config: Config, *, quiet: bool
) -> dict[str, Any]:
    """Show the drill until it has ended; gives its last state."""
    with Display(view(state, config), console=console, transient=quiet) as display:
        try:
            while state["state"] == "running":
                time.sleep(1)
                state = hub.get(f"/api/v1/drills/{state['id']}")
                display.update(view(state, config))
        except KeyboardInterrupt:
            display.update(Text(f"The drill goes on at the hub: /api/v1/drills/{state['id']}"))
            raise typer.Exit(130) from None
    return state


def view(state: Mapping[str, Any], config: Config) -> RenderableType:
    """The whole screen: a row an office, and once it is over what there is to say."""
    phase = _PHASES.get(state.get("phase", ""), state["state"])
    table = Table(title=f"Drill {state['id']} · {state['profile']} · {phase}")
    names = {office.id: office.name for office in config.offices}
    for heading in ("office", "to the office", "from the office", "round trip"):
        table.add_column(heading, justify="left" if heading == "office" else "right")
    for heading in ("conference", "gallery", "why"):
        table.add_column(heading)
    for row in state["offices"]:
        table.add_row(names.get(row["office"], row["office"]), *_cells(row, state))
    wanted = mark(state["profile"], config.thresholds.grade)
    return Group(table, *(Text(line) for line in _summary(state, names, wanted)))


def _cells(row: Mapping[str, Any], state: Mapping[str, Any]) -> Iterator[RenderableType]:
    live = row.get("live")
    ways = live or row
    for way in Direction:
        yield _way(ways[way])
    trip = live and live["rtt_seconds"]
    yield formats.milliseconds(trip) if trip else ""
    yield _grade(row, waiting=state.get("phase") in ("waiting", "conference"), live=bool(live))
    yield _gallery(row, state, live=bool(live))
    yield _why(row)


def _gallery(row: Mapping[str, Any], state: Mapping[str, Any], *, live: bool) -> RenderableType:
    """How many of all small pictures came through."""
    result = row["gallery"]
    if result is None or result["pictures"] is None:
        waiting = state.get("phase") == "gallery" and row["joined"]
        return _grade(result or {}, waiting=waiting, live=live)
    came, of = result["pictures"], state["pictures"]
    return Text(f"{came} of {of} pictures", style="green" if came == of else "yellow")


def _why(row: Mapping[str, Any]) -> str:
    """What went wrong, else what kept the call from more."""
    said, cause, limit = words("en"), row["cause"], row["limited_by"]
    if cause:
        return said.get(f"cause.{cause}", cause)
    if limit in (None, "none"):
        return ""
    return f"limited by: {said.get(f'limited_by.{limit}', limit)}"


def _way(figures: Mapping[str, Any]) -> str:
    rate, height = figures.get("bits_per_second"), figures.get("height")
    picture = f"{height:.0f}p " if height else ""
    return "" if rate is None else f"{picture}{formats.rate(rate)}"


def _grade(result: Mapping[str, Any], *, waiting: bool, live: bool) -> RenderableType:
    grade, outcome = result.get("grade"), result.get("outcome")
    if grade is not None:
        number = int(grade)
        return Text(f"{number} {GRADES[number]}", style=_COLOURS[number])
    if outcome is not None:
        return Text(outcome, style="yellow")
    return Text(("talking" if live else "…") if waiting else "", style="dim")


def _summary(state: Mapping[str, Any], names: Mapping[str, str], wanted: int) -> Iterator[str]:
    """Once it is over: who held it, who was absent, and what headquarters' line bore."""
    if state["state"] == "running":
        return
    rows = state["offices"]
    able = sum(held(row, wanted) for row in rows)
    yield f"{able} of {len(rows)} offices held at least {GRADES[wanted]}."
    absent = state["absent"]
    yield (
        "Did not take part: " + ", ".join(names.get(office, office) for office in absent)
        if absent
        else "Every office took part."
    )
    uplink = state["uplink"]
    for way, whom in zip(Direction, ("to all offices", "from all offices"), strict=True):
        yield f"Headquarters' line, {whom} together: {_line(uplink, way)}."
        if uplink[f"{way}_full"] and (back := uplink[f"{way}_held_back"]):
            one = len(back) == 1
            whose = "office whose own line carries" if one else "offices whose own lines carry"
            yield f"  It held back {len(back)} {whose} more."


def _line(uplink: Mapping[str, Any], way: Direction) -> str:
    """What headquarters' line carried at most, and how many such calls it bears."""
    if uplink[f"{way}_calls"] is None:
        return "not known, for no call was held"
    carried = formats.rate(uplink[f"{way}_most_bits_per_second"])
    found = bears(uplink, way)
    if found is None:
        return carried
    key, calls = found
    return f"{carried}; it {words('en')(f'drill.calls.{key}', n=calls)}"
