"""From an office's changes of state to unbroken spans, with what was learnt afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby

from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.store import Transition


def spans(transitions: Iterable[Transition], known_until: datetime) -> list[Span]:
    """The states of one office in order, up to `known_until`; before the first is nothing.

    Transitions that supersede another say what its time really was, at sharper edges than the
    live state could see: what they leave of it at either end belongs to its neighbours.
    """
    every = sorted(transitions, key=lambda t: (t.at, t.number))
    live = [t for t in every if t.supersedes is None and t.at < known_until]
    ends = [*(t.at for t in live[1:]), known_until]
    seen = [Span(t.state, t.at, end) for t, end in zip(live, ends, strict=False)]
    told = sorted((t for t in every if t.until is not None), key=lambda t: t.supersedes or 0)
    place = {t.number: n for n, t in enumerate(live)}
    result = seen
    for number, group in groupby(told, key=lambda t: t.supersedes):
        if number in place:
            result = _corrected(result, seen, place[number], list(group))
    return _joined(result)


def _corrected(
    held: list[Span], seen: Sequence[Span], place: int, told: Sequence[Transition]
) -> list[Span]:
    """The spans with the one that was seen at `place` as it was told afterwards."""
    outage = seen[place]
    parts = [Span(t.state, t.at, t.until) for t in sorted(told, key=lambda t: t.number) if t.until]
    first, last = min(part.start for part in parts), max(part.end for part in parts)
    if place > 0:
        held = _overwritten(held, replace(seen[place - 1], start=outage.start, end=first))
    if place + 1 < len(seen):
        held = _overwritten(held, replace(seen[place + 1], start=last, end=outage.end))
    for part in (replace(outage, start=first, end=last), *parts):
        held = _overwritten(held, part)
    return held


def _overwritten(held: Iterable[Span], new: Span) -> list[Span]:
    """The same spans with the time of `new` in its state, where anything was held at all."""
    result: list[Span] = []
    for span in held:
        begin, end = max(span.start, new.start), min(span.end, new.end)
        if begin >= end:
            result.append(span)
            continue
        pieces = (
            replace(span, end=begin),
            replace(new, start=begin, end=end),
            replace(span, start=end),
        )
        result += [piece for piece in pieces if piece.start < piece.end]
    return result


def _joined(held: Iterable[Span]) -> list[Span]:
    result: list[Span] = []
    for span in held:
        if result and result[-1].state is span.state and result[-1].end == span.start:
            result[-1] = replace(result[-1], end=span.end)
        elif span.start < span.end:
            result.append(span)
    return result
