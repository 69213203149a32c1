"""Where on the path to an office packets are lost, delayed or limited in size, or lose their mark.
A router answers expired packets with lower priority than it forwards others: it may answer late,
rarely or never. One hop's figures are therefore only an upper bound of the path's loss and delay up
to it, and a hop is blamed only if all hops behind it show the same. The last hop is the target,
whose answers count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from jharnet_monitor.judge.statistics.incomplete_beta import betainc

LEAST_PACKETS = 20
"""With fewer packets to the target the loss is not judged."""
LIMITED_SHARE = 0.1
"""Assumed share of routers that answer fewer packets than reach them."""
CLEAR = 2.0
"""A place is ruled out if its log-likelihood is smaller than the best one's by this."""
DECISIVE_DELAY = 0.5
"""A stretch with this share of the whole delay is its cause."""


class HopFigures(NamedTuple):
    """The figures of one hop; the first is number 1. `rtt` is its median in seconds."""

    sent: int
    received: int
    rtt: float | None = None
    address: str | None = None


class Stretch(NamedTuple):
    """A part of the path: behind hop `after` (0 is the start) and up to hop `before`."""

    after: int
    before: int


def loss_stretch(hops: Sequence[HopFigures], least: float) -> Stretch | None:
    """Where packets are lost; None if the target misses at most the share `least`. Every place is
    tried as the start of the loss. The result spans the most likely place and those about as
    likely.

    >>> full, limited = HopFigures(60, 60), HopFigures(60, 9)
    >>> loss_stretch([full, limited, full, HopFigures(60, 48), HopFigures(60, 49)], 0.02)
    Stretch(after=3, before=4)
    >>> loss_stretch([full, limited, full, full], 0.02) is None
    True
    """
    if not hops or hops[-1].sent < LEAST_PACKETS or not hops[-1].received:
        return None
    end = hops[-1]
    if end.sent - end.received < 2 or 1 - end.received / end.sent <= least:
        return None
    likelihoods = [
        _likelihood(hops[:place], 1 - least) + _likelihood(hops[place:], ends=True)
        for place in range(len(hops))
    ]
    best = max(likelihoods)
    possible = [place for place, one in enumerate(likelihoods) if one >= best - CLEAR]
    return Stretch(possible[0], possible[-1] + 1)


def _likelihood(
    hops: Sequence[HopFigures], least_share: float = 0.0, *, ends: bool = False
) -> float:
    """Log-likelihood of hops that share one path, with the best fitting share of answers, at least
    `least_share`. With `ends`, the last hop is the target, which answers everything.
    """
    answering = [hop for hop in hops if hop.sent and hop.received]
    shares = {_share(hop) for hop in answering}
    candidates = {max(s, least_share) for s in shares | {_pooled(answering, s) for s in shares}}
    return max(
        (
            sum(
                _binomial(hop, share) if ends and hop is hops[-1] else _rate_limited(hop, share)
                for hop in answering
            )
            for share in candidates
        ),
        default=0.0,
    )


def _pooled(hops: Sequence[HopFigures], least: float) -> float:
    """The common share of the hops that answered at least this share."""
    chosen = [hop for hop in hops if _share(hop) >= least]
    return sum(hop.received for hop in chosen) / sum(hop.sent for hop in chosen)


def _share(hop: HopFigures) -> float:
    return hop.received / hop.sent


def _rate_limited(hop: HopFigures, share: float) -> float:
    """Log-likelihood of a hop that answers all arriving packets or, more rarely, any smaller
    share."""
    below = betainc(hop.received + 1, hop.sent - hop.received + 1, share)
    limited = below / ((hop.sent + 1) * share)
    full = math.exp(_binomial(hop, share))
    return math.log(max((1 - LIMITED_SHARE) * full + LIMITED_SHARE * limited, 1e-300))


def _binomial(hop: HopFigures, share: float) -> float:
    """Log-likelihood of exactly this number of answers."""
    lost, floor = hop.sent - hop.received, 0.05 / hop.sent
    chosen = math.lgamma(hop.sent + 1) - math.lgamma(hop.received + 1) - math.lgamma(lost + 1)
    bounded = min(max(share, floor), 1 - floor)
    return chosen + hop.received * math.log(bounded) + lost * math.log(1 - bounded)


class Delay(NamedTuple):
    """How much of the whole round trip, in seconds, arises on a stretch."""

    stretch: Stretch
    seconds: float


