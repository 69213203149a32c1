"""Times the state's report of 24 districts in both languages, and its verification.

python -m tests.bench.state [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.i18n.words import words
from jharnet_monitor.state.paper import basis_of, make_report
from jharnet_monitor.state.table import StateTable
from jharnet_monitor.state.verify import check_report, check_rows
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.state_support import MADE_AT, WEEK, Statewide, drawn_week

REPORT_SECONDS = 60.0
BEFORE = "2026-W46"


def measure(directory: Path, seed: int, offices: int) -> list[Row]:
    """Store two weeks of every district, make the report, and verify it."""
    one = Statewide(directory, f"sqlite:///{directory / 'state.db'}")
    table = StateTable(one.state.database)
    table.prepare(one.state.districts)
    began = time.perf_counter()
    for district in one.state.districts:
        for name in (BEFORE, WEEK):
            week = drawn_week(district.id, name, offices=offices, seed=seed)
            table.add(one.sign(week), week, district.keys[0], SystemClock().now())
    stored = time.perf_counter() - began

    began, sizes = time.perf_counter(), list[int]()
    rows = [(d, name, held.signed) for name in (BEFORE, WEEK)
            for d, held in table.newest(name).items()]  # fmt: skip
    for language in ("hi", "en"):
        made = make_report(one.state, basis_of(WEEK, MADE_AT, rows), words(language))
        (directory / made.name).write_bytes(made.content)
        sizes.append(len(made.content))
    reported = time.perf_counter() - began

    began, problems = time.perf_counter(), list[str]()
    for file in directory.glob("*.pdf"):
        problems += check_report(one.state, file)[1]
    proved = time.perf_counter() - began
    count, wrong = check_rows(one.state, table.rows())
    table.close()
    return [
        note("offices", 24 * offices, ""),
        note("signed and stored", 1000 * stored / count, "ms/week"),
        at_most("report in Hindi and English", reported, REPORT_SECONDS, "s"),
        at_most("proof of both", proved, REPORT_SECONDS, "s"),
        at_most("problems found", len(problems) + len(wrong), 0, ""),
        note("the larger PDF", max(sizes) / 1e3, "kB"),
        note("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, "MB"),
    ]


def main() -> int:
    """Run it; returns 0 if all marks are met."""
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="jhn-state-") as directory:
        rows = measure(Path(directory), options.seed, 3 if options.quick else 11)
    return finish("The report of a state of 24 districts", rows, options)


if __name__ == "__main__":
    sys.exit(main())
