"""The line of an office: by a call alone, and completed by what other probes measured before it.

    python tests/bench/office_line.py [--held|--tuning] [--quick] [--links N] [--lanes N]

The links are drawn by the law of `chromium_hard.py` from a seed of their own; only those are taken
that carry 1 Mbit/s or more in a direction, since a call meets the bottleneck of narrower ones. On
each, the product's echo requests, speed test, packet trains and call run one after the other, as on
an idle hub; the router's counters are the emulator's. The truth are the link's settings: what the
twin answers on them is compared with what it answers on both measured lines, for the line as it is,
for three calls at once, for a room system's picture, and for half of the rate. With `--held`, the
links are those of the changes of `chromium_pairs.py`, drawn after the twin was frozen; the truth
are then Chromium's grades, on the links and after the changes. Needs root.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from math import log
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from icmplib import ping

from jharnet_monitor.judge.conference.grade import GradeLimit
from jharnet_monitor.judge.twin.clients import BUILT_IN, REFERENCE, Client
from jharnet_monitor.judge.twin.decision import Held, decided
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.measured_rates import LATENCY, ROUTER, SPEED_TEST, TRAINS
from jharnet_monitor.judge.twin.predict import predict
from jharnet_monitor.judge.twin.prediction import CERTAIN, GradePrediction
from jharnet_monitor.lab import HEADQUARTERS, Lab
from jharnet_monitor.model import LONG_TESTS, Direction, Measurement, Outcome
from tests.bench.bandwidth_run import start_program
from tests.bench.chromium_collect import HARD_TRUTH, disturbed, shape
from tests.bench.chromium_conditions import Condition
from tests.bench.chromium_hard import drawn
from tests.bench.chromium_pairs import hard_pairs
from tests.bench.chromium_truth import Truths, acceptable
from tests.bench.marks import Row, finish, note, parser
from tests.bench.twin import true_line
from tests.call_support import LabCall

TUNING_SEED = "office lines, 2026-11-27"
SEED = "office lines, after 662e3ad5"
"""The rules were made on links of the first seed, and tried on those of the second afterwards."""
PREFIX, OFFICE = "jhnofl", "potka"
LINKS, QUICK = 24, 2
LEAST = 1.0
"""Mbit/s that a link carries in one direction at least."""
CONTRACTS = (0.8, 1.5)
"""The contract is the rate times such a factor, uniform."""
PINGS, PING_SPACING, COUNTED = 50, 0.1, 10.0
SECONDS, TESTS_SECONDS = 30.0, 110.0
ROOM_SYSTEM = next(client for client in BUILT_IN if client.name == "room")
READY = 3


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a line."""

    name: str
    client: Client = REFERENCE
    calls: int = 1
    narrowed: float | None = None
    """Factor by which each direction's rate is multiplied in truth; the line gets that rate."""


