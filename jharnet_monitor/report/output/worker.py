"""Runs one function in a process of its own: what sets papers never burdens who measures.

To set a report takes seconds of a core and a hundred megabytes. In the daemon that would make the
event loop late, by which calls are timed, and the memory would not come back. A command that reads
the database and then sets the papers needs the memory of one of both at a time.

The function is named by its module, so that the caller need not import it. Arguments and result
are pickled through the pipes of a child process. `multiprocessing` would do the same and keep a
second process, its resource tracker, for as long as the daemon lives.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

from jharnet_monitor.errors import StoreError, UserError
from jharnet_monitor.report.output.files import TypesettingError

LONGEST_SECONDS = 900.0

_running: set[subprocess.Popen[bytes]] = set()


class WorkerError(Exception):
    """The process ended, or was ended, before it had a result."""


def in_own_process(module: str, function: str, *arguments: Any) -> Any:
    """Call `module.function(*arguments)` in a new process; blocks.

    Raises the `TypesettingError`, `StoreError` or `UserError` that the function raised, and
    `WorkerError` where the process broke or took longer than `LONGEST_SECONDS`.
    """
    argv = [sys.executable, "-P", "-m", __name__]
    order = pickle.dumps((module, function, arguments))
    with subprocess.Popen(  # noqa: S603 - our own module
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        _running.add(process)
        try:
            answer, _ = process.communicate(order, LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise WorkerError(f"it took longer than {LONGEST_SECONDS:g} s") from None
        finally:
            process.kill()
            _running.discard(process)
    if process.returncode:
        raise WorkerError(f"its process ended with exit code {process.returncode}")
    good, result = pickle.loads(answer)  # noqa: S301 - what our own module wrote
    if not good:
        raise result
    return result


def stop_workers() -> None:
    """End every such process, as this program is stopping: papers can be made again."""
    for process in list(_running):
        process.kill()


def main() -> None:
    """Call what the parent process asks for on standard input, and answer on standard output."""
    os.nice(10)  # whoever measures on this machine goes first
    module, function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent
    try:
        with redirect_stdout(sys.stderr):
            answer = True, getattr(import_module(module), function)(*arguments)
    except (TypesettingError, StoreError, UserError) as error:
        answer = False, error
    except KeyboardInterrupt:
        sys.exit(130)  # Ctrl-C reaches both processes; the parent says so
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    main()
