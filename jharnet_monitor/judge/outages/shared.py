"""Outages that all offices have at once, and nights on which an office is switched off. Pure.

Neither is charged to the office's line: a fault that begins everywhere in the same minute lies at
headquarters or in the operator's core, and a router that is switched off at night is no evidence
about its line.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from jharnet_monitor.judge.outages.availability import DOWN
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import OfficeState

FEWEST_OFFICES = 3
"""With fewer offices a simultaneous outage of all may be chance."""
TOGETHER = timedelta(seconds=60)
"""Offices that fall silent within this time count as simultaneous."""
RETURN = timedelta(seconds=120)
"""How much later than the first office another may return from the same fault."""
FEWEST_NIGHTS = 5
HABIT_SHARE = 0.4
"""An office switched off after at least this share of the working days does so by habit."""
FEWEST_OF_WEEKDAY = 4
WEEKDAY_SHARE = 0.75
"""So does one that is off after this share of one weekday's working days, as from Saturday to
Monday."""
SHORTEST_NIGHT = timedelta(hours=4)
EARLY = timedelta(hours=1)
"""How long before closing and after opening a night may begin and end."""

Windows = Sequence[tuple[datetime, datetime]]
_DARK = DOWN | {OfficeState.UPLINK_DOWN}
_BLIND = frozenset({OfficeState.UNKNOWN, OfficeState.MONITOR_DOWN, OfficeState.PLANNED})
_MAY_BE_OFF = frozenset({OfficeState.UNREACHABLE, OfficeState.POWER_DOWN, OfficeState.LAN_DOWN})


@dataclass(frozen=True, slots=True)
class SharedFault:
    """All monitored offices were unreachable from `start` to `end`."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class JudgedSpans:
    """The states of an office as they are judged.

    Nights switched off by habit became `unknown` (`nights` tells how many there were and `off` how
    long), and what was shared by all offices became `uplink_down`.
    """

    spans: tuple[Span, ...]
    nights: int = 0
    off: timedelta = timedelta(0)
    shared: tuple[SharedFault, ...] = ()
    with_shared: tuple[Span, ...] = ()
    """The spans before shared outages became `uplink_down`: a fault may be booked for one."""


def judge_spans(
    offices: Sequence[Sequence[Span]],
    windows: Windows,
    measured: Sequence[Sequence[Span]] = (),
) -> list[JudgedSpans]:
    """The states of each office as they are judged; `windows` are the office hours, in order.
    `measured` are the states of each office with those from before, if any are known.
    """
    awake = [_without_habit(spans, windows) for spans in offices]
    since = [_dark_since(every, spans) for every, spans in zip(measured, offices, strict=False)]
    faults = shared_faults([one.spans for one in awake], since)
    return [_without_shared(one, faults) for one in awake]


def _dark_since(measured: Sequence[Span], spans: Sequence[Span]) -> datetime | None:
    """Since when an office was dark where its judged spans begin; None if it was not."""
    since: datetime | None = None
    for span in measured:
        if not spans or span.start >= spans[0].start:
            break
        since = _still_dark(since, span)
    return since


def shared_faults(
    offices: Sequence[Sequence[Span]], since: Sequence[datetime | None] = ()
) -> list[SharedFault]:
    """The times in which every monitored office is unreachable, if most became so at once. If most
    are known to be without power, each is charged with its power failure. `since` tells of each
    office since when it had been dark where its spans begin.
    """
    changes = _changes(offices)
    current: dict[int, Span] = {}
    dark_since: dict[int, datetime | None] = dict(enumerate(since))
    watched = dark = 0
    answered = False  # by any office, since the fault before or the beginning
    found: list[SharedFault] = []
    for start, end in pairwise(sorted(changes)):
        for number, span in changes[start]:
            before = current.pop(number, None)
            watched += _watched(span) - _watched(before)
            dark += _dark(span) - _dark(before)
            if span is not None:
                current[number] = span
                dark_since[number] = _still_dark(dark_since.get(number), span)
        answered = answered or dark < watched
        if watched < FEWEST_OFFICES or dark < watched:
            continue
        if found and found[-1].end == start:
            found[-1] = replace(found[-1], end=end)
        elif _began_together(
            [at for number, at in dark_since.items() if at and _dark(current.get(number))],
            [span for span in current.values() if _dark(span)],
            start if answered else None,
        ):
            found.append(SharedFault(start, end))
            answered = False
    return found


def _still_dark(since: datetime | None, span: Span) -> datetime | None:
    """Since when an office has been dark in the span, if it was `since` then before it; None if it
    is not. A time in which nothing is known of it, as while the hub restarts, does not end that;
    that the uplink is down is known anew.
    """
    if span.state is OfficeState.UPLINK_DOWN:
        return span.start
    if _dark(span):
        return since or span.start
    return None if _watched(span) else since


def _changes(
    offices: Sequence[Sequence[Span]],
) -> dict[datetime, list[tuple[int, Span | None]]]:
    """Which offices' spans begin and end (None) at each moment, an end before a beginning.

    Looking at every office at every moment would take a time that grows with the square of their
    number.
    """
    found: dict[datetime, list[tuple[int, Span | None]]] = {}
    for number, spans in enumerate(offices):
        for span in spans:
            began, ended = found.setdefault(span.start, []), found.setdefault(span.end, [])
            if span.start < span.end:
                began.append((number, span))
                ended.append((number, None))
    return found


