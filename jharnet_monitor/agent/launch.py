"""Starts the active version, monitors a version on trial, and rolls back when it fails.

The program that was installed by hand always starts first. It replaces itself with the active
version (`exec`). It starts a version on trial as a child, so that it can end one that hangs.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from jharnet_monitor import __version__
from jharnet_monitor.agent.versions import LastUpdate, Versions

log = logging.getLogger(__name__)

LAUNCHED_BY = "JHARNET_AGENT_BASE"
"""The program that started this version; not set if no update is active."""
BASE_VERSION = "JHARNET_AGENT_BASE_VERSION"
"""The version of that program."""
WATCHED = "JHARNET_AGENT_WATCHED"
"""Set while the program that started this version monitors it."""
_PYTHON_VARIABLES = ("PYTHONPATH", "PYTHONHOME")
"""With these a version would load the modules of another one."""
_OWN_VARIABLES = (LAUNCHED_BY, BASE_VERSION, WATCHED)
START_AGAIN = 75
"""Exit status with which a monitored version requests a restart, as after an update."""
LOOK_SECONDS = 0.5
END_SECONDS = 15.0
PAUSE_SECONDS = 3.0
"""Pause between two starts of a failing version."""


def versions_in(directory: Path) -> Versions:
    """The versions in this directory, beside the one that was installed by hand."""
    return Versions(directory, os.environ.get(BASE_VERSION, __version__))


def can_update() -> bool:
    """Whether this system can replace a process by another, as updates need; Windows cannot."""
    return hasattr(os, "fork")


def is_watched() -> bool:
    """Whether another process started this one to monitor it, and waits in memory until its end."""
    return WATCHED in os.environ


def launch(versions: Versions, arguments: Sequence[str]) -> None:
    """Run the active version with these arguments; returns if this program is the active version.

    Otherwise this process ends with it.
    """
    if LAUNCHED_BY in os.environ:
        return
    while True:
        program, trial = versions.to_start()
        if program is None:
            return
        environment = {k: v for k, v in os.environ.items() if k not in _PYTHON_VARIABLES}
        environment |= {LAUNCHED_BY: _base(), BASE_VERSION: __version__}
        if trial is None:
            _replace_process(program, arguments, environment)
            log.error("%s cannot be started; the installed version runs instead", program)
            return
        status = _Watch(versions, trial).run(program, arguments, environment)
        if status is not None:
            sys.exit(status)


def start_again(arguments: Sequence[str]) -> None:
    """End this process, so that the active version starts instead of it."""
    if is_watched():
        sys.exit(START_AGAIN)
    base = os.environ.get(LAUNCHED_BY) or _base()
    environment = {k: v for k, v in os.environ.items() if k not in _OWN_VARIABLES}
    _replace_process(Path(base), arguments, environment)
    sys.exit(START_AGAIN)  # the service manager starts this program again


def _base() -> str:
    return str(Path(sys.argv[0]).absolute())


def _replace_process(program: Path, arguments: Sequence[str], environment: dict[str, str]) -> None:
    """Replace this process; returns only if the program cannot be started."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(program, [str(program), *arguments], environment)  # noqa: S606 - our own
    except OSError as error:
        log.error("%s: %s", program, error.strerror)


class _Watch:
    """Monitors one start of a version on trial."""

    def __init__(self, versions: Versions, trial: LastUpdate) -> None:
        self._versions = versions
        self._trial = trial
        self._stopped_by: int | None = None
        """The signal that stops this process, and the version with it."""
        self._child: subprocess.Popen[bytes] | None = None

    def run(
        self, program: Path, arguments: Sequence[str], environment: dict[str, str]
    ) -> int | None:
        """Run it until it ends; returns this process's exit status, or None to choose again."""
        before = {
            number: signal.signal(number, self._pass_on)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            status = self._run_child(program, arguments, environment)
        finally:  # this object would lose a later signal
            for number, handler in before.items():
                signal.signal(number, handler)
        return status if self._stopped_by is None else 0

    def _run_child(
        self, program: Path, arguments: Sequence[str], environment: dict[str, str]
    ) -> int | None:
        argv = [str(program), *arguments]
        log.info("version %s runs on trial, start %d", self._trial.version, self._trial.attempts)
        try:
            self._child = subprocess.Popen(argv, env={**environment, WATCHED: "1"})  # noqa: S603
        except OSError as error:
            self._versions.roll_back(f"it cannot be started: {error.strerror}")
            return None
        if self._stopped_by is not None:  # while it started, there was nothing to pass it on to
            self._child.send_signal(self._stopped_by)
        status = self._wait(self._child)
        if self._stopped_by is not None:
            self._versions.note_stop()
            return 0
        if status == START_AGAIN:
            return None
        if status is not None and self._confirmed():
            return status if status >= 0 else 1
        if status is None:
            self._versions.roll_back(
                f"it did not reach the hub within {self._trial.trial_seconds:g} s"
            )
        else:
            self._versions.note_failure(f"it ended with status {status}")
            time.sleep(PAUSE_SECONDS)
        return None

    def _wait(self, child: subprocess.Popen[bytes]) -> int | None:
        """The child's exit status; None if it was ended because its time was over."""
        until = time.monotonic() + self._trial.trial_seconds
        confirmed = False
        while True:
            try:
                return child.wait(None if confirmed else LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                confirmed = self._confirmed()
            if not confirmed and time.monotonic() > until:
                _end(child)
                return None

    def _confirmed(self) -> bool:
        last = self._versions.last()
        return last is not None and not last.on_trial

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._stopped_by = number
        if self._child is not None:
            self._child.send_signal(number)


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
