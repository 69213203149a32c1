"""From an office's changes of state to unbroken spans, with what was learnt afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.summary import Span
from jharnet_monitor.store import Transition


def spans(transitions: Iterable[Transition], known_until: datetime) -> list[Span]:
    """The states of one office in order, up to `known_until`; before the first is nothing.

    A transition that supersedes another says what its stretch really was; the latest word counts.
    """
    every = sorted(transitions, key=lambda t: (t.at, t.number))
    live = [t for t in every if t.supersedes is None]
    result = [
        Span(here.state, here.at, min(after, known_until))
        for here, after in zip(live, [*(t.at for t in live[1:]), known_until], strict=False)
        if here.at < known_until
    ]
    for corrected in sorted(every, key=lambda t: t.number):
        if corrected.supersedes is not None and corrected.until is not None:
            result = _overwrite(result, corrected.state, corrected.at, corrected.until)
    return _joined(result)


def _overwrite(
    held: Sequence[Span], state: OfficeState, start: datetime, end: datetime
) -> list[Span]:
    """The same spans with [start, end) in another state, where anything was held at all."""
    result: list[Span] = []
    for span in held:
        begin, finish = max(span.start, start), min(span.end, end)
        if begin >= finish:
            result.append(span)
            continue
        if span.start < begin:
            result.append(Span(span.state, span.start, begin))
        result.append(Span(state, begin, finish))
        if finish < span.end:
            result.append(Span(span.state, finish, span.end))
    return result


def _joined(held: Iterable[Span]) -> list[Span]:
    result: list[Span] = []
    for span in held:
        if result and result[-1].state is span.state and result[-1].end == span.start:
            result[-1] = Span(span.state, result[-1].start, span.end)
        elif span.start < span.end:
            result.append(span)
    return result