def delay_stretch(hops: Sequence[HopFigures]) -> Delay | None:
    """Where at least half of the round trip to the end arises; None if it is spread, or unknown.

    >>> at = lambda rtt: HopFigures(60, 60, rtt)
    >>> delay_stretch([at(0.004), at(0.250), at(0.009), at(0.180), at(0.181)])
    Delay(stretch=Stretch(after=3, before=4), seconds=0.171)
    """
    if not hops or hops[-1].rtt is None:
        return None
    known = [(0, 0.0)]
    bound = math.inf
    bounds = []
    for number in range(len(hops), 0, -1):
        rtt = hops[number - 1].rtt
        if rtt is not None:  # a router may answer late, never early
            bound = min(bound, rtt)
            bounds.append((number, bound))
    known += bounds[::-1]
    steps = [
        Delay(Stretch(before, after), round(late - early, 6))
        for (before, early), (after, late) in pairwise(known)
    ]
    most = max(steps, key=lambda step: step.seconds)
    return most if most.seconds >= DECISIVE_DELAY * hops[-1].rtt else None


def mark_stretch(sent: int, seen: Sequence[int | None]) -> Stretch | None:
    """Where a mark is cleared or changed; None if it was intact at every hop that shows it.

    >>> mark_stretch(46, [46, None, 0, 0])
    Stretch(after=1, before=3)
    """
    intact = 0
    for number, mark in enumerate(seen, 1):
        if mark == sent:
            intact = number
    changed = [n for n, mark in enumerate(seen, 1) if n > intact and mark not in (None, sent)]
    return Stretch(intact, changed[0]) if changed else None


def has_changed(before: Sequence[str | None], after: Sequence[str | None]) -> bool:
    """Whether two traces took different paths; hops that did not answer match any hop.

    >>> has_changed(["a", None, "c"], ["a", "b", "c"]), has_changed(["a", "b"], ["a", "x"])
    (False, True)
    """
    if len(before) != len(after):
        return True
    return any(a != b for a, b in zip(before, after, strict=True) if a and b)


class Marking(StrEnum):
    """What a line does with marked packets."""

    KEEPS = "keeps"
    CLEARS = "clears"
    """They arrive without a mark, or with a different one."""
    FAVOURS = "favours"
    """The mark arrives, and marked packets are preferred on a full line."""


class MarkArrivals(NamedTuple):
    """Packets of one mark in one direction; `marked` of them arrived with the mark. `delays` are in
    seconds, all with the same unknown offset (two clocks).
    """

    sent: int
    received: int
    marked: int
    delays: tuple[float, ...] = ()


INTACT_SHARE = 0.9
FULL_SECONDS = 0.02
"""Unmarked packets delayed by this much more than the fastest wait in a queue."""
FULL_LOSS = 0.02
BETTER_SHARE = 0.5
"""Marked packets are preferred if their delay, or their loss, is at most half as large."""


def marking(marked: MarkArrivals, plain: MarkArrivals) -> Marking | None:
    """What happens to a mark, compared with simultaneous unmarked packets; None if too few arrived.

    >>> plain = MarkArrivals(40, 38, 38, (0.02, 0.09, 0.1, 0.1, 0.11))
    >>> marking(MarkArrivals(40, 40, 40, (0.02, 0.02, 0.021, 0.02, 0.02)), plain).value
    'favours'
    >>> marking(MarkArrivals(40, 39, 0), plain).value
    'clears'
    """
    if marked.received < LEAST_PACKETS:
        return None
    if marked.marked < INTACT_SHARE * marked.received:
        return Marking.CLEARS
    return Marking.FAVOURS if _fares_better(marked, plain) else Marking.KEEPS


def _fares_better(marked: MarkArrivals, plain: MarkArrivals) -> bool:
    if not marked.delays or not plain.delays:
        return False
    fastest = min(*marked.delays, *plain.delays)
    waits, plain_waits = (median(one.delays) - fastest for one in (marked, plain))
    if plain_waits >= FULL_SECONDS and waits <= BETTER_SHARE * plain_waits:
        return True
    loss, plain_loss = (1 - one.received / one.sent for one in (marked, plain))
    return plain_loss > FULL_LOSS and loss <= BETTER_SHARE * plain_loss and (
        (plain.sent - plain.received) - (marked.sent - marked.received) >= 4
    )  # fmt: skip


def is_full(arrivals: Mapping[int, MarkArrivals]) -> bool:
    """Whether unmarked packets of a direction waited in a queue, or were lost."""
    plain = arrivals.get(0)
    if plain is None or not plain.delays:
        return False
    waits = median(plain.delays) - min(min(one.delays) for one in arrivals.values() if one.delays)
    return waits >= FULL_SECONDS or 1 - plain.received / plain.sent > FULL_LOSS
