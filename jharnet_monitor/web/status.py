"""The content of the status page, derived from the live state; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from jharnet_monitor.config import Office
from jharnet_monitor.i18n.formats import (
    UNKNOWN,
    Formats,
    list_of,
    milliseconds,
    number,
    rate,
    rate_in_unit_of,
    share,
    share_whole,
    with_borderline,
)
from jharnet_monitor.judge.twin.borderline import borderline_grade
from jharnet_monitor.judge.twin.decision import GradedBy
from jharnet_monitor.live import HubStatus, Live, OfficeLive
from jharnet_monitor.model import Direction, Measurement, OfficeState, Outcome
from jharnet_monitor.probes import is_fresh
from jharnet_monitor.web.glance import Glance, glance
from jharnet_monitor.web.past import OfficePast

NO_CONFERENCE_STATES = (
    OfficeState.UNREACHABLE,
    OfficeState.LAN_DOWN,
    OfficeState.UPLINK_DOWN,
    OfficeState.UNKNOWN,
    OfficeState.MONITOR_DOWN,
)
"""In these states the office cannot join a conference, whatever its last test showed."""

GROUPED_FROM = 31
"""From this many offices on, the page lists those in trouble, and all offices by subdivision."""
MOST_IN_TROUBLE = 40
"""The most offices in trouble that such a page lists; the others appear only in their groups."""
BELOW = 2
"""The rank of an office that is connected and whose conference is below the standard."""
FINE = 6
"""The rank from which on nothing is wrong."""

NextTests = Mapping[tuple[str, str], datetime]
"""When each probe runs next, by office and probe."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure in a cell. `note` says when and how it was measured; `breach` which threshold it
    misses, else it is empty; `share` is the length of its bar, 0 to 1, if it has one."""

    text: str
    note: str = ""
    breach: str = ""
    small: str = ""
    share: float | None = None

    @property
    def known(self) -> bool:
        """Whether there is a figure."""
        return self.text != UNKNOWN


@dataclass(frozen=True, slots=True)
class Grade:
    """The conference grade; `level` is 0 to 4, or None if not tested."""

    level: int | None
    figure: Figure
    advice: str = ""
    """What the line can carry, and what would help."""


@dataclass(frozen=True, slots=True)
class OfficeRow:
    """One office as a row or a card."""

    id: str
    name: str
    state: OfficeState
    state_word: str
    state_help: str
    since: str
    for_: str
    agent: str
    grade: Grade
    latency: Figure
    loss: Figure
    download: Figure
    upload: Figure
    seen: Figure
    running: str
    measures: bool
    """Whether the measuring PC is connected, if one is expected; the line may be up without it."""
    next_test: str
    """When the conference is tested next, where it is not tested; else empty."""
    glance: Glance | None

    @property
    def rank(self) -> int:
        """The severity: 0 is the worst; from `FINE` on, nothing is wrong."""
        figures = (self.latency, self.loss, self.download, self.upload)
        wrong = (
            self.state in (OfficeState.UNREACHABLE, OfficeState.UPLINK_DOWN),
            self.state is OfficeState.LAN_DOWN,
            bool(self.grade.figure.breach),
            any(figure.breach for figure in figures),
            not self.measures,
            self.grade.level is None and self.state is not OfficeState.PLANNED,
        )
        return wrong.index(True) if True in wrong else FINE


@dataclass(frozen=True, slots=True)
class Subdivision:
    """The offices of a subdivision, for a page that cannot show all of them."""

    number: int
    name: str
    summary: str
    rows: tuple[OfficeRow, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The page's content. `mood` is `good`, `bad` or `unknown`; `database` says why the database
    takes no rows, else it is empty. `rows` are the worst first."""

    headline: str
    explanation: str
    mood: str
    rows: tuple[OfficeRow, ...]
    database: str = ""
    every: tuple[OfficeRow, ...] = ()
    """All offices in the order of the configuration."""
    groups: tuple[Subdivision, ...] = ()
    """All offices by subdivision, where `rows` holds only those in trouble."""


def status(
    live: Live,
    formats: Formats,
    pasts: Mapping[str, OfficePast] = MappingProxyType({}),
    next_tests: NextTests = MappingProxyType({}),
) -> Status:
    """Build the page's content from the live state, and from what is known of the last week."""
    every = tuple(
        office_row(live, office, formats, pasts.get(office.id), next_tests)
        for office in live.config.offices
    )
    worst_first = tuple(sorted(every, key=lambda row: row.rank))
    database = _database(live.hub, formats)
    headline = _headline(live, every, formats)
    if len(every) < GROUPED_FROM:
        return Status(*headline, worst_first, database, every)
    trouble = tuple(row for row in worst_first if row.rank < FINE)[:MOST_IN_TROUBLE]
    return Status(*headline, trouble, database, every, tuple(_groups(live, every, formats)))


