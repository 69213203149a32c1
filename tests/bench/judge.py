"""How often the intervals contain the true value, and how often verdict and change are right, over
simulated histories of 4 to 12 weeks whose days depend on each other.

Run: python -m tests.bench.judge [--quick] [--json FILE] [--seed N] [--jobs N] [--keep FILE]

Every part draws from a generator of its own, so parts can run side by side and in slices: `--keep`
adds each finished part to a file, and a later run with that file does only the rest.

Seeds up to 1000 were used while the judge was made; those above were held back until after its last
change.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from math import inf
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from jharnet_monitor.judge.line.facts import Line
from jharnet_monitor.judge.line.verdict import LineVerdict, judge_line
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.changes import Comparison, Course, courses
from jharnet_monitor.judge.statistics.intervals import DailySamples, Interval
from tests.bench.marks import Row, at_most, finish, note, parser, within
from tests.cases_support import cases, judged, wrong
from tests.histories import (
    CONTRACT,
    DEPENDENCES,
    MARK,
    TARIFF,
    THRESHOLDS,
    TRUTHS,
    day_effects,
    dependent,
    histories,
    line_of,
    measured,
    of_all_hours,
    outages,
    policy_of,
    traffic,
)

HISTORIES = 1000
QUICK = 150
LOW, HIGH = 0.92, 0.98
OFFICES, WEEKS = 11, 12

Numbers = NDArray[np.float64]
_NORMAL = NormalDist()
_RARE, _SELDOM = _NORMAL.inv_cdf(0.03), _NORMAL.inv_cdf(0.1)
SHAPES: dict[str, Callable[[Numbers], Numbers]] = {
    "normal": lambda z: 10 + z,
    "heavy tail": np.exp,
    "ceiling": lambda z: np.minimum(z, 0.5),
    "two levels": lambda z: np.where(z > 0.3, 4.0, 1.0) + 0.1 * z,
    "grades": lambda z: np.clip(np.floor(1.2 * z + 3.2), 0, 4),
    "rare grade 3 %": lambda z: np.where(z < _RARE, 2.0, 4.0),
    "rare grade 10 %": lambda z: np.where(z < _SELDOM, 3.0, 4.0),
}
"""Samples of each kind, from standard normal ones."""
GRADES = ("grades", "rare grade 3 %", "rare grade 10 %")


def _covers(found: Interval | None, truth: float) -> bool | None:
    """Whether an interval contains the true value; None if there is no interval."""
    if found is None or found.low is None or found.high is None:
        return None
    return found.low - 1e-9 <= truth <= found.high + 1e-9


@dataclass(frozen=True, slots=True)
class Truth:
    """The true figures of a kind of samples, each computed once for all histories."""

    mean: float
    median: float
    mark: float
    share: float
    """The share of samples over `mark`."""

    @classmethod
    def of(cls, shape: str, normal: Numbers) -> Truth:
        """Those of a shape, from many standard normal samples."""
        values = SHAPES[shape](normal)
        mark = 3.5 if shape in GRADES else float(np.quantile(values, 0.3))
        share = float((values > mark).mean())
        return cls(float(values.mean()), float(np.median(values)), mark, share)


def _hits(rng: np.random.Generator, shape: str, dependence: str, truth: Truth) -> dict[str, bool]:
    """Whether the intervals cover mean, median and share of one history, as far as they are
    given."""
    days, each = int(rng.integers(4, 13)) * 7, int(rng.integers(2, 13))
    values = SHAPES[shape](dependent(rng, days, each, dependence, float(rng.choice([0.3, 0.9]))))
    held = DailySamples(tuple(values))
    graded = shape in GRADES
    numbers = [day for day in range(days) for _ in range(each)]
    found = {
        "mean": _covers(intervals.mean(held, (0.0, 4.0) if graded else None), truth.mean),
        "share": _covers(
            intervals.share(numbers, (values.ravel() > truth.mark).tolist()), truth.share
        ),
    }
    if not graded:
        found["median"] = _covers(intervals.median(held), truth.median)
    return {name: hit for name, hit in found.items() if hit is not None}


def coverage(shape: str, dependence: str, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The rows on intervals for samples of a shape and a dependence of the days."""
    truth = Truth.of(shape, rng.normal(size=1_000_000))
    slack = 2 * (0.95 * 0.05 / count) ** 0.5
    hits: dict[str, list[bool]] = {}
    for _ in range(count):
        for name, hit in _hits(rng, shape, dependence, truth).items():
            hits.setdefault(name, []).append(hit)
    for name, held in hits.items():
        yield within(
            f"{shape}, {dependence}: 95 % interval of the {name}",
            sum(held) / len(held), LOW - slack, HIGH + slack, "share",
        )  # fmt: skip


