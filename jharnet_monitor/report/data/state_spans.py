"""The states of an office as spans, from its recorded transitions and their corrections."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.store import Transition
from jharnet_monitor.store.event_log import RecordedState


def spans(transitions: Iterable[Transition | RecordedState], known_until: datetime) -> list[Span]:
    """The states of one office in order, up to `known_until`.

    Transitions that supersede another one correct its state, with more precise edges than the live
    state had. The time that they leave at either end belongs to its neighbours.
    """
    ordered = sorted(transitions, key=lambda t: (t.at, t.number))
    live = in_order(t for t in ordered if t.supersedes is None and t.at < known_until)
    ends = [*(t.at for t in live[1:]), known_until]
    live_spans = [Span(t.state, t.at, end) for t, end in zip(live, ends, strict=False)]
    corrections = sorted(
        (t for t in ordered if t.until is not None), key=lambda t: t.supersedes or 0
    )
    place = {t.number: n for n, t in enumerate(live)}
    result = list(live_spans)
    for number, group in groupby(corrections, key=lambda t: t.supersedes):
        if number in place:
            _correct(result, live_spans, place[number], list(group))
    return _joined(result)


def in_order(live: Iterable[Transition | RecordedState]) -> list[Transition | RecordedState]:
    """Live transitions as they were recorded, none later than the one after it.

    One that is later was recorded before the clock was set back. How long its state lasted is then
    not known beyond what is left of it: an outage must not grow by the step of a clock.
    """
    found: list[Transition | RecordedState] = []
    for one in sorted(live, key=lambda t: t.number, reverse=True):
        if found and found[-1].at < one.at:
            found.append(RecordedState(one.number, one.state, found[-1].at, one.until, None))
        else:
            found.append(one)
    return found[::-1]


def _correct(
    current: list[Span],
    live_spans: Sequence[Span],
    place: int,
    corrections: Sequence[Transition | RecordedState],
) -> None:
    """Replace the live span at index `place` by its corrections."""
    outage = live_spans[place]
    parts = [
        Span(t.state, t.at, t.until) for t in sorted(corrections, key=lambda t: t.number) if t.until
    ]
    first, last = min(part.start for part in parts), max(part.end for part in parts)
    if place > 0 and outage.start < first:
        overwrite(current, replace(live_spans[place - 1], start=outage.start, end=first))
    if place + 1 < len(live_spans) and last < outage.end:
        overwrite(current, replace(live_spans[place + 1], start=last, end=outage.end))
    if len(parts) > 1:  # what a single one does not cover, its neighbours have
        parts.insert(0, replace(outage, start=first, end=last))
    for part in parts:
        overwrite(current, part)


def overwrite(current: list[Span], new: Span) -> None:
    """Give the spans, which are in order, the state of `new` during its time, as far as they cover
    it. Only spans that it touches are read, because a year of an office has a thousand."""
    first = bisect_right(current, new.start, key=attrgetter("end"))
    after = bisect_left(current, new.end, key=attrgetter("start"))
    result: list[Span] = []
    for span in current[first:after]:
        begin, end = max(span.start, new.start), min(span.end, new.end)
        if begin >= end:
            result.append(span)
            continue
        if span.start < begin:
            result.append(replace(span, end=begin))
        result.append(Span(new.state, begin, end, new.reason))
        if end < span.end:
            result.append(replace(span, start=end))
    current[first : max(first, after)] = result


def clipped(spans: Sequence[Span], start: datetime, until: datetime) -> list[Span]:
    """The parts of the spans that lie within [start, until); the spans must be in order."""
    first = bisect_right(spans, start, key=attrgetter("end"))
    after = bisect_left(spans, until, key=attrgetter("start"))
    return [
        span
        if start <= span.start and span.end <= until
        else replace(span, start=max(span.start, start), end=min(span.end, until))
        for span in spans[first:after]
    ]


def after_earlier(earlier: Sequence[Span], judged: Sequence[Span]) -> list[Span]:
    """The judged states after those that were measured before them; an outage that was going on
    where they meet is one.
    """
    before = clipped(earlier, earlier[0].start, judged[0].start) if earlier and judged else earlier
    return _joined([*before, *judged])


def _joined(current: Iterable[Span]) -> list[Span]:
    result: list[Span] = []
    for span in current:
        if result and result[-1].state is span.state and result[-1].end == span.start:
            result[-1] = replace(result[-1], end=span.end)
        elif span.start < span.end:
            result.append(span)
    return result
