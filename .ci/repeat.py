"""Repeats the whole suite and counts the runs in a row without a failure.

    .venv/bin/python .ci/repeat.py [--runs N] [--log FILE]

A run takes a quarter of an hour. The log has a line of JSON for each run, so that runs of several
evenings add up; runs in a row are counted to the last failure, whatever was committed in between.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped)\b")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
MOST_OUTPUT = 20_000
"""Characters of a failed run's output that are kept: its last ones say why."""


def one_run() -> dict[str, Any]:
    """Run the suite as CI does, where a skipped test fails."""
    git = [shutil.which("git") or "git", "describe", "--always", "--dirty"]
    commit = subprocess.run(  # noqa: S603 - our own checkout
        git, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    began, clock = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest"], cwd=ROOT, env={**os.environ, "CI": "true"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    summary = next(iter(reversed(done.stdout.strip().splitlines())), "")
    return {
        "commit": commit,
        "began": began,
        "seconds": round(time.monotonic() - clock),
        "exit": done.returncode,
        "counts": {what: int(count) for count, what in COUNTS.findall(summary)},
        "failed": FAILED.findall(done.stdout),
        "output": done.stdout[-MOST_OUTPUT:] if done.returncode else "",
    }


def in_a_row(runs: list[dict[str, Any]]) -> int:
    """How many of the last runs had no failure."""
    count = 0
    for run in reversed(runs):
        if run["exit"] != 0:
            break
        count += 1
    return count


def main() -> int:
    """Run the command line; 0 if no run of this call failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--log", type=Path, default=ROOT / ".venv" / "runs.jsonl")
    options = parser.parse_args()
    known = options.log.read_text().splitlines() if options.log.exists() else []
    runs = [json.loads(line) for line in known]
    console = Console()
    for number in range(options.runs):
        with console.status(f"run {number + 1} of {options.runs}"):
            runs.append(one_run())
        with options.log.open("a") as log:
            log.write(json.dumps(runs[-1]) + "\n")
    table = Table("began", "commit", "seconds", "tests", "failed")
    for run in runs:
        counts = ", ".join(f"{count} {what}" for what, count in run["counts"].items())
        table.add_row(run["began"], run["commit"], str(run["seconds"]), counts,
                      "\n".join(run["failed"]))  # fmt: skip
    console.print(table)
    console.print(f"{in_a_row(runs)} in a row without a failure")
    return 0 if in_a_row(runs) >= options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
