"""Runs one function in a process of its own: what sets papers never burdens who measures.

To set a report takes seconds of a core and a hundred megabytes. In the daemon that would make the
event loop late, by which calls are timed, and the memory would not come back. A command that reads
the database and then sets the papers needs the memory of one of both at a time.

The function is named by its module, so that the caller need not import it. Arguments and result
are pickled through the pipes of a child process. `multiprocessing` would do the same and keep a
second process, its resource tracker, for as long as the daemon lives.
"""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.parent_process import die_with_parent
from jharnet_monitor.report.output.files import TypesettingError

LONGEST_SECONDS = 900.0
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""What reads may divide into processes of its own, which a process with threads must not."""

_running: set[subprocess.Popen[bytes]] = set()


class WorkerError(Exception):
    """The process ended, or was ended, before it had a result."""


class Worker:
    """A process that loads a module at once and then waits for the one call to be made in it, so
    that it starts while the caller still prepares its arguments.
    """

    def __init__(self, module: str) -> None:
        argv = [sys.executable, "-P", "-m", __name__, module]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_ONE_THREAD}
        )
        _running.add(self._process)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.__exit__(None, None, None)  # closes the pipes, and waits for its end
        _running.discard(self._process)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the module; blocks. Raises as `in_own_process` does."""
        try:
            answer, _ = self._process.communicate(
                pickle.dumps((function, arguments)), LONGEST_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise WorkerError(f"it took longer than {LONGEST_SECONDS:g} s") from None
        if self._process.returncode:
            raise WorkerError(f"its process ended with exit code {self._process.returncode}")
        good, result = pickle.loads(answer)  # noqa: S301 - what our own module wrote
        if not good:
            raise result
        return result


def in_own_process(module: str, function: str, *arguments: Any) -> Any:
    """Call `module.function(*arguments)` in a new process; blocks.

    Raises the `TypesettingError`, `StoreError` or `UserError` that the function raised, and
    `WorkerError` where the process broke or took longer than `LONGEST_SECONDS`.
    """
    with Worker(module) as worker:
        return worker.call(function, *arguments)


def stop_workers() -> None:
    """End every such process, as this program is stopping: papers can be made again."""
    for process in list(_running):
        process.kill()


def main() -> None:
    """Load the module that is named, call what the parent process asks for on standard input, and
    answer on standard output.
    """
    die_with_parent()  # which cannot end it if it is killed, and may be a worker itself
    os.nice(10)  # whoever measures on this machine goes first
    gc.disable()  # it lives for one call, which makes much and drops little
    try:
        module = import_module(sys.argv[1])
        function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent
        with redirect_stdout(sys.stderr):
            answer = True, getattr(module, function)(*arguments)
    except (TypesettingError, TemporaryError, UserError) as error:
        answer = False, error
    except KeyboardInterrupt:
        sys.exit(130)  # Ctrl-C reaches both processes; the parent says so
    sys.stdout.buffer.write(pickle.dumps(answer))
    sys.stdout.buffer.flush()
    sys.stderr.flush()
    os._exit(0)  # to take all libraries down again takes as long as a part of the work


if __name__ == "__main__":
    main()
