"""Calls whose two programs stand still for less than a tenth of a second: rate and grade.

Loss-free lines of the lab, drawn at random: 0.3 to 2 Mbit/s (logarithmic), 5 to 80 ms and a queue
of 150 to 400 ms each way. Each line is called three times as it is and three times with pauses: one
to four of 0.05 to 0.095 s in each end, within 0.3 to 2.1 s of the start, in which a sender finds
its picture. A longer pause would mark the call. The grade of a line is that of most of its calls
without pauses; its rate is what the lab was set to.

    python tests/bench/short_pauses.py [--quick] [--json FILE] [--seed N]

Needs root (for the lab). It takes five minutes.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jharnet_monitor.lab import Lab
from jharnet_monitor.rtc.call import Call
from tests.bench.marks import Row, arguments, at_most, finish, grade_rows, note, usual_grades
from tests.call_support import LabCall

PREFIX = "jhnpause"
SECONDS = 8.0
AT_ONCE = 3
TIMES = 3
MOST_PAUSES, SHORTEST, LONGEST = 4, 0.05, 0.095
FIRST, LAST = 0.3, 2.1

Rates = dict[str, dict[str, float]]
"""Mbit/s by office and direction."""


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call: its grade (None without one) and the errors of its capacities, as shares."""

    office: str
    paused: bool
    grade: float | None
    errors: tuple[float, ...]


@contextmanager
def pauses(chance: random.Random) -> Iterator[None]:
    """Both ends of each call stand still, as often as is drawn."""
    exchange_media = Call.exchange_media

    async def exchange(call: Call, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(chance.randint(1, MOST_PAUSES)):
            length = chance.uniform(SHORTEST, LONGEST)
            loop.call_later(chance.uniform(FIRST, LAST), time.sleep, length)
        await exchange_media(call, seconds)

    with patch.object(Call, "exchange_media", exchange):
        yield


def drawn_rate(chance: random.Random) -> float:
    """Mbit/s of one direction."""
    return float(f"{math.exp(chance.uniform(math.log(0.3), math.log(2))):.3g}")


def drawn_way(chance: random.Random, rate: float) -> dict[str, str]:
    """One direction of a line."""
    return {
        "rate": f"{rate} Mbit/s",
        "delay": f"{chance.uniform(5, 80):.0f}ms",
        "queue": f"{chance.uniform(150, 400):.0f}ms",
    }


def held(lab: Lab, rates: Rates, offices: Sequence[str], paused: bool) -> list[HeldCall]:
    """Call these offices at once."""
    calls = {office: LabCall(lab, office, seconds=SECONDS) for office in offices}
    found = []
    for office, call in calls.items():
        result = call.join()
        capacities = {
            way: result.conditions.get(f"{way}_capacity_bits_per_second") for way in ("down", "up")
        }
        errors = tuple(
            capacity / (1e6 * rates[office][way]) - 1
            for way, capacity in capacities.items()
            if capacity is not None
        )
        grade = None if result.error is not None else result.values["grade"]
        found.append(HeldCall(office, paused, grade, errors))
    return found


def rows(calls: Sequence[HeldCall]) -> list[Row]:
    """What the calls without and with pauses give."""
    usual = usual_grades((call.office, call.grade) for call in calls if not call.paused)
    found: list[Row] = []
    for paused, name in ((False, "without pauses"), (True, "with pauses")):
        these = [call for call in calls if call.paused is paused]
        graded = [call for call in these if call.grade is not None]
        found += grade_rows(name, [(call.office, call.grade) for call in these], usual, 0.05)
        errors = [100 * error for call in graded for error in call.errors]
        found.append(note("  capacities", len(errors), "directions"))
        if len(errors) > 1:
            wrong = sum(abs(error) > 5 for error in errors)
            found += [
                at_most("  capacity, more than 5 % wrong", wrong, 0.05 * len(errors), "directions"),
                note("  capacity, lowest error", min(errors), "%"),
                note("  capacity, median error", quantiles(errors, n=2)[0], "%"),
                note("  capacity, highest error", max(errors), "%"),
            ]
    return found


def main() -> int:
    """Call ten lines three times each without pauses and with them, or three lines (`--quick`)."""
    options = arguments(__doc__)
    chance = random.Random(options.seed)
    names = [f"o{number}" for number in range(3 if options.quick else 10)]
    rates = {name: {way: drawn_rate(chance) for way in ("down", "up")} for name in names}
    offices: dict[str, Any] = {
        name: {way: drawn_way(chance, rate) for way, rate in rates[name].items()} for name in names
    }
    calls: list[HeldCall] = []
    with Lab.start({"seed": options.seed, "offices": offices}, PREFIX) as lab:
        for paused in (False, True):
            with pauses(random.Random(options.seed)) if paused else nullcontext():
                order = names * TIMES
                for first in range(0, len(order), AT_ONCE):
                    calls += held(lab, rates, order[first : first + AT_ONCE], paused)
    return finish("Calls with short pauses of both ends", rows(calls), options)


if __name__ == "__main__":
    raise SystemExit(main())
