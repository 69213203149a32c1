"""How often the intervals contain the true value, and how often the verdict is right, over
simulated histories of 4 to 12 weeks.

Run: python -m tests.bench.judge [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.table import Table

from jharnet_monitor.judge.line.verdict import LineVerdict, judge_line
from jharnet_monitor.judge.statistics import intervals
from jharnet_monitor.judge.statistics.intervals import Interval
from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.histories import (
    TARIFF,
    THRESHOLDS,
    TRUTHS,
    Samples,
    histories,
    measured,
    samples,
    traffic,
)

HISTORIES = 2000


def _covers(found: Interval | None, truth: float) -> bool | None:
    """Whether an interval contains the true value; None if there is no interval."""
    if found is None or found.low is None or found.high is None:
        return None
    return found.low <= truth <= found.high


def _hits(one: Samples) -> dict[str, bool | None]:
    numbers = [n for n, day in enumerate(one.days.by_day) for _ in day]
    values = np.concatenate(one.days.by_day)
    return {
        "mean": _covers(intervals.mean(one.days), one.mean),
        "median": _covers(intervals.median(one.days), one.median),
        "share": _covers(intervals.share(numbers, (values > one.mark).tolist()), one.share),
        "P5": _covers(intervals.fifth_percentile(one.days), one.p5),
    }


def _false_change(rng: np.random.Generator, count: int) -> float:
    """How often a change is called significant although there is none."""
    wrong = 0
    for _ in range(count):
        days, spread = int(rng.integers(6, 25)), float(rng.uniform(0.02, 0.3))
        found = intervals.change(
            samples(rng, days, spread=spread).days, samples(rng, days, spread=spread).days
        )
        wrong += found is not None and (found.above(0) or found.below(0))
    return wrong / count


def coverage(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The rows on intervals."""
    hits: dict[str, list[bool]] = {"mean": [], "median": [], "share": [], "P5": []}
    for _ in range(count):
        for name, hit in _hits(samples(rng, int(rng.integers(4, 13)) * 6)).items():
            if hit is not None:
                hits[name].append(hit)
    slack = 0.0 if count >= HISTORIES else 0.02  # a quick run has a fifth of the histories
    for name in ("mean", "median", "share"):
        rate = sum(hits[name]) / len(hits[name])
        yield within(
            f"95 % interval of the {name} holds the truth ({len(hits[name])})",
            rate, 0.93 - slack, 0.97 + slack, "share",
        )  # fmt: skip
    rate = sum(hits["P5"]) / len(hits["P5"])
    yield within(
        f"95 % interval of P5 holds the truth ({len(hits['P5'])})", rate, 0.93 - slack, 1, "share"
    )
    yield at_most(
        "a change is called significant where there is none",
        _false_change(rng, count // 4), 0.08, "share",
    )  # fmt: skip
    covered = []
    for _ in range(count):
        held, p95 = traffic(rng, int(rng.integers(4, 13)) * 6)
        hit = _covers(intervals.quantile(held, 0.95), p95)
        if hit is not None:
            covered.append(hit)
    yield within(
        f"95 % interval of the traffic's P95 holds the truth ({len(covered)})",
        sum(covered) / len(covered), 0.93 - slack, 1, "share",
    )  # fmt: skip


def judgement(rng: np.random.Generator, count: int) -> Iterator[Row]:
    """The rows on the verdict, after a table of verdicts by truth."""
    said: Counter[tuple[LineVerdict, LineVerdict]] = Counter()
    for history in histories(rng, count, marginal=False):
        said[history.truth, judge_line(history.line, history.policy, THRESHOLDS, TARIFF).main] += 1
    _table(said)
    yield within(
        f"judgement right ({count} plain histories)",
        sum(n for (truth, main), n in said.items() if truth is main) / count,
        0.95, 1, "share",
    )  # fmt: skip
    plain = list(measured(rng, count // 4, marginal=False))
    found = [judge_line(one.line, one.policy, THRESHOLDS, TARIFF).main for one in plain]
    yield within(
        f"judgement right where other traffic is measured ({len(plain)} plain histories)",
        sum(main is one.truth for main, one in zip(found, plain, strict=True)) / len(plain),
        0.95, 1, "share",
    )  # fmt: skip
    others = wrong = undecided = total = 0
    marginal = [*histories(rng, count, marginal=True), *measured(rng, count // 4, marginal=True)]
    for history in marginal:
        main = judge_line(history.line, history.policy, THRESHOLDS, TARIFF).main
        total += 1
        undecided += main is not history.truth and main is LineVerdict.NOT_ENOUGH_EVIDENCE
        if history.truth is not LineVerdict.UPGRADE:
            others += 1
            wrong += main is LineVerdict.UPGRADE
    wrong += sum(n for (t, m), n in said.items() if t is not LineVerdict.UPGRADE is m)
    others += sum(n for (t, _), n in said.items() if t is not LineVerdict.UPGRADE)
    yield at_most(f'"upgrade" said where it is not ({others}, marginal ones too)',
                  wrong / others, 0.01, "share")  # fmt: skip
    yield note("undecided among histories up to the very mark", undecided / total, "share")


def _table(said: Counter[tuple[LineVerdict, LineVerdict]]) -> None:
    table = Table("truth", *(v.value for v in TRUTHS), title="what was said (plain histories)")
    for truth in TRUTHS:
        table.add_row(truth.value, *(str(said[truth, main] or "") for main in TRUTHS))
    Console(width=120).print(table)


def main() -> int:
    """Run everything; 0 only if every mark is met."""
    options = arguments(__doc__)
    count = HISTORIES // 5 if options.quick else HISTORIES
    rng = np.random.default_rng(options.seed)
    rows = [*coverage(rng, count), *judgement(rng, count)]
    return finish("intervals and judgement against known truth", rows, options)


if __name__ == "__main__":
    sys.exit(main())
