"""Fits the twin's model error to what Chromium showed, and cross-validates it. Pure.

The measure is the logarithm of the probability that the twin gave to Chromium's grades: it punishes
nothing as much as being sure and wrong.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import log

from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.call import Run
from jharnet_monitor.judge.twin.clients import REFERENCE
from jharnet_monitor.judge.twin.model_error import FITTED, NO_ERROR, ModelError, grades

FOLDS = 5
GRID: dict[str, tuple[float, ...]] = {
    "frozen": (0.1, 0.2, 0.3, 0.4, 0.55, 0.75),
    "concealed": (0.05, 0.1, 0.2, 0.3, 0.45, 0.6),
    "rate": (0.03, 0.06, 0.1, 0.15, 0.2),
    "height": (0.05, 0.1, 0.2, 0.3, 0.4),
}
ROUNDS = 2
MIXED = 0.02
"""Share of the answer that the measure gives to all grades alike: it bounds what one link costs."""


@dataclass(frozen=True)
class Seen:
    """The twin's runs on a link, and Chromium's grades there."""

    runs: tuple[Run, ...]
    grades: tuple[int, ...]
    transfers: bool


@cache
def probabilities(seen: Seen, error: ModelError) -> tuple[float, ...]:
    """The twin's answer with this error."""
    found = grades(seen.runs, REFERENCE, Criteria(), error, seen.transfers and error != NO_ERROR)
    return tuple(float(value) for value in found)


def surprise(links: Sequence[Seen], error: ModelError) -> float:
    """The mean negative logarithm of the probability of what Chromium showed."""
    total = 0.0
    for link in links:
        found = probabilities(link, error)
        mixed = [(1 - MIXED) * share + MIXED / len(found) for share in found]
        total -= sum(log(mixed[grade]) for grade in link.grades) / len(link.grades)
    return total / len(links)


def fitted(links: Sequence[Seen]) -> ModelError:
    """The scales with the least surprise, one after the other."""
    error = FITTED
    for _ in range(ROUNDS):
        for name, values in GRID.items():
            tried = [replace(error, **{name: value}) for value in values]
            error = min(tried, key=lambda each: surprise(links, each))
    return error


def cross_validated(links: Sequence[Seen], seed: int) -> list[tuple[float, ...]]:
    """The answer for each link, with the error fitted to the other folds."""
    order = list(range(len(links)))
    random.Random(seed).shuffle(order)
    found: dict[int, tuple[float, ...]] = {}
    for fold in range(FOLDS):
        held = set(order[fold::FOLDS])
        error = fitted([link for number, link in enumerate(links) if number not in held])
        found |= {number: probabilities(links[number], error) for number in held}
    return [found[number] for number in range(len(links))]
