"""The pages on drills: the cost of one, its start, its progress, and its result for printing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from aiohttp import web

from jharnet_monitor.config import Config
from jharnet_monitor.config.calls import LONGEST_DRILL, SHORTEST_DRILL
from jharnet_monitor.i18n.formats import Formats, moment, rate, size
from jharnet_monitor.judge.conference.drill import (
    BEING_STORED,
    Drill,
    DrillOffice,
    DrillState,
    calling_rounds,
    passed,
    required_grade,
)
from jharnet_monitor.probes.conference.gallery import gallery_seconds
from jharnet_monitor.probes.conference.plan import drill_bytes
from jharnet_monitor.profiles import Profile
from jharnet_monitor.report.sections.drill_texts import (
    by_its_order,
    drill_facts,
    drill_row,
    drill_sentences,
    profile_name,
)
from jharnet_monitor.store.tables import EPOCH
from jharnet_monitor.web import reports
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.pages import Pages, see_other
from jharnet_monitor.web.query import parse_drill, read_form

DEFAULT_MINUTES = 5.0
MOST_LISTED = 200
SHEETS_MINUTES = 5
"""Within this time after a drill its sheets are set: a busy hub's drill may begin late."""
_HEADS = ("block", "joined", "result", "down", "up", "cause")
SIGNATORIES = ("engineer", "manager", "dio")


@dataclass(frozen=True, slots=True)
class DrillCost:
    """The cost of a drill; `warning` is empty if it exceeds no limit."""

    profile: Profile
    minutes: float
    lines: tuple[str, ...]
    warning: str


@dataclass(frozen=True, slots=True)
class DrillLine:
    """A drill in the list."""

    id: str
    at: str
    profile: str
    length: str
    joined: str
    passed: str
    state: str


@dataclass(frozen=True, slots=True)
class DrillPageRow:
    """An office in a drill: its row of the report, and the rates of a running call."""

    name: str
    address: str
    took_part: str
    grade: int | None
    answer: str
    down: tuple[str, ...]
    up: tuple[str, ...]
    cause: str
    live: str
    passed: bool


@dataclass(frozen=True, slots=True)
class DrillView:
    """A drill's page."""

    id: str
    title: str
    running: bool
    state: str
    troubles: tuple[str, ...]
    """Sentences that its result is not stored, not summarised or not on paper, and what to do."""
    share: float | None
    facts: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]
    head: tuple[str, ...]
    rows: tuple[DrillPageRow, ...]
    sheets: tuple[str, ...]
    """Files of its report."""
    heading: str
    method: str
    """How it was held."""


class DrillPages:
    """The handlers of these pages for one hub."""

    def __init__(self, hub: HubApi, access: Access, pages: Pages) -> None:
        self._hub = hub
        self._access = access
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """All routes of these pages."""
        return [
            web.get("/drills", self.drills),
            web.post("/drills", self.start),
            web.get("/drills/{drill}", self.drill),
        ]

    async def drills(self, request: web.Request) -> web.Response:
        """All drills, and what another one would cost."""
        formats, config = self._pages.formats(request), self._hub.config
        soon = formats.now + timedelta(minutes=5)
        known = await self._hub.read(self._hub.store.event_log.drills, EPOCH, soon)
        newest = await self._hub.newest_drill()
        found = {one.id: one for one in known}
        if newest is not None:
            found[newest.id] = newest  # one that runs is not stored yet
        ordered = sorted(found.values(), key=lambda one: one.started_at, reverse=True)
        profile, minutes = _requested(request.query, config.probes.conference.profile)
        return await self._pages.page(
            request,
            "drills.html",
            formats,
            drills=[drill_line_of(one, config, formats) for one in ordered[:MOST_LISTED]],
            cost=drill_cost(config, profile, minutes, formats),
            intro=formats.words(f"web.drills.{_intro(config)}"),
            profiles=list(Profile),
            shortest=SHORTEST_DRILL,
            longest=LONGEST_DRILL,
            running=newest if newest is not None and newest.running else None,
        )

    async def start(self, request: web.Request) -> web.Response:
        """Start a drill from the form; redirect to its page."""
        actor = await self._access.require(request)
        form = await read_form(request)
        profile, minutes = _requested(form, self._hub.config.probes.conference.profile)
        about = {"profile": str(profile), "minutes": minutes}
        await self._access.act(request, actor, "drill", about)
        drill = await self._hub.start_drill(profile, minutes)
        return see_other(request, f"/drills/{drill.id}")

    async def drill(self, request: web.Request) -> web.Response:
        """One drill, as it stands."""
        drill = await self._hub.drill(request.match_info["drill"])
        if drill is None:
            raise Refusal(404, "there is no such drill")
        formats = self._pages.formats(request)
        sheets = await self._hub.read(reports.sheets_of, self._hub.reports_dir, drill.id)
        view = drill_view(drill, self._hub.config, sheets, formats)
        return await self._pages.page(
            request, "drill.html", formats, view=view,
            signatories=[formats.words(f"drill.signatory.{name}") for name in SIGNATORIES],
        )  # fmt: skip


def _intro(config: Config) -> str:
    """The text that says what a drill of all offices tests."""
    at_once = config.probes.drill.at_once
    return "intro" if at_once is None or at_once >= len(config.offices) else "intro_in_turn"


def _requested(form: Mapping[str, object], default: Profile) -> tuple[Profile, float]:
    """Profile and minutes of a form; raises `Refusal`."""
    text = str(form.get("minutes", DEFAULT_MINUTES))
    try:
        minutes: float | str = float(text)
    except ValueError:
        minutes = text
    return parse_drill({"profile": form.get("profile", default), "minutes": minutes}, default)