def traffic_coverage(dependence: str, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The rows on the traffic's 95th percentile."""
    slack = 2 * (0.95 * 0.05 / count) ** 0.5
    covered, bounded = [], 0
    for _ in range(count):
        held, p95 = traffic(rng, int(rng.integers(4, 13)) * 6, dependence)
        found = intervals.quantile(held, 0.95)
        hit = _covers(found, p95)
        if hit is not None and found is not None:
            covered.append(hit)
            bounded += found.high != inf
    yield within(
        f"traffic, {dependence}: 95 % interval of its P95 ({len(covered)})",
        sum(covered) / len(covered), LOW - slack, 1, "share",
    )  # fmt: skip
    yield note(f"traffic, {dependence}: P95 with an upper bound", bounded / count, "share")


def _line(
    rng: np.random.Generator,
    days: int,
    rate: float,
    dependence: str,
    contract: float,
    spread: float,
) -> Line:
    """A line without any fault whose true median rate is `rate`, in both directions."""
    ways = []
    for _ in "du":
        noise = dependent(rng, days, 8, dependence, 0.9)
        ways.append(intervals.median(DailySamples(tuple(rate * (1 + spread * noise)))))
    clean = intervals.proportion([86.0] * days, [86400.0] * days, n=days * 288)
    return line_of(ways, (contract, contract), of_all_hours(clean), outages(), days)


def blame(dependence: str, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The rows on wrong and missed claims."""
    text: Counter[str] = Counter()
    for _ in range(count):
        good = _line(rng, 28, 1.015 * MARK * CONTRACT, dependence, CONTRACT, 0.03)
        main = judge_line(good, policy_of(CONTRACT / 2), THRESHOLDS, TARIFF).verdict
        text["repair"] += main is LineVerdict.REPAIR
        enough = _line(rng, 28, 1.015 * CONTRACT, dependence, 0.9 * CONTRACT, 0.03)
        main = judge_line(enough, policy_of(CONTRACT), THRESHOLDS, TARIFF).verdict
        text["upgrade"] += main is LineVerdict.UPGRADE
        short = _line(rng, 42, 0.85 * MARK * CONTRACT, dependence, CONTRACT, 0.05)
        main = judge_line(short, policy_of(CONTRACT / 2), THRESHOLDS, TARIFF).verdict
        text["found"] += main is LineVerdict.REPAIR
        small = _line(rng, 42, 0.85 * CONTRACT, dependence, 0.87 * CONTRACT, 0.05)
        main = judge_line(small, policy_of(CONTRACT), THRESHOLDS, TARIFF).verdict
        text["asked"] += main is LineVerdict.UPGRADE
    yield at_most(f"{dependence}: wrong `repair`, line 1.5 % above its mark, 4 weeks",
                  text["repair"] / count, 0.03, "share")  # fmt: skip
    yield at_most(f"{dependence}: wrong `upgrade`, line 1.5 % above the need, 4 weeks",
                  text["upgrade"] / count, 0.01, "share")  # fmt: skip
    yield within(f"{dependence}: 15 % below the mark found within 6 weeks",
                 text["found"] / count, 0.8, 1, "share")  # fmt: skip
    yield within(f"{dependence}: 15 % below the need found within 6 weeks",
                 text["asked"] / count, 0.8, 1, "share")  # fmt: skip


def _weeks(rng: np.random.Generator, dependence: str, shape: str) -> list[float]:
    """The weekly means of one figure that does not change, the last one now."""
    effects = day_effects(rng, 7 * WEEKS, dependence)
    noise = rng.normal(size=(7 * WEEKS, 4))
    values = 0.5**0.5 * effects[:, None] + 0.5**0.5 * noise
    if shape == "speed":
        values = np.minimum(4e6 * (1 + float(rng.uniform(0.01, 0.1)) * values), 4e6)
    else:
        centre = float(rng.choice([2.5, 3.2, 4.5]))
        values = np.clip(np.round(centre + 0.8 * values), 0, 4)
    return [float(week.mean()) for week in values.reshape(WEEKS, -1)]


def changes(dependence: str, rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The rows on changes between the weeks of a district of 11 that does not change."""
    false = found = 0
    for _ in range(count):
        held = int(rng.integers(6, WEEKS + 1))
        compared = []
        for shape, smallest in (("speed", 0.05 * 4e6), ("grade", 0.5)):
            for _ in range(OFFICES):
                weeks = _weeks(rng, dependence, shape)[-held:]
                compared.append(Comparison(weeks[:-1], weeks[-1], smallest))
        found_courses = courses(compared)
        false += any(one in (Course.BETTER, Course.WORSE) for one in found_courses)
        worse = compared[0]
        compared[0] = Comparison(worse.earlier, (worse.now or 0) / 2, worse.smallest)
        found += courses(compared)[0] is Course.WORSE
    yield at_most(f"{dependence}: weeks with a false better/worse, healthy district of 11",
                  false / count, 0.05, "share")  # fmt: skip
    yield note(f"{dependence}: half of the speed lost, said in the same week",
               found / count, "share")  # fmt: skip


def judgement(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The rows on the verdict, after a table of verdicts by truth."""
    text: Counter[tuple[LineVerdict, LineVerdict]] = Counter()
    for history in histories(rng, count, marginal=False):
        text[
            history.truth, judge_line(history.line, history.policy, THRESHOLDS, TARIFF).verdict
        ] += 1
    _table(text)
    yield within(
        f"judgement right ({count} plain histories)",
        sum(n for (truth, main), n in text.items() if truth is main) / count,
        0.95, 1, "share",
    )  # fmt: skip
    plain = list(measured(rng, count // 4, marginal=False))
    found = [judge_line(one.line, one.policy, THRESHOLDS, TARIFF).verdict for one in plain]
    yield within(
        f"judgement right where other traffic is measured ({len(plain)} plain histories)",
        sum(main is one.truth for main, one in zip(found, plain, strict=True)) / len(plain),
        0.95, 1, "share",
    )  # fmt: skip
    others = wrongly = undecided = total = 0
    marginal = [*histories(rng, count, marginal=True), *measured(rng, count // 4, marginal=True)]
    for history in marginal:
        main = judge_line(history.line, history.policy, THRESHOLDS, TARIFF).verdict
        total += 1
        undecided += main is not history.truth and main is LineVerdict.NOT_ENOUGH_EVIDENCE
        if history.truth is not LineVerdict.UPGRADE:
            others += 1
            wrongly += main is LineVerdict.UPGRADE
    wrongly += sum(n for (t, m), n in text.items() if t is not LineVerdict.UPGRADE is m)
    others += sum(n for (t, _), n in text.items() if t is not LineVerdict.UPGRADE)
    yield at_most(f'"upgrade" said where it is not ({others}, marginal ones too)',
                  wrongly / others, 0.01, "share")  # fmt: skip
    yield note("undecided among histories up to the very mark", undecided / total, "share")


def written_down() -> Iterator[Row]:
    """The cases of `tests/cases/`."""
    for file in ("held4_*", "held3_*", "held2", "held", "method", "further"):
        found = cases(file)
        problems = [f"{case}: {text}" for case in found if (text := wrong(case, judged(case)))]
        Console(width=120).print("\n".join(problems)) if problems else None
        yield at_most(f"cases of {file}.yaml judged wrongly ({len(found)})", len(problems), 0, "")


def _table(text: Counter[tuple[LineVerdict, LineVerdict]]) -> None:
    table = Table("truth", *(v.value for v in TRUTHS), title="what was said (plain histories)")
    for truth in TRUTHS:
        table.add_row(truth.value, *(str(text[truth, main] or "") for main in TRUTHS))
    Console(width=120).print(table)


Part = Callable[[np.random.Generator, int], Iterator[Row]]


def parts() -> dict[str, Part]:
    """The parts that draw at random, by a name that also seeds them."""
    found: dict[str, Part] = {"judgement": _twice_as_many}
    for dependence in DEPENDENCES:
        found[f"blame, {dependence}"] = partial(blame, dependence)
        found[f"traffic, {dependence}"] = partial(traffic_coverage, dependence)
        found[f"changes, {dependence}"] = partial(changes, dependence)
        for shape in SHAPES:
            found[f"{shape}, {dependence}"] = partial(coverage, shape, dependence)
    return found


def _twice_as_many(rng: np.random.Generator, count: int) -> Iterator[Row]:
    return judgement(rng, 2 * count)


def _run(name: str, seed: int, count: int) -> list[Row]:
    """One part, in a process of its own."""
    return list(parts()[name](np.random.default_rng([seed, zlib.crc32(name.encode())]), count))


def _rows(options: argparse.Namespace, count: int) -> list[Row]:
    """The rows of every part, those of an earlier run from the file."""
    keep: Path | None = options.keep
    done: dict[str, list[Row]] = {}
    for text in keep.read_text().splitlines() if keep and keep.exists() else ():
        kept = json.loads(text)
        if (kept["seed"], kept["count"]) == (options.seed, count):
            done[kept["part"]] = [Row(**row) for row in kept["rows"]]
    with ProcessPoolExecutor(options.jobs) as pool:
        running = {
            pool.submit(_run, name, options.seed, count): name
            for name in parts()
            if name not in done
        }
        for ready in as_completed(running):
            name = running[ready]
            done[name] = ready.result()
            for row in done[name]:
                print(f"{row.name}: {row.measured:.4g}", file=sys.stderr, flush=True)
            if keep:
                line: dict[str, Any] = {"seed": options.seed, "count": count, "part": name}
                line["rows"] = [asdict(row) for row in done[name]]
                with keep.open("a") as file:
                    file.write(json.dumps(line, default=bool) + "\n")
    return [row for name in parts() for row in done[name]]


def main() -> int:
    """Run everything; 0 only if every mark is met."""
    given = parser(__doc__)
    given.add_argument("--jobs", type=int, default=2, help="parts at a time")
    given.add_argument("--keep", type=Path, metavar="FILE", help="add finished parts to it")
    given.add_argument("--histories", type=int, metavar="N", help=f"of a cell, else {HISTORIES}")
    options = given.parse_args()
    count = options.histories or (QUICK if options.quick else HISTORIES)
    rows = [*written_down(), *_rows(options, count)]
    return finish("intervals and judgement against known truth", rows, options)


if __name__ == "__main__":
    sys.exit(main())
