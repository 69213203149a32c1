"""The output of every benchmark: measured value, mark and peer; and its exit code."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One measured value and its mark; `ok` is None if there is no mark."""

    name: str
    measured: float
    mark: str
    unit: str
    ok: bool | None
    peer: str = ""


def at_most(name: str, measured: float, mark: float, unit: str, peer: str = "") -> Row:
    """A value that must not exceed its mark."""
    return Row(name, measured, f"<= {mark:g}", unit, measured <= mark, peer)


def within(name: str, measured: float, low: float, high: float, unit: str, peer: str = "") -> Row:
    """A value that must be between two bounds."""
    return Row(name, measured, f"{low:.4g} ... {high:.4g}", unit, low <= measured <= high, peer)


def note(name: str, measured: float, unit: str, peer: str = "") -> Row:
    """A value without a mark."""
    return Row(name, measured, "", unit, None, peer)


def usual_grades(grades: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """The grade of most calls of each line, from lines and grades; without lines that have none."""
    counts: dict[str, Counter[float]] = {}
    for line, grade in grades:
        if grade is not None:
            counts.setdefault(line, Counter())[grade] += 1
    return {line: count.most_common(1)[0][0] for line, count in counts.items()}


def grade_rows(
    name: str,
    grades: Sequence[tuple[str, float | None]],
    usual: Mapping[str, float],
    share: float,
) -> list[Row]:
    """How many of these calls had no data, and another grade than is usual on their line.

    The mark is a share of the calls with a grade.
    """
    graded = [(line, grade) for line, grade in grades if grade is not None and line in usual]
    other = sum(grade != usual[line] for line, grade in graded)
    return [
        note(f"{name}: calls", len(grades), "calls"),
        note("  no data", sum(grade is None for _, grade in grades), "calls"),
        at_most("  of another grade than the line's", other, share * len(graded), "calls"),
    ]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark: `--json FILE`, `--quick`, `--seed N`.

    From now on SIGTERM ends the program like Ctrl-C, so that its lab is removed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    found.add_argument("--quick", action="store_true", help="at most a minute, less exact")
    found.add_argument("--seed", type=int, default=1, help="of every random draw")
    return found


def arguments(description: str | None) -> argparse.Namespace:
    """Parse the options of a benchmark that has no others."""
    return parser(description).parse_args()


def finish(title: str, rows: Sequence[Row], options: argparse.Namespace) -> int:
    """Print the table, write the JSON, and return the exit code: 0 only if all marks are met."""
    machine = (
        f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    )
    table = Table("what", "measured", "unit", "mark", "met", "peer, same work", title=title)
    table.caption = f"seed {options.seed} · {machine}"
    for row in rows:
        met = "" if row.ok is None else "yes" if row.ok else "NO"
        table.add_row(row.name, f"{row.measured:.5g}", row.unit, row.mark, met, row.peer)
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 0 if all(row.ok is not False for row in rows) else 1