def _groups(live: Live, rows: Sequence[OfficeRow], formats: Formats) -> Iterator[Subdivision]:
    """The offices by subdivision, in the order of the configuration."""
    names: dict[str, list[OfficeRow]] = {}
    for office, row in zip(live.config.offices, rows, strict=True):
        names.setdefault(office.subdivision or formats.words("web.other_blocks"), []).append(row)
    wanted = live.config.thresholds.grade
    for index, (name, members) in enumerate(names.items()):
        ready = sum((row.grade.level or 0) >= wanted for row in members if _is_connected(row))
        yield Subdivision(
            index,
            name,
            formats.words(
                "web.group", total=len(members), ready=ready,
                trouble=sum(row.rank < FINE for row in members),
            ),
            tuple(members),
        )  # fmt: skip


def _is_connected(row: OfficeRow) -> bool:
    return row.state not in NO_CONFERENCE_STATES


def _database(hub: HubStatus, formats: Formats) -> str:
    if not hub.database_failing:
        return ""
    t = formats.words
    why = t(f"web.database.{hub.database_trouble.value}")
    return t("web.database.notice", why=why, n=number(hub.writes_waiting))


def _headline(live: Live, rows: tuple[OfficeRow, ...], formats: Formats) -> tuple[str, str, str]:
    """The headline, its explanation and its mood."""
    t, total = formats.words, len(rows)
    if live.uplink_up is False:
        return t("web.headline.uplink_down"), "", "bad"
    if all(row.state is OfficeState.UNKNOWN for row in rows):
        return t("web.headline.unknown"), "", "unknown"
    wanted = live.config.thresholds.grade
    out = [row for row in rows if row.state in NO_CONFERENCE_STATES]
    connected = [row for row in rows if _is_connected(row)]
    ready = sum((row.grade.level or 0) >= wanted for row in connected)
    counts = {
        "unreachable": sum(row.state is OfficeState.UNREACHABLE for row in out),
        "lan_down": sum(row.state is OfficeState.LAN_DOWN for row in out),
        "untested": sum(row.grade.level is None for row in connected),
    }
    if connected and counts["untested"] == len(connected):
        # Not "0 of 11": nothing is known before a test.
        parts = [t("web.headline.none_tested", up=len(connected), total=total)]
        del counts["untested"]
    else:
        parts = [t("web.headline.ready", ready=ready, total=total)]
    parts += [t(f"web.headline.{name}", n=count) for name, count in counts.items() if count]
    explanation = t(
        "web.ready_means", grade=t(f"grade.{wanted}"), up=len(connected), total=total,
        measuring=sum(row.measures for row in connected),
    )  # fmt: skip
    sentence = t("web.headline.join").join(parts) + t("web.headline.end")
    return sentence, explanation, "good" if ready == total else "bad"


def office_row(
    live: Live,
    office: Office,
    formats: Formats,
    past: OfficePast | None = None,
    next_tests: NextTests = MappingProxyType({}),
) -> OfficeRow:
    """Build the row of one office."""
    state, t = live.offices[office.id], formats.words
    reader = _OfficeFigures(live, office, state, formats)
    grade, due = reader.grade(), next_tests.get((office.id, "conference"))
    return OfficeRow(
        id=office.id,
        name=office.name_in(t.language),
        state=state.state,
        state_word=t(f"state.{state.state}"),
        state_help=t(f"state_help.{state.state}"),
        since=t("web.since", time=formats.moment(state.since)) if state.since else "",
        for_=formats.duration((formats.now - state.since).total_seconds()) if state.since else "",
        agent=_agent(office, state, formats),
        grade=grade,
        latency=reader.latency(),
        loss=reader.loss(),
        download=reader.speed(Direction.DOWN),
        upload=reader.speed(Direction.UP),
        seen=_seen(state.last_seen, formats),
        running=t("web.running", what=list_of((t.get(f"probe.{p}", p) for p in state.running), t))
        if state.running
        else "",
        measures=office.agent is None or state.agent.connected,
        next_test=t("web.next_test", time=formats.moment(due))
        if due is not None and grade.level is None
        else "",
        glance=glance(past, live.config.thresholds.loss, formats) if past is not None else None,
    )


def _agent(office: Office, state: OfficeLive, formats: Formats) -> str:
    if state.agent.connected:
        return formats.words("web.agent.connected")
    if state.agent.signed_off:
        return formats.words("web.agent.goodbye")
    return formats.words("web.agent.absent")


def _seen(last_seen: datetime | None, formats: Formats) -> Figure:
    if last_seen is None:
        return Figure(UNKNOWN, formats.words("unknown"))
    return Figure(formats.age(last_seen), formats.date_and_time(last_seen))


