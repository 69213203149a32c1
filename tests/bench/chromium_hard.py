"""Hard links: two to four troubles at once, drawn by the law that is stated here.

Every link has a rate, a round trip and a queue of its own, each uniform on a logarithmic scale, and
one to three further troubles, each kind at most once. A link is known by its number: `hard` links,
which the models are tuned on, are drawn from a fixed seed; `held` links from the commit of the
frozen model, so that nobody can have seen them earlier.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tests.bench.chromium_conditions import Condition, Part, way

TUNING_SEED = "hard links, 2026-11-26"
TUNING = 80
FREEZES: tuple[str, ...] = (
    "aea821e69439cd6b2a6bbb48882113d3193778d3",
    "eeae7cb3136a6e75d3754ce9c3b159c157100e65",
    "8c15e74027afa1e5e7e343480a8ea6ea0c0e1562",
    "681cdfaed265b6d6c3cbfed564d6652008b41220",
    "1e69319354a1d3a194bb6b0516ba68c214b51a1b",
    "ec7edce4a46624cc9bde2ca84bbc948695d1741e",
)
"""Commits at which the model was frozen, the last one in force; each draws links of its own.

Those of earlier ones are for tuning since.
"""
HELD = 80

RATES = (0.08, 8.0)
"""Mbit/s, as all bounds here uniform on a logarithmic scale unless said otherwise."""
TRIPS = (10.0, 600.0)
QUEUES = (30.0, 1500.0)
JITTERS = (2.0, 40.0)
"""ms, at most half of the round trip."""
LOSSES = (0.2, 15.0)
BURSTS = (2, 12)
"""Packets, uniform; half of the lossy directions lose in bursts."""
BUCKETS = (0.05, 2.0)
OTHERS = (0.1, 0.7)
"""Share of the slower direction's rate that steady others take, uniform."""
ELASTIC = (3.0, 15.0)
"""Seconds for which a TCP transfer runs, and pauses."""
GONE, EVERY = (0.3, 3.0), (8.0, 25.0)
KINDS = ("loss", "jitter", "lopsided", "policed", "steady others", "elastic others", "blackouts")
WEIGHTS = (4, 3, 3, 3, 2, 2, 1)
"""How often each further trouble is drawn."""


def hard_links() -> list[Condition]:
    """The links for tuning."""
    found = drawn(TUNING_SEED, TUNING, "hard")
    for freeze in FREEZES[:-1]:
        found += drawn(freeze, HELD, "hard")
    return found


def drawn(seed: str, count: int, part: Part) -> list[Condition]:
    """The first `count` links of a seed."""
    letter = "h" if seed == TUNING_SEED else seed[:7] + "-"
    return [
        _link(random.Random(f"{seed}/{number}"), f"{letter}{number:02}", part)
        for number in range(1, count + 1)
    ]


def held_links() -> list[Condition]:
    """The links that were drawn after the freeze in force."""
    return drawn(FREEZES[-1], HELD, "held") if FREEZES else []


def log_uniform(draw: random.Random, bounds: tuple[float, float]) -> float:
    """A value with two digits, uniform on a logarithmic scale."""
    low, high = bounds
    return float(f"{low * (high / low) ** draw.random():.2g}")


def _troubles(draw: random.Random) -> Sequence[str]:
    """One to three kinds, without repetition."""
    kinds, weights = list(KINDS), list(WEIGHTS)
    found = []
    for _ in range(draw.randint(1, 3)):
        place = draw.choices(range(len(kinds)), weights)[0]
        found.append(kinds.pop(place))
        weights.pop(place)
    return found


def _loss(draw: random.Random) -> dict[str, float]:
    loss = log_uniform(draw, LOSSES)
    return {"loss": loss, "burst": draw.randint(*BURSTS) if draw.random() < 0.5 else 0}


def _link(draw: random.Random, number: str, part: Part) -> Condition:
    troubles = _troubles(draw)
    trip = log_uniform(draw, TRIPS)
    rate, queue = log_uniform(draw, RATES), log_uniform(draw, QUEUES)
    jitter = min(log_uniform(draw, JITTERS), trip / 2) if "jitter" in troubles else 0.0
    ways: list[dict[str, Any]] = [
        {"rate": rate, "trip": trip, "queue": queue, "jitter": jitter} for _ in range(2)
    ]
    if "lopsided" in troubles:
        ways[1] |= {"rate": log_uniform(draw, RATES), "queue": log_uniform(draw, QUEUES)}
    # Loss and policers meet both directions or one of them.
    if "loss" in troubles:
        for each in draw.choice((ways, ways, ways[:1], ways[1:])):
            each.update(_loss(draw))
    if "policed" in troubles:
        for each in draw.choice((ways, ways, ways[:1], ways[1:])):
            each["bucket"] = log_uniform(draw, BUCKETS)
    slower = min(each["rate"] for each in ways)
    others = round(slower * draw.uniform(*OTHERS), 3) if "steady others" in troubles else 0.0
    elastic = None
    if "elastic others" in troubles:
        elastic = (
            draw.choice(("down", "up")),
            log_uniform(draw, ELASTIC),
            log_uniform(draw, ELASTIC),
        )
    blackout = (
        (log_uniform(draw, GONE), log_uniform(draw, EVERY)) if "blackouts" in troubles else None
    )
    text = [f"RTT {trip:g} ms"]
    text += [f"{name} {_text(each)}" for name, each in zip(("down", "up"), ways, strict=True)]
    if others:
        text.append(f"{others:g} of others")
    if elastic:
        text.append(f"a transfer {elastic[0]} {elastic[1]:g} s on, {elastic[2]:g} off")
    if blackout:
        text.append(f"gone for {blackout[0]:g} s every {blackout[1]:g} s")
    down, up = (way(**each) for each in ways)
    return Condition(f"{number} " + "; ".join(text), down, up, blackout, others, elastic, part=part)


def _text(each: dict[str, Any]) -> str:
    """A direction in words.

    >>> _text({"rate": 2, "trip": 40, "queue": 100, "jitter": 0, "loss": 1, "burst": 3})
    '2 Mbit/s queue 100 ms loss 1 % in 3'
    """
    text = f"{each['rate']:g} Mbit/s"
    text += (
        f" bucket {each['bucket']:g} s" if each.get("bucket") else f" queue {each['queue']:g} ms"
    )
    if each.get("jitter"):
        text += f" jitter {each['jitter']:g} ms"
    if each.get("loss"):
        text += f" loss {each['loss']:g} %"
    if each.get("burst"):
        text += f" in {each['burst']}"
    return text
