"""`drill`: a conference with every office at the same time, followed live in a table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.live import Live as Display
from rich.table import Table
from rich.text import Text

from jharnet_monitor.commands.options import DEFAULT_CONFIG, AsJson, ConfigFile
from jharnet_monitor.commands.terminal import plain_console
from jharnet_monitor.config import Config
from jharnet_monitor.config.calls import LONGEST_DRILL, SHORTEST_DRILL
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import words
from jharnet_monitor.judge.conference.drill import (
    BEING_STORED,
    Drill,
    DrillDirection,
    DrillGallery,
    DrillOffice,
    DrillPhase,
    LiveCallDirection,
    UplinkDirection,
    passed,
    required_grade,
    supported_calls,
)
from jharnet_monitor.model import Outcome
from jharnet_monitor.profiles import Profile
from jharnet_monitor.wire.client import HubClient

console = plain_console()
GRADES = ("no conference", "audio only", "low video", "SD", "HD")
WIDE = 100
"""Columns that the whole table takes."""
_COLOURS = ("red", "red", "yellow", "green", "green")
_PHASES = {
    DrillPhase.WAITING: "waiting for the line",
    DrillPhase.CONFERENCE: "conference",
    DrillPhase.GALLERY: "gallery",
}


def drill(
    profile: Annotated[str, typer.Option(help=f"One of {', '.join(Profile)}.")] = Profile.P720,
    minutes: Annotated[
        float, typer.Option(min=SHORTEST_DRILL, max=LONGEST_DRILL, help="Duration in minutes.")
    ] = 5.0,
    report: Annotated[
        bool, typer.Option("--report", help="Then write the page to be signed.")
    ] = False,
    config: ConfigFile = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Hold a conference with every office at the same time, as the DC does; live table.

    Headquarters sends to all and receives from all; then comes a gallery of small pictures. Exit
    code 1 when an office did not take part or did not reach the required grade.
    """
    loaded = load_config(config)
    try:
        profile = Profile.named(profile)
    except ValueError as error:
        raise UserError(f"--profile: {error}") from None
    hub = HubClient.from_config(loaded)
    started = _drill_of(hub, hub.post("/api/v1/drills", {"profile": profile, "minutes": minutes}))
    ended = _followed(hub, started, loaded, quiet=as_json)
    if as_json:
        print(json.dumps(ended.to_json(), ensure_ascii=False, indent=2))
    if report:
        from jharnet_monitor.commands.report_drill import drill as write_page  # noqa: PLC0415

        with redirect_stdout(sys.stderr if as_json else sys.stdout):
            write_page(ended.id, config=config)
    required = required_grade(ended.profile, loaded.thresholds.grade)
    raise typer.Exit(0 if all(passed(office, required) for office in ended.offices) else 1)


def _drill_of(hub: HubClient, answer: Any) -> Drill:
    """The drill in the hub's answer; raises `TemporaryError` where there is none."""
    try:
        return Drill.from_json(answer)
    except ValueError as error:
        raise hub.unreadable(str(error)) from error


def _followed(hub: HubClient, drill: Drill, config: Config, *, quiet: bool) -> Drill:
    """Show the drill until it is over; gives it as it then stands."""
    narrow = console.width < WIDE
    with Display(view(drill, config, narrow=narrow), console=console, transient=quiet) as display:
        try:
            while drill.running or drill.unstored == BEING_STORED:
                time.sleep(1)
                drill = _drill_of(hub, hub.get(f"/api/v1/drills/{drill.id}"))
                display.update(view(drill, config, narrow=narrow))
        except KeyboardInterrupt:
            display.update(Text(f"The drill continues on the hub: /api/v1/drills/{drill.id}"))
            raise typer.Exit(130) from None
    return drill


def view(drill: Drill, config: Config, *, narrow: bool = False) -> RenderableType:
    """The whole screen: a row an office, and a summary once the drill is over.

    On a narrow screen a row is one line, so that eleven offices fit a terminal of 80 by 24.
    """
    phase = drill.state if drill.phase is None else _PHASES[drill.phase]
    table = Table(title=f"Drill {drill.id} · {drill.profile} · {phase}")
    names = {office.id: office.name for office in config.offices}
    if narrow:
        return _narrow(drill, table, names, config)
    for heading in ("office", "to the office", "from the office", "round trip"):
        table.add_column(heading, justify="left" if heading == "office" else "right")
    for heading in ("conference", "gallery", "why"):
        table.add_column(heading)
    for office in drill.offices:
        table.add_row(names.get(office.office, office.office), *_cells(office, drill))
    required = required_grade(drill.profile, config.thresholds.grade)
    return Group(table, *(Text(line) for line in _summary(drill, names, required)))


