"""The links on which the product is compared with Chromium, half for tuning, half untouched.

Every second condition of a family is `untouched`: it was not used while criteria and models were
made. Those of `chromium_fresh.py` are `fresh`: drawn at random afterwards. Those of
`chromium_hard.py` have several troubles each: `hard` to tune on, `held` drawn after the freeze,
`changed` what changes make of some of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Part = Literal["tuning", "untouched", "fresh", "hard", "held", "changed"]

NARROW = 1.2
"""Mbit/s below which Chromium needs the longer warm-up to reach its picture size."""
LARGE = 0.65
"""Mbit/s from which its picture is large."""
EVERY = 6
"""One in so many of the untouched is left out, to save time."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One link in the lab's terms, with its blackouts and other traffic during the call."""

    name: str
    down: Mapping[str, Any]
    up: Mapping[str, Any] = field(default_factory=dict)
    blackout: tuple[float, float] | None = None
    """Seconds of each blackout, and from the start of one to the next."""
    cross: float = 0.0
    """Mbit/s of other traffic, each way, as steady UDP."""
    elastic: tuple[str, float, float] | None = None
    """A TCP transfer `down` or `up`, with the seconds for which it runs and then pauses."""
    part: Part = "tuning"

    @property
    def upwards(self) -> Mapping[str, Any]:
        """The other direction; None means the same."""
        return self.up or self.down

    @property
    def narrow(self) -> bool:
        """Whether Chromium's rate rises slowly on it."""
        return self.elastic is not None or any(
            float(str(way["rate"]).split()[0]) - self.cross < NARROW
            for way in (self.down, self.upwards)
        )

    @property
    def heavy(self) -> bool:
        """Whether an end encodes or decodes a large picture, which needs much CPU."""
        return any(
            float(str(way["rate"]).split()[0]) - self.cross >= LARGE
            for way in (self.down, self.upwards)
        )


def way(
    rate: float, trip: float = 40, queue: float = 200, loss: float = 0, burst: float = 0,
    jitter: float = 0, bucket: float = 0,
) -> dict[str, Any]:  # fmt: skip
    """One direction: Mbit/s, round trip in ms (half of it here), queue in ms, loss in %, jitter.

    `bucket` is that of a policer, in seconds; 0 without one.
    """
    lost: Any = f"{loss:g}%"
    if burst:
        lost = {"mean": lost, "burst": burst}
    return {
        "rate": f"{rate:g} Mbit/s",
        "delay": f"{trip / 2:g}ms",
        "queue": f"{queue:g}ms",
        "loss": lost,
        "jitter": f"{jitter:g}ms",
        "bucket": f"{bucket:g}s" if bucket else None,
    }


def _rates() -> Iterable[Condition]:
    trips = (20, 40, 60, 100)
    rates = (0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2,
             3, 4, 10)  # fmt: skip
    for number, rate in enumerate(rates):
        trip = trips[number % 4]
        yield Condition(f"{rate:g} Mbit/s, {trip} ms", way(rate, trip))


def _between() -> Iterable[Condition]:
    """Links at the borders of grades: all of them are for tuning."""
    for rate in (0.13, 0.17, 0.22, 0.95, 1.05, 1.1):
        yield Condition(f"{rate:g} Mbit/s, 50 ms", way(rate, 50))


def _queues() -> Iterable[Condition]:
    for rate, queue in ((0.3, 50), (0.3, 1500), (0.6, 1000), (0.6, 50), (0.9, 1500), (0.9, 500),
                        (2, 50), (1.5, 1500)):  # fmt: skip
        yield Condition(f"{rate:g} Mbit/s, queue {queue} ms", way(rate, 60, queue))


def _trips() -> Iterable[Condition]:
    for trip in (150, 300, 450, 600):
        yield Condition(f"4 Mbit/s, {trip} ms", way(4, trip))
    yield Condition("0.6 Mbit/s, 400 ms", way(0.6, 400))
    yield Condition("0.9 Mbit/s, 250 ms", way(0.9, 250))