def drill_cost(config: Config, profile: Profile, minutes: float, formats: Formats) -> DrillCost:
    """What such a drill takes from each line, from headquarters' line and from the day's budget."""
    t, count = formats.words, len(config.offices)
    need = drill_bytes(profile, 60 * minutes, count)
    at_once = min(count, config.probes.drill.at_once or count)
    each = profile.rung.line_rate
    contracted = config.hub.uplink.contracted
    warnings = []
    if need > config.budget:
        warnings.append(t("web.drills.over_budget", need=size(need), budget=size(config.budget)))
    if at_once * each > contracted:
        warnings.append(
            t("web.drills.over_uplink", rate=rate(at_once * each), contracted=rate(contracted))
        )
    length = calling_rounds(count, at_once) * (60 * minutes + gallery_seconds(60 * minutes))
    few = [t("web.drills.cost_in_turn", n=at_once, total=count)] if at_once < count else []
    return DrillCost(
        profile,
        minutes,
        (
            t("web.drills.cost_time", time=formats.duration(length)),
            t("web.drills.cost_office", need=size(need), budget=size(config.budget)),
            t(
                "web.drills.cost_uplink", rate=rate(at_once * each), each=rate(each), n=at_once,
                contracted=rate(contracted),
            ),
            *few,
            t("web.drills.cost_others"),
        ),
        " ".join(warnings),
    )  # fmt: skip


def drill_line_of(drill: Drill, config: Config, formats: Formats) -> DrillLine:
    """A drill in the list."""
    t = formats.words
    required = required_grade(drill.profile, config.thresholds.grade)
    state = "unstored" if _is_unstored(drill) else drill.state.value
    return DrillLine(
        drill.id,
        formats.date_and_time(drill.started_at),
        profile_name(drill, t),
        "" if drill.minutes is None else formats.duration(60 * drill.minutes),
        t("web.drills.of", n=len(drill.joined), total=len(drill.offices)),
        t(
            "web.drills.of", total=len(drill.offices),
            n=sum(passed(office, required) for office in drill.offices),
        ),
        t(f"web.drills.state.{state}"),
    )  # fmt: skip


def _is_unstored(drill: Drill) -> bool:
    """Whether a drill could not be stored; one that has just ended is being stored."""
    return drill.unstored not in (None, BEING_STORED)


def drill_view(
    drill: Drill, config: Config, sheets: tuple[str, ...], formats: Formats
) -> DrillView:
    """A drill's page, from the same texts as its report."""
    t = formats.words
    required = required_grade(drill.profile, config.thresholds.grade)
    done = drill.state is DrillState.DONE
    phase = "" if drill.phase is None else t(f"web.drills.phase.{drill.phase}")
    known = {office.id for office in config.offices}
    return DrillView(
        id=drill.id,
        title=t("drill.at", moment=moment(drill.started_at, formats.zone, t)),
        running=drill.running,
        state="" if done else f"{t(f'web.drills.state.{drill.state}')} {phase}".strip(),
        troubles=tuple(_troubles(drill, sheets, formats)),
        share=_share(drill, formats.now),
        facts=tuple((label, value) for label, value in drill_facts(drill, t)),
        sentences=() if drill.running else tuple(drill_sentences(drill, config, t)),
        head=tuple(t(f"drill.head.{name}") for name in _HEADS),
        rows=tuple(
            _page_row(office, config, required, office.office in known, formats)
            for office in drill.offices
        ),
        sheets=sheets,
        heading=by_its_order("title", drill, t),
        method=by_its_order("method", drill, t),
    )


def _troubles(drill: Drill, sheets: tuple[str, ...], formats: Formats) -> Iterator[str]:
    """What is amiss with a drill that is over. The reasons, in English, are in the hub's log."""
    t = formats.words
    if drill.unsummarised is not None:
        yield t("web.drills.unsummarised")
    if _is_unstored(drill):
        yield t("web.drills.refused" if drill.refused else "web.drills.unstored")
    elif not drill.running and not sheets and formats.now > _sheets_due(drill):
        yield t("web.drills.no_sheets", command=f"jharnet-monitor report drill {drill.id}")


def _sheets_due(drill: Drill) -> datetime:
    """When the sheets of a drill are there, unless something is amiss."""
    return drill.started_at + timedelta(seconds=_length(drill) or 0.0, minutes=SHEETS_MINUTES)


def _length(drill: Drill) -> float | None:
    """Seconds of conference and gallery; None if not known."""
    if drill.minutes is None:
        return None
    return drill.rounds * (60 * drill.minutes + gallery_seconds(60 * drill.minutes))


def _page_row(
    office: DrillOffice, config: Config, required: int, known: bool, formats: Formats
) -> DrillPageRow:
    words = formats.words
    row = drill_row(office, config, words)
    live = ""
    if office.live is not None:
        live = words(
            "web.drills.live", time=formats.duration(office.live.seconds),
            down=rate(office.live.down.bits_per_second),
            up=rate(office.live.up.bits_per_second),
        )  # fmt: skip
    return DrillPageRow(
        name=row["office"],
        address=f"/office/{office.office}" if known else "",
        took_part=words("drill.yes" if office.joined else "drill.no"),
        grade=row["grade"],
        answer=row["answer"] if office.outcome is not None else "",
        down=tuple(row["down"]) if office.outcome is not None else (),
        up=tuple(row["up"]) if office.outcome is not None else (),
        cause=row["cause"],
        live=live,
        passed=passed(office, required),
    )


def _share(drill: Drill, now: datetime) -> float | None:
    """The progress of a running drill, from 0 to 1; None if its length is not known."""
    length = _length(drill)
    if not drill.running or length is None:
        return None
    return max(0.0, min(0.97, (now - drill.started_at).total_seconds() / length))
