"""How a lab begins and ends: the process that owns it, and what one that died has left."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import namespaces
from jharnet_monitor.lab.layout import DEFAULT_PREFIX, LOCK, check_prefix, run_directory

_PATIENCE = 20.0


class Daemon:
    """The process that owns a lab, as the child of this one."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        """Raises `UserError` with its reason if it does not come up."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jharnet_monitor.lab.daemon"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._lifeline, output = self._process.stdin, self._process.stdout
        if self._lifeline is None or output is None:
            raise RuntimeError("no pipes")
        self._lifeline.write(json.dumps(order) + "\n")
        self._lifeline.flush()
        with output:
            answer = json.loads(output.readline() or '{"error": "the lab did not start"}')
        if "error" in answer:
            self.wait()
            raise UserError(answer["error"])

    def let_go(self) -> None:
        """Close the pipe whose end is the lab's end, unless the order was that it stays."""
        if self._lifeline is not None:
            self._lifeline.close()

    def wait(self) -> None:
        """Until it has taken everything away."""
        self.let_go()
        self._process.wait()


def take_down(prefix: str = DEFAULT_PREFIX) -> list[str]:
    """End the lab with this prefix and clear away whatever one that died has left.

    Returns what there was: namespaces and directory; empty if nothing.
    """
    namespaces.check_machine()
    directory = run_directory(check_prefix(prefix))
    found = namespaces.existing(prefix)
    if directory.exists():
        found.append(str(directory))
        _end_daemon(directory)
    namespaces.remove(namespaces.existing(prefix))
    shutil.rmtree(directory, ignore_errors=True)
    return found


def _end_daemon(directory: Path) -> None:
    """Ask the daemon to go, or kill it if it does not."""
    with (directory / LOCK).open("a+") as lock:
        lock.seek(0)
        pid = int(lock.read() or 0)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _is_free(lock.fileno(), 0):
                return
            if pid:
                os.kill(pid, number)
            if _is_free(lock.fileno(), _PATIENCE):
                return


def _is_free(lock: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            fcntl.flock(lock, fcntl.LOCK_UN)
            return True
