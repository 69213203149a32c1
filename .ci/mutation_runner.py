"""Runs tests for `mutation.py`, each group in a process that has most of the imports behind it.

Reads one job a line from standard input: the arguments of pytest, the modules to import anew, and
the file for the output; writes `ready`, and the exit code of each, negative for a signal. Its
directory is a copy of the project, and its arguments are the modules to import first.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys

import pytest

MOST_CPU, SLOWEST_SECONDS = 150, 900
"""Seconds of a processor after which a group of tests counts as without end, and of a clock: the
first is the less, as others may keep the machine busy."""


def main() -> None:
    """Import, then fork for every job."""
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a string is what belongs there
    for name in sys.argv[1:]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(job["arguments"], job["again"], job["output"])
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(arguments: list[str], again: list[str], output: str) -> None:
    """In the child: run pytest, and end."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU, MOST_CPU))
        signal.alarm(SLOWEST_SECONDS)
        for name in again:
            sys.modules.pop(name, None)
        code = int(pytest.main(arguments))
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