def _losses() -> Iterable[Condition]:
    for loss in (0.5, 1, 2, 3, 4, 5, 7, 10, 15, 20):
        yield Condition(f"{loss:g} % at 60 ms", way(4, 60, loss=loss))
    for loss, trip in ((0.3, 350), (1, 350), (0.5, 250), (1, 150), (2, 150), (3, 250), (1, 600),
                       (0.2, 600), (5, 150), (4, 20)):  # fmt: skip
        yield Condition(f"{loss:g} % at {trip} ms", way(4, trip, loss=loss))


def _bursts() -> Iterable[Condition]:
    for loss, burst, trip in ((2, 4, 60), (6, 4, 60), (4, 10, 60), (10, 5, 60), (1, 10, 200),
                              (3, 5, 300), (2, 20, 100), (8, 3, 40)):  # fmt: skip
        text = f"{loss:g} % in bursts of {burst} at {trip} ms"
        yield Condition(text, way(4, trip, loss=loss, burst=burst))


def _jitters() -> Iterable[Condition]:
    for jitter, trip, rate in ((10, 60, 4), (40, 100, 4), (80, 200, 4), (20, 60, 0.9),
                               (60, 150, 0.5), (30, 80, 2)):  # fmt: skip
        yield Condition(f"{jitter} ms of jitter, {rate:g} Mbit/s", way(rate, trip, jitter=jitter))


def _lopsided() -> Iterable[Condition]:
    for down, up in ((4, 0.3), (4, 0.5), (0.5, 4), (2, 0.15), (10, 0.9), (0.8, 2)):
        yield Condition(f"{down:g} down, {up:g} up", way(down), way(up))
    yield Condition("8 % up only", way(4, 60), way(4, 60, loss=8))
    yield Condition("4 % down only at 200 ms", way(4, 200, loss=4), way(4, 200))


def _blackouts() -> Iterable[Condition]:
    for gone, every in ((0.5, 10), (1, 10), (2, 20), (2, 10), (4, 30), (0.3, 3)):
        text = f"gone for {gone:g} s every {every} s"
        yield Condition(text, way(4, 60), blackout=(gone, every))


def _with_other_traffic() -> Iterable[Condition]:
    for rate, cross in ((2, 1), (2, 1.5), (4, 3.5), (1.2, 0.8), (1, 0.8), (4, 2)):
        text = f"{rate:g} Mbit/s beside {cross:g} of others"
        yield Condition(text, way(rate, 60), cross=cross)


def _mixtures() -> Iterable[Condition]:
    for rate, trip, queue, loss, burst, jitter in (
        (0.5, 60, 200, 3, 0, 0), (0.9, 80, 300, 2, 0, 10), (0.3, 120, 500, 1, 0, 5),
        (2, 100, 200, 5, 3, 10), (1.5, 200, 400, 2, 0, 20), (0.2, 80, 1000, 2, 0, 0),
        (0.7, 300, 300, 1, 0, 10), (3, 60, 100, 8, 0, 5), (1, 40, 100, 4, 4, 0),
        (0.4, 200, 200, 5, 0, 0), (2, 500, 300, 0.5, 0, 20), (0.6, 60, 100, 10, 0, 0),
    ):  # fmt: skip
        bursts = f" in bursts of {burst}" if burst else ""
        text = f"{rate:g} Mbit/s, {trip} ms, queue {queue}, {loss:g} %{bursts}, jitter {jitter}"
        yield Condition(text, way(rate, trip, queue, loss, burst, jitter))


def conditions() -> list[Condition]:
    """The chosen conditions: those for tuning first, then the untouched."""
    families = (_rates, _queues, _trips, _losses, _bursts, _jitters, _lopsided, _blackouts,
                _with_other_traffic, _mixtures)  # fmt: skip
    tuning = list(_between())
    untouched: list[Condition] = []
    for family in families:
        known = (
            1 if family is _losses else 0
        )  # links on which others published results of Chromium are for tuning
        for number, each in enumerate(family()):
            if (number + known) % 2:
                untouched.append(replace(each, part="untouched"))
            else:
                tuning.append(each)
    return tuning + [each for number, each in enumerate(untouched) if number % EVERY]
