"""Runs every benchmark and fault run, one after the other, and prints one table.

    python .ci/bench.py [--quick] [--json FILE] [NAME...]

NAME is a part of a file's name; by default all run. A program that cannot run here (no root, no
server) is listed with its last line of output. Exit code 0 if every mark is met.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 8 * 3600


def programs(names: list[str]) -> list[Path]:
    """The files in tests/bench and tests/faults that are programs with a table of results."""
    found = []
    for path in sorted([*ROOT.glob("tests/bench/*.py"), *ROOT.glob("tests/faults/*.py")]):
        text = path.read_text("utf-8")
        is_program = "finish(" in text and "__main__" in text and path.name != "marks.py"
        if is_program and (not names or any(name in path.stem for name in names)):
            found.append(path)
    return found


def run(path: Path, quick: bool) -> tuple[list[dict[str, Any]], str, float]:
    """Run a program; returns its rows, its last line if there are none, and the minutes taken."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        argv = [sys.executable, "-m", module, "--json", file.name, *(["--quick"] if quick else [])]
        try:
            done = subprocess.run(  # noqa: S603 - our own programs
                argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONGEST
            )
            lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        except subprocess.TimeoutExpired:
            lines = [f"longer than {LONGEST} s"]
        text = Path(file.name).read_text("utf-8")
    rows = json.loads(text) if text else []
    return rows, "" if rows else lines[-1][:80], (time.monotonic() - began) / 60


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--json", type=Path)
    options.add_argument("name", nargs="*")
    parsed = options.parse_args()
    table = Table("run", "what", "measured", "unit", "mark", "met", "peer", title="All benchmarks")
    every, met = [], True
    for path in programs(parsed.name):
        name = f"{path.parent.name}/{path.stem}"
        rows, why, minutes = run(path, parsed.quick)
        print(f"{name}: {len(rows)} rows in {minutes:.1f} min {why}", file=sys.stderr, flush=True)
        if not rows:
            met = False
            table.add_row(name, f"did not run: {why}", "", "", "", "NO", "")
        for row in rows:
            good = {None: "", True: "yes", False: "NO"}[row["ok"]]
            met = met and row["ok"] is not False
            table.add_row(
                name, row["name"], f"{row['measured']:.5g}", row["unit"], row["mark"], good,
                row["peer"],
            )  # fmt: skip
            every.append({"run": name, **row})
    Console(width=150).print(table)
    if parsed.json:
        parsed.json.write_text(json.dumps(every, indent=1) + "\n", "utf-8")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
