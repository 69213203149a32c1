"""Starts and stops the demo's processes: the hub, the agents and a speed-test server."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from jharnet_monitor.demo.places import Place
from jharnet_monitor.demo.setup import PORT, SPEEDTEST_PORT, Installation
from jharnet_monitor.errors import UserError
from jharnet_monitor.lab.layout import HEADQUARTERS

GOODBYE_SECONDS = 8.0


class Programs:
    """The running processes; `stop` ends all of them."""

    def __init__(self, place: Place, installation: Installation) -> None:
        self._place = place
        self._installation = installation
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start_hub(self) -> None:
        """Start the hub at headquarters."""
        self._start(HEADQUARTERS, "hub", ["run", "--config", str(self._installation.config)])

    def start_agent(self, office: str) -> None:
        """Start the agent on an office's PC."""
        self._start(
            office,
            office,
            [
                "agent",
                "--hub", f"wss://{self._place.hub_address}:{PORT}/agent",
                "--office", office,
                "--token-file", str(self._installation.token(office)),
                "--ca", str(self._installation.ca),
                "--spool", str(self._installation.spool(office)),
            ],
        )  # fmt: skip

    def start_speedtest_server(self) -> None:
        """Start a speed-test server next to headquarters, in place of the Internet."""
        address = [self._place.hub_address, str(SPEEDTEST_PORT)]
        module = "jharnet_monitor.demo.speedtest"
        self._launch(HEADQUARTERS, "speedtest", [sys.executable, "-P", "-m", module, *address])

    def kill(self, name: str) -> None:
        """End a program as a power cut does."""
        program = self._running.pop(name)
        program.kill()
        program.wait()

    def end(self, name: str) -> None:
        """End a program in order."""
        _end([self._running.pop(name)])

    def check(self) -> None:
        """Raise `UserError` with the last lines of the hub's log if the hub has ended."""
        hub = self._running["hub"]
        if hub.poll() is not None:
            lines = self._installation.log("hub").read_text("utf-8", "replace").splitlines()
            raise UserError(f"the demo's hub ended ({hub.returncode}): {' | '.join(lines[-3:])}")

    def _start(self, where: str, name: str, command: Sequence[str]) -> None:
        self._launch(where, name, [sys.executable, "-P", "-m", "jharnet_monitor", *command])

    def _launch(self, where: str, name: str, argv: Sequence[str]) -> None:
        with self._installation.log(name).open("ab") as log:
            self._running[name] = self._place.popen(
                where,
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the demo, which stops them in order
            )

    def stop(self) -> None:
        """Stop the agents first, so that they can say goodbye, then the hub."""
        hub = self._running.pop("hub", None)
        _end(list(self._running.values()))
        self._running.clear()
        if hub is not None:
            _end([hub])


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GOODBYE_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.1, deadline - time.monotonic()))
        if process.poll() is None:
            process.kill()
            process.wait()