def _watched(span: Span | None) -> bool:
    return span is not None and span.state not in _BLIND


def _dark(span: Span | None) -> bool:
    return span is not None and span.state in _DARK


def _began_together(
    since: Sequence[datetime], dark: Sequence[Span], start: datetime | None
) -> bool:
    """Whether most of the dark offices became so within `TOGETHER` up to `start`, by the moments
    `since` when they are; up to the last of them if no office has answered since.
    """
    last = start or max(since)
    together = sum(last - at <= TOGETHER for at in since)
    powerless = sum(span.state is OfficeState.POWER_DOWN for span in dark)
    enough = max(FEWEST_OFFICES, len(dark) / 2)
    return together >= enough and 2 * powerless < len(dark)


def _without_shared(one: JudgedSpans, faults: Sequence[SharedFault]) -> JudgedSpans:
    begins = [fault.start for fault in faults]
    spans: list[Span] = []
    for before, span in zip([None, *one.spans], one.spans, strict=False):
        began = _began(before, span)
        pieces = [span]
        near = slice(
            bisect_left(begins, began - TOGETHER), bisect_right(begins, span.end + TOGETHER)
        )
        for fault in faults[near] if span.state in DOWN else ():
            pieces = [
                part
                for piece in pieces
                for part in _charged(piece, fault, began if piece is span else piece.start)
            ]
        spans += pieces
    return replace(one, spans=tuple(spans), shared=tuple(faults), with_shared=one.spans)


def _began(before: Span | None, span: Span) -> datetime:
    """When an outage began. An office that does not answer yet when headquarters' uplink returns,
    as the operator's routers take a minute to find the way, is still in the outage of the uplink.
    """
    if before is None or before.state is not OfficeState.UPLINK_DOWN or before.end < span.start:
        return span.start
    return before.start


def _charged(span: Span, fault: SharedFault, began: datetime) -> Iterator[Span]:
    """The span, of an outage that `began` then, without its part in a shared fault that it belongs
    to.
    """
    begins = fault.start - TOGETHER <= began <= fault.start + TOGETHER
    if span.state not in DOWN or not begins:
        yield span
        return
    end = span.end if span.end <= fault.end + RETURN else fault.end
    if end > span.start:
        yield replace(span, state=OfficeState.UPLINK_DOWN, end=end, reason=None)
    if end < span.end:
        yield replace(span, start=max(end, span.start))


def _without_habit(spans: Sequence[Span], windows: Windows) -> JudgedSpans:
    """The states with habitual nights as `unknown`."""
    nights = [run for run in _dark_runs(spans) if _is_night(run, windows)]
    if len(_after_work(nights, windows)) < max(FEWEST_NIGHTS, HABIT_SHARE * len(windows)):
        nights = _of_habitual_weekdays(nights, windows)
    if not nights:
        return JudgedSpans(tuple(spans))
    off = {id(span) for run in nights for span in run}
    return JudgedSpans(
        spans=tuple(
            replace(span, state=OfficeState.UNKNOWN, reason=None) if id(span) in off else span
            for span in spans
        ),
        nights=len(nights),
        off=sum((run[-1].end - run[0].start for run in nights), timedelta(0)),
    )


def _after_work(
    nights: Sequence[list[Span]], windows: Windows
) -> list[tuple[datetime, list[Span]]]:
    """The nights that began within a day of a closing time, with that time. Later, as on a Sunday,
    nobody is there to switch anything off.
    """
    found = []
    for run in nights:
        closed = [closes for _, closes in windows if closes - EARLY <= run[0].start]
        if closed and run[0].start - closed[-1] < timedelta(days=1):
            found.append((closed[-1], run))
    return found


def _of_habitual_weekdays(nights: Sequence[list[Span]], windows: Windows) -> list[list[Span]]:
    """The nights after working days of those weekdays on which the office is usually switched
    off."""
    by_weekday: dict[int, list[list[Span]]] = {}
    for closed, run in _after_work(nights, windows):
        by_weekday.setdefault(closed.weekday(), []).append(run)
    worked = Counter(closes.weekday() for _, closes in windows)
    return [
        run
        for weekday, runs in by_weekday.items()
        if len(runs) >= max(FEWEST_OF_WEEKDAY, WEEKDAY_SHARE * worked[weekday])
        for run in runs
    ]


def _dark_runs(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Stretches in which an office may be switched off."""
    run: list[Span] = []
    for span in spans:
        if span.state in _MAY_BE_OFF:
            run.append(span)
            continue
        if run:
            yield run
        run = []
    if run:
        yield run


def _is_night(run: Sequence[Span], windows: Windows) -> bool:
    """Whether a stretch lies outside office hours, up to `EARLY` at either end."""
    start, end = run[0].start, run[-1].end
    if end - start < SHORTEST_NIGHT:
        return False
    return not any(opens + EARLY < end and start < closes - EARLY for opens, closes in windows)