def _narrow(drill: Drill, table: Table, names: Mapping[str, str], config: Config) -> RenderableType:
    """The office, its grade or the rates of its call, and why. While the drill runs, the last is
    cut to one line; once it is over, nothing is cut."""
    table.box = box.SIMPLE
    for heading in ("office", "conference"):
        table.add_column(heading, no_wrap=True)
    table.add_column("why")  # the only one that gives way
    for office in drill.offices:
        down, up, _, grade, _, why = _cells(office, drill)
        shown = f"↓ {down}  ↑ {up}" if office.live is not None else grade
        cause = Text(
            str(why), no_wrap=drill.running, overflow="ellipsis" if drill.running else "fold"
        )
        table.add_row(names.get(office.office, office.office), shown, cause)
    required = required_grade(drill.profile, config.thresholds.grade)
    return Group(table, *(Text(line) for line in _summary(drill, names, required)))


def _cells(office: DrillOffice, drill: Drill) -> Iterator[RenderableType]:
    live = office.live
    sides = (office.down, office.up) if live is None else (live.down, live.up)
    for side in sides:
        yield _direction(side)
    rtt = None if live is None else live.rtt_seconds
    yield formats.milliseconds(rtt) if rtt else ""
    talking = drill.phase in (DrillPhase.WAITING, DrillPhase.CONFERENCE)
    shown = _grade(office.grade, office.outcome, waiting=talking, live=live is not None)
    shown.plain = formats.with_borderline(shown.plain, office.borderline, words("en"))
    yield shown
    yield _gallery(office, drill)
    yield _why(office)


def _gallery(office: DrillOffice, drill: Drill) -> RenderableType:
    """How many of all small pictures arrived."""
    result = office.gallery or DrillGallery()
    if result.pictures is None:
        waiting = drill.phase is DrillPhase.GALLERY and office.joined
        return _grade(None, result.outcome, waiting=waiting, live=office.live is not None)
    style = "green" if result.pictures == drill.pictures else "yellow"
    return Text(f"{result.pictures} of {drill.pictures} pictures", style=style)


def _why(office: DrillOffice) -> str:
    """What went wrong, else what kept the call from more."""
    english, cause, limit = words("en"), office.cause, office.limited_by
    if cause:
        return english.get(f"cause.{cause}", cause)
    if limit is None or limit == "none":
        return ""
    return f"limited by: {english.get(f'limited_by.{limit}', limit)}"


def _direction(side: DrillDirection | LiveCallDirection) -> str:
    rate, height = side.bits_per_second, side.height
    picture = f"{height:.0f}p " if height else ""
    return "" if rate is None else f"{picture}{formats.rate(rate)}"


def _grade(grade: float | None, outcome: Outcome | None, *, waiting: bool, live: bool) -> Text:
    if grade is not None:
        number = int(grade)
        return Text(f"{number} {GRADES[number]}", style=_COLOURS[number])
    if outcome is not None:
        return Text(words("en")(f"outcome.{outcome}"), style="yellow")
    return Text(("talking" if live else "…") if waiting else "", style="dim")


def _summary(drill: Drill, names: Mapping[str, str], required: int) -> Iterator[str]:
    """Once it is over: who passed, who was absent, and what headquarters' line carried."""
    if drill.running:
        return
    if drill.unstored is not None:
        advice = (
            f"Print its page before the hub is restarted: /drills/{drill.id}"
            if drill.refused
            else "The hub tries again every minute."
        )
        yield f"The result is not stored: {drill.unstored}. {advice}"
    if drill.unsummarised is not None:
        yield f"It could not be summed up, the offices' results stand: {drill.unsummarised}"
    able = sum(passed(office, required) for office in drill.offices)
    yield f"{able} of {len(drill.offices)} offices held at least {GRADES[required]}."
    absent = [office.office for office in drill.offices if not office.joined]
    yield (
        "Did not take part: " + ", ".join(names.get(office, office) for office in absent)
        if absent
        else "Every office took part."
    )
    if drill.at_once is not None:
        yield words("en")("drill.at_once", n=drill.at_once, total=len(drill.offices))
        return
    uplink = drill.uplink
    for side, whom in ((uplink.down, "to all offices"), (uplink.up, "from all offices")):
        yield f"Headquarters' line, {whom} together: {_line(side)}."
        if side is not None and side.full and side.held_back:
            one = len(side.held_back) == 1
            whose = "office whose own line carries" if one else "offices whose own lines carry"
            yield f"  It held back {len(side.held_back)} {whose} more."


def _line(side: UplinkDirection | None) -> str:
    """The peak rate of headquarters' line in one direction, and how many such calls it supports."""
    if side is None or side.supported_calls is None or side.peak_rate is None:
        return "not known, for no call was held"
    peak = formats.rate(side.peak_rate)
    found = supported_calls(side)
    if found is None:
        return peak
    return f"{peak}; it {words('en')(f'drill.calls.{found.bound}', n=found.calls)}"