@dataclass(frozen=True, slots=True)
class _OfficeFigures:
    """The figures of one office, from its newest measurements."""

    live: Live
    office: Office
    state: OfficeLive
    formats: Formats

    def latency(self) -> Figure:
        """Median latency of the last minute."""
        measurement, why = self._newest("latency")
        if measurement is None or "rtt_p50_seconds" not in measurement.values:
            return Figure(UNKNOWN, why)
        value, limit = measurement.values["rtt_p50_seconds"], self.live.config.thresholds.rtt
        breach = self.formats.words("web.over_threshold", limit=milliseconds(limit))
        return Figure(milliseconds(value), why, breach if value > limit else "")

    def loss(self) -> Figure:
        """Packet loss of the last minute, with its counts."""
        measurement, why = self._newest("latency")
        if measurement is None or "loss_ratio" not in measurement.values:
            return Figure(UNKNOWN, why)
        values, limit = measurement.values, self.live.config.thresholds.loss
        if {"sent", "received"} <= values.keys():
            counts = {name: int(values[name]) for name in ("sent", "received")}
            why = f"{self.formats.words('web.samples', **counts)}; {why}"
        breach = self.formats.words("web.over_threshold", limit=share(limit))
        value = values["loss_ratio"]
        return Figure(share(value), why, breach if value > limit else "")

    def speed(self, direction: Direction) -> Figure:
        """Delivered speed, compared with the contract."""
        measurement, why = self._newest("bandwidth")
        name = f"{direction.transfer}_bits_per_second"
        if measurement is None or name not in measurement.values:
            return Figure(UNKNOWN, why)
        t, value, link = self.formats.words, measurement.values[name], self.office.link
        why = "; ".join([why, *self._rate_remarks(measurement, direction)])
        if link is None:
            return Figure(rate(value), f"{why}; {t('web.no_contract')}")
        contracted = link.rate(direction)
        wanted = self.live.config.thresholds.delivered
        breach = t("web.under_threshold", limit=share_whole(wanted))
        return Figure(
            rate_in_unit_of(value, contracted),
            why,
            breach if value < wanted * contracted else "",
            t("web.of_contract", rate=rate(contracted)),
            min(1.0, value / contracted),
        )

    def _rate_remarks(self, measurement: Measurement, direction: Direction) -> Iterator[str]:
        """The interval of a rate, and what limited it."""
        t, name = self.formats.words, f"{direction.transfer}_bits_per_second"
        low, high = (measurement.values.get(f"{name}_{end}") for end in ("low", "high"))
        if low is not None and high is not None:
            yield t("web.rate_between", low=rate(low, [high]), high=rate(high, [low]))
        elif low is not None:
            yield t("web.rate_at_least", low=rate(low))
        limit = measurement.conditions.get(f"{direction.transfer}_limited_by")
        if limit is not None:
            yield t("web.rate_limited", what=t.get(f"limited_by.{limit}", str(limit)))

    def grade(self) -> Grade:
        """The conference grade of the newest test, with its age."""
        measurement, why = self._newest("conference")
        t = self.formats.words
        if measurement is None or "grade" not in measurement.values:
            return Grade(None, Figure(t("grade.none"), why))
        level, wanted = int(measurement.values["grade"]), self.live.config.thresholds.grade
        breach = t("web.under_grade", grade=t(f"grade.{wanted}"))
        age = self.formats.age(measurement.started_at)
        text = with_borderline(t(f"grade.{level}"), borderline_grade(measurement.values), t)
        figure = Figure(text, why, breach if level < wanted else "", age)
        return Grade(level, figure, self._advice(measurement))

    def _advice(self, measurement: Measurement) -> str:
        t, conditions = self.formats.words, measurement.conditions
        sentences = [t(f"call.grade.{int(measurement.values['grade'])}")]
        limit, direction = conditions.get("limited_by"), conditions.get("worse_way")
        if f"call.limit.{limit}" in t and f"way.{direction}" in t:
            sentences.append(t(f"call.limit.{limit}", way=t(f"way.{direction}")))
        if conditions.get("graded_by") == GradedBy.TWIN:
            held = t(f"grade.{int(conditions['ladder_grade'])}")
            sentences.append(t("call.graded.twin", held=held))
        return " ".join(filter(None, sentences))

    def _newest(self, key: str) -> tuple[Measurement | None, str]:
        """The newest conclusive and fresh run with its time, or None with the reason."""
        t, formats = self.formats.words, self.formats
        latest, measured = self.state.latest.get(key), self.state.last_conclusive.get(key)
        attempt = ""
        if latest is not None and latest.outcome is Outcome.NO_DATA:
            cause = t.get(f"cause.{latest.cause}", str(latest.cause))
            attempt = t("web.last_attempt", time=formats.moment(latest.started_at), cause=cause)
        if measured is None:
            return None, attempt or t("web.not_measured_yet")
        if not is_fresh(self.live.config, measured, formats.now):
            return None, t("web.outdated", time=formats.date_and_time(measured.started_at))
        when = t("web.measured_at", time=formats.moment(measured.started_at))
        if measured.outcome is Outcome.FAILED:
            when = f"{when}: {t.get(f'cause.{measured.cause}', str(measured.cause))}"
        return measured, f"{when}; {attempt}" if attempt else when
