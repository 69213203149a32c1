"""Pairs of a link and the link that a change leads to, for the what-if's comparison with Chromium.

Plain pairs are found among links that were called anyway. Hard pairs start from links that were
drawn from the freeze in force (`chromium_hard.held_links`), each at most once, and their changes
are drawn from the same commit by the law stated here: a rate each way, a round trip, and on lossy
links also the loss repaired, alone or with a rate. A rate or round trip is drawn as the links'
own are, again until it differs enough.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jharnet_monitor.judge.twin.whatif import Change
from tests.bench.chromium_conditions import Condition
from tests.bench.chromium_hard import FREEZES, RATES, TRIPS, held_links, log_uniform

HARD_PAIRS = 40
MOST_PAIRS_OF_A_LINK = 2
LEAST_FACTOR = 1.5
"""Between a rate or round trip and the changed one: less is hardly a change."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A link, a change, and the link that it leads to."""

    before: Condition
    after: Condition
    change: Change


def plain_pairs(links: Sequence[Condition]) -> Iterator[Pair]:
    """All pairs of plain links that differ in one thing."""
    plain = [c for c in links if not (c.up or c.blackout or c.cross or c.elastic)]
    for before in plain:
        found = 0
        for after in plain:
            change = _change(before.down, after.down)
            if change is not None and found < MOST_PAIRS_OF_A_LINK:
                found += 1
                yield Pair(before, after, change)


def _change(before: Any, after: Any) -> Change | None:
    """The change from one direction to another; None unless exactly one thing differs."""
    differs = [key for key in before if before[key] != after[key]]
    if differs == ["rate"]:
        return Change(rate=_number(after["rate"]) * 1e6)
    if differs == ["loss"] and after["loss"] == "0%":
        return Change(loss=0.0)
    if differs == ["delay"]:
        return Change(rtt=2 * _number(after["delay"]) / 1000)
    return None


def hard_pairs() -> list[Pair]:
    """The drawn pairs of the freeze in force, in their order."""
    links = held_links()
    order = random.Random(f"{FREEZES[-1]}/what-if").sample(range(len(links)), HARD_PAIRS)
    return [_drawn(links[place], number) for number, place in enumerate(order, start=1)]


def _drawn(before: Condition, number: int) -> Pair:
    draw = random.Random(f"{FREEZES[-1]}/what-if/{number}")
    lossy = any(way["loss"] != "0%" for way in (before.down, before.upwards))
    kind = draw.choice(
        ("rate", "trip", "loss", "rate and loss") if lossy else ("rate", "rate", "trip")
    )
    slower = min(_number(way["rate"]) for way in (before.down, before.upwards))
    rate = _other(draw, RATES, slower) if "rate" in kind else None
    trip = _other(draw, TRIPS, 2 * _number(before.down["delay"])) if kind == "trip" else None
    loss = 0.0 if "loss" in kind else None
    parts = [
        f"{rate:g} Mbit/s" if rate else "",
        f"RTT {trip:g} ms" if trip else "",
        "no loss" if loss == 0.0 else "",
    ]
    change = Change(rate=rate and rate * 1e6, loss=loss, rtt=trip and trip / 1000)
    text = " and ".join(part for part in parts if part)
    after = replace(
        before,
        name=f"{FREEZES[-1][:7]}-w{number:02} [{before.name}] -> {text}",
        down=_changed(before.down, rate, trip, loss),
        up=_changed(before.upwards, rate, trip, loss),
        part="changed",
    )
    return Pair(before, after, change)


def _other(draw: random.Random, bounds: tuple[float, float], now: float) -> float:
    """A value that is not close to the present one."""
    while True:
        found = log_uniform(draw, bounds)
        if max(found, now) >= LEAST_FACTOR * min(found, now):
            return found


def _number(text: object) -> float:
    """The number of a setting.

    >>> _number("2.5 Mbit/s"), _number("20ms")
    (2.5, 20.0)
    """
    return float(str(text).removesuffix("ms").split()[0])


def _changed(
    way: Any, rate: float | None, trip: float | None, loss: float | None
) -> dict[str, Any]:
    """A direction after the change, as `LineModel.changed` changes its model.

    >>> from tests.bench.chromium_conditions import way
    >>> _changed(way(2, trip=100, jitter=40), None, 20, None)["jitter"]
    '10ms'
    """
    new = dict(way)
    if rate is not None:
        new["rate"] = f"{rate:g} Mbit/s"
    if trip is not None:
        jitter = _number(way["jitter"])
        new |= {"delay": f"{trip / 2:g}ms", "jitter": f"{min(jitter, trip / 2):g}ms"}
    if loss is not None:
        new["loss"] = "0%"
    return new
