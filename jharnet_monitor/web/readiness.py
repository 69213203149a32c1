"""Whether an office is ready for the conference that is planned next, and what its check of camera,
microphone and loudspeaker found. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from jharnet_monitor.config import Office
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.judge.calendar.hours import conference_near
from jharnet_monitor.live import AgentLive, Live
from jharnet_monitor.model import OfficeState
from jharnet_monitor.web.status import NO_CONFERENCE_STATES, OfficeRow
from jharnet_monitor.wire.device_check import DEVICE_FINDINGS, FINE
from jharnet_monitor.wire.intake import PROGRAM

AHEAD = timedelta(minutes=30)
"""How long before a planned conference the pages say whether the office is ready."""
CHECK_HOLDS = timedelta(hours=12)
"""For how long a check of the devices counts: one in the morning holds until the evening."""
_AT_HEADQUARTERS = (OfficeState.UPLINK_DOWN, OfficeState.MONITOR_DOWN)
"""States in which nobody at the office has to act."""


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """What was found on one device; `remedy` is empty where nothing has to be done."""

    device: str
    finding: str
    remedy: str
    fine: bool


@dataclass(frozen=True, slots=True)
class CheckView:
    """The newest check of an office's devices."""

    at: str
    lines: tuple[DeviceLine, ...]


@dataclass(frozen=True, slots=True)
class ConferenceReadiness:
    """Whether an office is ready for a planned conference; `steps` is what to do if it is not."""

    ready: bool
    word: str
    conference: str
    steps: tuple[str, ...]


def check_view(agent: AgentLive, formats: Formats) -> CheckView | None:
    """The newest check in words; None if there was none."""
    if agent.check is None:
        return None
    at = formats.date_and_time(agent.check.at)
    return CheckView(at, tuple(_lines(agent, formats)))


def _lines(agent: AgentLive, formats: Formats) -> Iterator[DeviceLine]:
    t, found = formats.words, {} if agent.check is None else agent.check.findings
    for device, known in DEVICE_FINDINGS.items():
        finding = found.get(device)
        if finding not in known or finding == "not_tried":
            continue
        phrase = f"join.check.{device}.{finding}"
        yield DeviceLine(
            t(f"join.check.{device}.name"),
            t(f"{phrase}.says"),
            t.get(f"{phrase}.do", ""),
            finding in FINE,
        )


def readiness(
    live: Live, office: Office, row: OfficeRow, formats: Formats
) -> ConferenceReadiness | None:
    """Whether the office is ready; None unless a conference is planned within `AHEAD` or held now.

    `row` is the office's line on the status page.
    """
    conference = conference_near(live.config.district, formats.now, AHEAD)
    if conference is None:
        return None
    t, (begin, end) = formats.words, conference
    steps = tuple(_steps(live.offices[office.id].agent, office, row, formats))
    return ConferenceReadiness(
        not steps,
        t("web.readiness.no" if steps else "web.readiness.yes"),
        t("web.readiness.conference", begin=f"{begin:%H:%M}", end=f"{end:%H:%M}"),
        steps,
    )


def _steps(agent: AgentLive, office: Office, row: OfficeRow, formats: Formats) -> Iterator[str]:
    """What has to be done, the most urgent first."""
    t = formats.words
    if row.state in NO_CONFERENCE_STATES and row.state is not OfficeState.UNKNOWN:
        where = "headquarters" if row.state in _AT_HEADQUARTERS else "line"
        yield t(f"web.readiness.{where}", state=row.state_word)
        return
    if not row.measures:
        yield t("web.readiness.open_page")
    if row.grade.level is None:
        yield t("web.readiness.test")
    elif row.grade.figure.breach:
        words = t("web.readiness.grade", grade=row.grade.figure.text, advice=row.grade.advice)
        yield words.strip()
    if agent.kind == PROGRAM or office.agent is None:
        return  # the page, which alone can check devices, is not used here
    if agent.check is None or formats.now - agent.check.at > CHECK_HOLDS:
        yield t("web.readiness.check")
        return
    for line in _lines(agent, formats):
        if not line.fine:
            yield f"{line.device}: {line.finding} {line.remedy}"
