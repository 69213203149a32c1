"""A PostgreSQL cluster that keeps its promises (fsync on), for fault runs that kill or stop it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.conftest import find_program


class Cluster:
    """A cluster below a directory, on a Unix socket there; `start`, `stop`, `kill`, `pause`."""

    def __init__(self, directory: Path, sockets: Path | None = None) -> None:
        self.directory = directory
        self.sockets = sockets or directory
        directory.mkdir(parents=True, exist_ok=True)
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:  # its programs refuse to run as root
            shutil.chown(directory, "postgres", "postgres")
            shutil.chown(self.sockets, "postgres", "postgres")
            self._account = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self._run("initdb", "--auth=trust", "--username=jharnet", "--encoding=UTF8",
                  "--data-checksums", f"--pgdata={self.data}")  # fmt: skip
        self.start()
        self._run("createdb", f"--host={self.sockets}", "--username=jharnet", "monitor")

    @property
    def data(self) -> Path:
        """The cluster's files."""
        return self.directory / "data"

    @property
    def url(self) -> str:
        """The address of its database."""
        return f"postgresql://jharnet@/monitor?host={self.sockets}"

    def start(self) -> None:
        """Start the server; returns when it takes connections."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.sockets}"
        log = str(self.sockets / "postgresql.log")
        self._run("pg_ctl", "--wait", "--timeout=120", f"--pgdata={self.data}", "start",
                  "--options", options, "--log", log)  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop the server."""
        self._run("pg_ctl", "--wait", f"--pgdata={self.data}", "stop", f"--mode={mode}")

    def processes(self) -> list[int]:
        """The ids of the server and of its children."""
        file = self.data / "postmaster.pid"
        if not file.exists():
            return []
        server = int(file.read_text("ascii").splitlines()[0])
        children = Path(f"/proc/{server}/task/{server}/children")
        return [server, *map(int, children.read_text("ascii").split())]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to its children, and wait for the end if it kills."""
        ids = self.processes()
        for process in ids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        while number is signal.SIGKILL and any(Path(f"/proc/{one}").exists() for one in ids):
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill every process of it, as the end of power does."""
        self.signal(signal.SIGKILL)

    def _run(self, program: str, *arguments: str) -> None:
        path = find_program(program)
        assert path is not None
        subprocess.run(
            [path, *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/", **self._account
        )
