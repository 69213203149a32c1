"""The section on faults: what was reported, how long it took, what is open, what repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.faults import JudgedFault, Unbooked
from jharnet_monitor.judge.outages.timeline import Span

if TYPE_CHECKING:
    from jharnet_monitor.report.data.summary import Summary

_HEADS = ("block", "docket", "reported", "restored", "time", "measured")
MOST_ROWS = 14


def faults(summary: Summary, words: Words) -> dict[str, Any] | None:
    """The section of a report; None where nothing was reported and nothing had to be."""
    if not summary.faults and not summary.unbooked:
        return None
    return fault_table(summary.config, (summary.faults, summary.unbooked), summary.zone, words) | {
        "summary": sentences(summary.faults, words, len(summary.unbooked))
    }


def fault_table(
    config: Config,
    found: tuple[Sequence[JudgedFault], Sequence[Unbooked]],
    zone: ZoneInfo,
    words: Words,
) -> dict[str, Any]:
    """The table of faults, and the outages that are booked nowhere."""
    judged, missing = found
    names = {office.id: formats.office_name(office, words) for office in config.offices}
    rows = [_row(one, names, zone, words) for one in judged]
    return {
        "title": words("faults.title"),
        "head": [words(f"faults.head.{name}") for name in _HEADS],
        "rows": rows[-MOST_ROWS:],
        "every_row": rows,
        "unbooked": [proposal(one, names, zone, words) for one in missing],
    }


def proposal(one: Unbooked, names: Mapping[str, str], zone: ZoneInfo, words: Words) -> str:
    """A sentence on an outage that is booked nowhere."""
    return words(
        "faults.unbooked",
        name=names[one.office],
        state=words(f"state.{one.outage.state}"),
        begin=formats.moment(one.outage.start, zone, words),
        length=_length(one.outage, words),
    )


def sentences(judged: Sequence[JudgedFault], words: Words, missing: int = 0) -> list[str]:
    """Open faults, the mean time to restore against the limit, and how many outages beyond the
    operator's time are booked nowhere (`missing`): a sentence each.
    """
    still = [one for one in judged if one.is_open]
    over = [one for one in judged if not one.is_open]
    late = [one.fault.id for one in still if not one.within]
    if not still:
        sentences = [words("faults.none_open")]
    elif len(late) == len(still):
        sentences = [words("faults.open_late", n=len(still))]
    else:
        sentences = [words("faults.open", n=len(still))]
        if late:
            sentences.append(words("faults.late", n=len(late)))
    if over:
        mean = sum(one.seconds for one in over) / len(over)
        kept = sum(one.within for one in over)
        sentences.append(
            words(
                "faults.mttr",
                mean=formats.duration(mean, words),
                n=len(over),
                kept=words("dossier.of", part=kept, total=len(over)),
            )
        )
    if missing:
        sentences.append(words("faults.missing", n=missing))
    return sentences


def _row(
    one: JudgedFault, names: Mapping[str, str], zone: ZoneInfo, words: Words
) -> dict[str, Any]:
    fault = one.fault
    limit = formats.duration(one.limit, words)
    stopped = _stopped(one)
    return {
        "id": fault.id,
        "office": names[fault.office],
        "office_id": fault.office,
        "docket": fault.docket or formats.UNKNOWN,
        "repeats": words("faults.repeats", n=one.repeats) if one.repeats > 1 else "",
        "reported": _moment(fault.reported_at, zone, words),
        "to": " → ".join(who for who in (fault.reported_by, fault.reported_to) if who),
        "restored": words("faults.still_open")
        if fault.restored_at is None
        else _moment(fault.restored_at, zone, words),
        "open": one.is_open,
        "time": formats.duration(one.seconds, words),
        "limit": words("faults.within" if one.within else "faults.beyond", limit=limit),
        "late": not one.within,
        "stopped": words(
            "faults.stopped",
            why=formats.list_of(
                dict.fromkeys(words(f"faults.stop.{stop.reason}") for stop in fault.stops), words
            ),
            length=formats.duration(stopped, words),
        )
        if stopped
        else "",
        "measured": formats.UNKNOWN
        if one.outage is None
        else words(
            "faults.measured",
            begin=_moment(one.outage.start, zone, words),
            length=_length(one.outage, words),
        ),
        "proposed": ""
        if one.over_at is None or not one.is_open
        else words("faults.proposed_end", moment=_moment(one.over_at, zone, words)),
        "proposed_at": ""
        if one.over_at is None or not one.is_open
        else f"{one.over_at.astimezone(zone):%Y-%m-%dT%H:%M}",
        "note": fault.note,
    }


def _stopped(one: JudgedFault) -> float:
    """For how long the clock stood, in seconds, as far as the fault's times are known."""
    fault = one.fault
    if fault.restored_at is None or not fault.stops:
        return 0.0
    return (fault.restored_at - fault.reported_at).total_seconds() - one.seconds


def _moment(at: datetime, zone: ZoneInfo, words: Words) -> str:
    return formats.moment(at, zone, words)


def _length(span: Span, words: Words) -> str:
    return formats.duration((span.end - span.start).total_seconds(), words)
