"""What is wrong at an office now, since when, the likely cause, and what to try. Pure.

Each kind of trouble has its phrases `web.trouble.KIND.…` and its entry in the runbook.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from jharnet_monitor.config import Config
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.model import Direction, OfficeState
from jharnet_monitor.web.plot_data import PlotData
from jharnet_monitor.web.plots import since_when
from jharnet_monitor.web.status import NO_CONFERENCE_STATES, OfficeRow

RUNBOOK = MappingProxyType({
    "unreachable": "officeunreachable",
    "uplink_down": "uplinkdown",
    "lan_down": "officelandown",
    "monitor_down": "hubdown",
    "no_agent": "agentabsent",
    "grade_rate": "conferencegradelow",
    "grade_loss": "packetlosshigh",
    "grade_delay": "latencyhigh",
    "grade_host": "conferencegradelow",
    "grade_unknown": "conferencegradelow",
    "loss": "packetlosshigh",
    "latency": "latencyhigh",
    "speed": "bandwidthundercontract",
    "untested": "conferencenottested",
})  # fmt: skip
"""The heading in the runbook on each kind of trouble."""


@dataclass(frozen=True, slots=True)
class OfficeTrouble:
    """One thing that is wrong; `since` is empty where that is not known."""

    kind: str
    title: str
    since: str
    cause: str
    steps: tuple[str, ...]
    runbook: str


def troubles(
    row: OfficeRow, limit: str | None, data: PlotData, config: Config, formats: Formats
) -> tuple[OfficeTrouble, ...]:
    """What is wrong, the worst first. `limit` is what limited the newest call."""
    found = _kinds_with_start(row, limit, data, config)
    return tuple(_in_words(kind, since, row, formats) for kind, since in found)


def _kinds_with_start(
    row: OfficeRow, limit: str | None, data: PlotData, config: Config
) -> Iterator[tuple[str, datetime | str | None]]:
    """Each kind of trouble, with its beginning or the words for it."""
    if row.state in NO_CONFERENCE_STATES:
        kind = "untested" if row.state is OfficeState.UNKNOWN else row.state.value
        yield kind, row.since
        return
    if not row.measures:
        yield "no_agent", None
    thresholds, buckets = config.thresholds, data.latency
    starts = [buckets.begin + n * buckets.span.width for n in range(len(buckets.loss))]
    if row.grade.level is None and row.state is not OfficeState.PLANNED:
        yield "untested", None
    elif row.grade.figure.breach:
        below = [(at, grade < thresholds.grade) for at, grade in data.grades]
        kind = f"grade_{limit}"
        yield kind if kind in RUNBOOK else "grade_unknown", since_when(below)
    if row.loss.breach:
        over = [
            (at, loss > thresholds.loss)
            for at, loss in zip(starts, buckets.loss, strict=True)
            if loss is not None
        ]
        yield "loss", since_when(over)
    if row.latency.breach:
        slow = [
            (at, rtt > thresholds.rtt)
            for at, rtt in zip(starts, buckets.latency, strict=True)
            if rtt is not None
        ]
        yield "latency", since_when(slow)
    if row.download.breach or row.upload.breach:
        yield "speed", since_when(_below_contract(row, data, config))


def _below_contract(row: OfficeRow, data: PlotData, config: Config) -> list[tuple[datetime, bool]]:
    """Each speed test, and whether it fell short in a direction."""
    link = config.office(row.id).link
    if link is None:
        return []
    wanted = [config.thresholds.delivered * link.rate(direction) for direction in Direction]

    def falls_short(rates: Sequence[float | None]) -> bool:
        both = zip(rates, wanted, strict=True)
        return any(rate is not None and rate < least for rate, least in both)

    return [(at, falls_short(rates)) for at, *rates in data.speeds]


def _in_words(
    kind: str, since: datetime | str | None, row: OfficeRow, formats: Formats
) -> OfficeTrouble:
    t = formats.words
    if isinstance(since, datetime):
        lasted = formats.duration((formats.now - since).total_seconds())
        since = f"{t('web.since', time=formats.moment(since))} · {lasted}"
    return OfficeTrouble(
        kind,
        t(f"web.trouble.{kind}.title"),
        since or "",
        t(f"web.trouble.{kind}.cause"),
        tuple(t(f"web.trouble.{kind}.try").split("|")),
        RUNBOOK[kind],
    )