QUESTIONS = (
    Question("as it is"),
    Question("three calls at once", calls=3),
    Question("a room system", client=ROOM_SYSTEM),
    Question("half of the rate", narrowed=0.5),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The lines of one link: its settings, by the call alone, completed; and what completed it."""

    name: str
    true: LineModel
    alone: LineModel
    completed: LineModel
    gave: Mapping[str, Sequence[str]]
    ladder: int
    """The grade of the call's last rung."""


LINES = (("call alone", "alone"), ("completed", "completed"))


def links(seed: str, count: int) -> list[Condition]:
    """The first `count` of a seed that are wide enough."""
    found = (one for one in drawn(seed, 40 * count, "hard") if _widest(one) >= LEAST)
    return [one for one, _ in zip(found, range(count), strict=False)]


def _widest(link: Condition) -> float:
    return max(float(str(way["rate"]).split()[0]) for way in (link.down, link.upwards))


class Place:
    """A lab with a hub and an agent of the bandwidth test."""

    def __init__(self, lab: Lab, hub: subprocess.Popen[str]) -> None:
        self.lab, self.hub = lab, hub

    @classmethod
    @contextlib.contextmanager
    def started(cls, number: int) -> Iterator[Place]:
        """Start everything, and remove it at the end."""
        with (
            Lab.start({"offices": {OFFICE: {}}}, f"{PREFIX}{number}") as lab,
            contextlib.ExitStack() as stack,
        ):
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            hub = start_program(lab, stack, HEADQUARTERS, "hub", "4", "4", text=True, **pipes)
            start_program(lab, stack, OFFICE, "agent", lab.addresses(HEADQUARTERS).pc)
            yield cls(lab, hub)

    async def measured(self, link: Condition) -> Measured | None:
        """All measurements of one link; None where the call met no line."""
        shape(self.lab, OFFICE, link)
        async with disturbed(self.lab, OFFICE, link, SECONDS + TESTS_SECONDS):
            recent = {LATENCY: await asyncio.to_thread(self._pinged)}
            recent[ROUTER] = await self._counted()
            for series, path in ((SPEED_TEST, "jharnet"), (TRAINS, "trains")):
                test = await asyncio.to_thread(self._tested, path, link)
                if test is not None:
                    recent[series] = test
                    recent |= {
                        LONG_TESTS[way]: test
                        for way in Direction
                        if f"{way.transfer}_sustained_bits_per_second" in test.values
                    }
            call = LabCall(self.lab, OFFICE, seconds=SECONDS, twin=True, recent=recent)
            result = await asyncio.to_thread(call.join)
        if "line" not in result.conditions:
            print(f"{link.name}: no line: {result.error}", flush=True)
            return None
        completed = LineModel.from_json(result.conditions["line"])
        data = result.conditions.get("line_evidence")
        alone = completed if data is None else LineModel.from_json(data["call"]["line"])
        gave = {} if data is None else {one["series"]: one["gave"] for one in data["measured"]}
        print(f"{link.name}: {gave}", flush=True)
        ladder = int(result.conditions["ladder_grade"])
        return Measured(link.name, true_line(link), alone, completed, gave, ladder)

    def _pinged(self) -> Measurement:
        began = datetime.now(UTC)
        with self.lab.inside(HEADQUARTERS):
            host = ping(self.lab.addresses(OFFICE).pc, count=PINGS, interval=PING_SPACING)
        values = {"rtt_p50_seconds": median(host.rtts) / 1000} if host.rtts else {}
        values["loss_ratio"] = host.packet_loss
        return _measurement("latency", began, values)

    async def _counted(self) -> Measurement:
        """What the router at the office would count while no test runs."""
        began = datetime.now(UTC)
        self.lab.reset()
        await asyncio.sleep(COUNTED)
        down = up = 0.0
        for flow in self.lab.flows():
            if flow["source"].startswith("10.8.0."):  # headquarters
                down += flow["bytes_out"]
            else:
                up += flow["bytes_in"]
        values = {"download": 8 * down / COUNTED, "upload": 8 * up / COUNTED}
        named = {f"{way}_bits_per_second": rate for way, rate in values.items()}
        return _measurement("utilisation", began, named)

    def _tested(self, path: str, link: Condition) -> Measurement | None:
        """A test by the hub's process; None if it failed."""
        began = datetime.now(UTC)
        if self.hub.stdin is None or self.hub.stdout is None:
            raise RuntimeError("no pipes")
        draw = random.Random(f"{TUNING_SEED}/{link.name}")
        contracts = [
            float(str(way["rate"]).split()[0]) * draw.uniform(*CONTRACTS)
            for way in (link.down, link.upwards)
        ]
        print(path, *(f"{rate:.6f}" for rate in contracts), file=self.hub.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self.hub.stdout.readline())
        if answer["error"]:
            print(f"{link.name}: {path}: {answer['error']}", flush=True)
            return None
        return _measurement("bandwidth", began, answer["values"], answer["conditions"])


def _measurement(
    probe: str, began: datetime, values: Mapping[str, float],
    conditions: Mapping[str, Any] | None = None,
) -> Measurement:  # fmt: skip
    return Measurement(
        OFFICE, probe, began, 1.0, Outcome.OK, values=values, conditions=conditions or {}
    )


async def lane(number: int, work: list[Condition], found: list[Measured]) -> None:
    """Measure one link after the other in a lab of its own."""
    with Place.started(number) as place:
        while work:
            each = await place.measured(work.pop(0))
            if each is not None:
                found.append(each)


async def measure(chosen: Sequence[Condition], lanes: int) -> list[Measured]:
    """Measure all links, several at a time, in the order of the links."""
    work, found = list(chosen), list[Measured]()
    await asyncio.gather(*(lane(number, work, found) for number in range(lanes)))
    order = [link.name for link in chosen]
    return sorted(found, key=lambda one: order.index(one.name))


def answers_as_it_is(one: Measured) -> dict[str, list[GradePrediction]]:
    """The twin's answers by the call alone and completed, each in its place."""
    alone, completed = predict(one.alone), predict(one.completed)
    return {QUESTIONS[0].name: [alone, alone, completed]}


def answers(one: Measured) -> dict[str, list[GradePrediction]]:
    """For each question the twin's answers: on the settings, by the call alone, completed."""
    found = {}
    for question in QUESTIONS:
        rate = None
        if question.narrowed is not None:
            rate = question.narrowed * min(one.true.down.rate, one.true.up.rate)
        found[question.name] = [
            predict(line.changed(rate=rate, clients=question.calls), question.client)
            for line in (one.true, one.alone, one.completed)
        ]
    return found


def distance(one: GradePrediction, other: GradePrediction) -> float:
    """Half of the sum of the probabilities' differences: 0 if they are equal, 1 at most."""
    pairs = zip(one.probabilities, other.probabilities, strict=True)
    return sum(abs(a - b) for a, b in pairs) / 2


def rows(found: Sequence[Measured]) -> Iterator[Row]:
    """How near the rates of both lines come to the settings."""
    n = len(found)
    yield note("links with a line", n, "")
    yield note("completed by another measurement", sum(bool(one.gave) for one in found), f"of {n}")
    for name, which in LINES:
        errors = [
            abs(log(getattr(getattr(one, which), way).rate / getattr(one.true, way).rate))
            for one in found
            for way in ("down", "up")
        ]
        near = sum(error <= log(1.1) for error in errors)
        yield note(f"{name}: rate within 10 %", near, f"of {len(errors)} directions")
        yield note(f"{name}: median error of the rate", median(errors), "natural log")


def settings_rows(
    answered: Sequence[Mapping[str, Sequence[GradePrediction]]],
) -> Iterator[Row]:
    """How near the twin's answers on both lines come to those on the settings."""
    n = len(answered)
    for question in QUESTIONS:
        for name, place in (("call alone", 1), ("completed", 2)):
            pairs = [(each[question.name][0], each[question.name][place]) for each in answered]
            title = f"{question.name}, {name}"
            equal = sum(true.grade == seen.grade for true, seen in pairs)
            ready = sum((true.grade >= READY) == (seen.grade >= READY) for true, seen in pairs)
            yield note(f"{title}: grade as on the settings", equal, f"of {n}")
            yield note(f"{title}: ready or not as there", ready, f"of {n}")
            far = fmean(distance(true, seen) for true, seen in pairs)
            yield note(f"{title}: distance of the probabilities", far, "0 to 1")


def chromium_rows(
    found: Sequence[Measured], answered: Sequence[Mapping[str, Sequence[GradePrediction]]]
) -> Iterator[Row]:
    """How often the grades on both lines are Chromium's."""
    truths = Truths(HARD_TRUTH)
    right = {link: frozenset(acceptable(runs)) for link, runs in truths.runs.items()}
    for name, place in (("call alone", 1), ("completed", 2)):
        graded = []
        for one, answer in zip(found, answered, strict=True):
            held = Held(one.ladder, GradeLimit.UNKNOWN, Direction.DOWN)
            prediction = answer[QUESTIONS[0].name][place]
            decision = decided(held, LineModel(), prediction)
            graded.append((decision.grade, right[one.name], prediction))
        n = len(graded)
        equal = sum(grade in truth for grade, truth, _ in graded)
        yield note(f"{name}: grade is Chromium's", equal, f"of {n}")
        far = sum(min(abs(grade - each) for each in truth) > 1 for grade, truth, _ in graded)
        yield note(f"{name}: off by more than one", far, f"of {n}")
        certain = [
            grade in truth for grade, truth, each in graded if each.probabilities[grade] >= CERTAIN
        ]
        yield note(f"{name}: certain answers right", sum(certain), f"of {len(certain)}")
    lines = {one.name: one for one in found}
    pairs = [pair for pair in hard_pairs() if pair.before.name in lines]
    for name, which in LINES:
        changed = [pair.change.applied(getattr(lines[pair.before.name], which)) for pair in pairs]
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            grades = [each.grade for each in pool.map(predict, changed)]
        equal = cures = 0
        for pair, grade in zip(pairs, grades, strict=True):
            equal += grade in right[pair.after.name]
            cures += (grade >= READY) in {each >= READY for each in right[pair.after.name]}
        yield note(f"what-if, {name}: grade is Chromium's", equal, f"of {len(pairs)}")
        yield note(f"what-if, {name}: cures or not is right", cures, f"of {len(pairs)}")


def detail(
    found: Sequence[Measured], answered: Sequence[Mapping[str, Sequence[GradePrediction]]]
) -> list[dict[str, Any]]:
    """Everything, as plain data."""
    return [
        {
            "name": one.name, "ladder": one.ladder,
            "gave": {series: list(what) for series, what in one.gave.items()},
            "lines": {w: getattr(one, w).to_json() for w in ("true", "alone", "completed")},
            "answers": {
                name: [list(each.probabilities) for each in three] for name, three in answer.items()
            },
        }
        for one, answer in zip(found, answered, strict=True)
    ]  # fmt: skip


def main() -> int:
    """Run the benchmark."""
    options_of = parser(__doc__)
    options_of.add_argument("--held", action="store_true", help="compare with Chromium")
    options_of.add_argument("--tuning", action="store_true", help="the links that were tuned on")
    options_of.add_argument("--links", type=int, default=LINKS)
    options_of.add_argument("--lanes", type=int, default=2)
    options_of.add_argument("--detail", type=Path, metavar="FILE", help="write everything there")
    options = options_of.parse_args()
    if options.held:
        chosen = [pair.before for pair in hard_pairs()][: QUICK if options.quick else None]
    else:
        seed = TUNING_SEED if options.tuning else SEED
        chosen = links(seed, QUICK if options.quick else options.links)
    found = asyncio.run(measure(chosen, options.lanes))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        answered = list(pool.map(answers_as_it_is if options.held else answers, found))
    if options.detail:
        options.detail.write_text(json.dumps(detail(found, answered), indent=1) + "\n")
    shown = list(rows(found))
    shown += chromium_rows(found, answered) if options.held else settings_rows(answered)
    return finish("The line of an office", shown, options)


if __name__ == "__main__":
    sys.exit(main())
