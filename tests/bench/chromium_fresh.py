"""Links drawn at random after the models were made, so that none was used for tuning.

The author of the models chose the untouched half, and its results are known by now. These links are
drawn at random from the same ranges.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.bench.chromium_conditions import Condition, way

SEED = 20261125
EACH = 4
"""Links with each single trouble."""
MIXED = 16
"""Links with several troubles at once."""

_RATES = (0.1, 10.0)
_TRIPS = (20.0, 600.0)
_QUEUES = (50.0, 1500.0)
_LOSSES = (0.2, 20.0)


def fresh(seed: int = SEED) -> list[Condition]:
    """The links; the same for the same seed."""
    draw = random.Random(seed)
    found = [*_single(draw), *(_mixture(draw) for _ in range(MIXED))]
    return list({condition.name: condition for condition in found}.values())


def _between(draw: random.Random, bounds: tuple[float, float]) -> float:
    """A value with two digits, uniform on a logarithmic scale, since the ranges span decades."""
    low, high = bounds
    return float(f"{low * (high / low) ** draw.random():.2g}")


def _single(draw: random.Random) -> Iterator[Condition]:
    """Links with one trouble each."""
    for _ in range(EACH):
        rate = _between(draw, _RATES)
        yield _named(f"only {rate:g} Mbit/s", rate)
        rate, queue = _between(draw, (0.2, 2.0)), _between(draw, _QUEUES)
        yield _named(f"only {rate:g} Mbit/s, queue {queue:g} ms", rate, queue=queue)
        trip = _between(draw, (100.0, 600.0))
        yield _named(f"only {trip:g} ms", 4, trip)
        loss = _between(draw, _LOSSES)
        yield _named(f"only {loss:g} %", 4, 60, loss=loss)
        loss, burst = _between(draw, (1.0, 12.0)), draw.randint(2, 12)
        yield _named(f"only {loss:g} % in bursts of {burst}", 4, 60, loss=loss, burst=burst)
        down, up = _between(draw, (0.15, 6.0)), _between(draw, (0.15, 6.0))
        yield Condition(f"{down:g} Mbit/s down, {up:g} up", way(down), way(up), part="fresh")
        rate, share = _between(draw, (0.8, 6.0)), draw.uniform(0.2, 0.85)
        others = round(rate * share, 2)
        yield Condition(f"{rate:g} Mbit/s, {others:g} of others", way(rate, 60), cross=others,
                        part="fresh")  # fmt: skip


def _mixture(draw: random.Random) -> Condition:
    """Links with two to four troubles at once; one in six has blackouts."""
    rate = _between(draw, (0.25, 6.0))
    trip, queue = _between(draw, _TRIPS), _between(draw, (80.0, 1000.0))
    loss = _between(draw, (0.2, 8.0)) if draw.random() < 0.7 else 0.0
    burst = draw.randint(2, 8) if loss and draw.random() < 0.4 else 0
    jitter = round(_between(draw, (2.0, 60.0))) if draw.random() < 0.5 else 0
    blackout = None
    text = f"{rate:g} Mbit/s, {trip:g} ms, queue {queue:g} ms"
    if loss:
        text += f", {loss:g} %" + (f" in bursts of {burst}" if burst else "")
    if jitter:
        text += f", jitter {jitter} ms"
    if draw.random() < 1 / 6:
        blackout = (_between(draw, (0.3, 2.5)), float(draw.randint(8, 25)))
        text += f", gone for {blackout[0]:g} s every {blackout[1]:g} s"
    line = way(rate, trip, queue, loss, burst, jitter)
    return Condition(text, line, blackout=blackout, part="fresh")


def _named(
    name: str, rate: float, trip: float = 40, queue: float = 200, loss: float = 0, burst: float = 0
) -> Condition:  # fmt: skip
    return Condition(name, way(rate, trip, queue, loss, burst), part="fresh")
