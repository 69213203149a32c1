"""The lab as its users see it: start it, run programs in it, change it, read it, end it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from jharnet_monitor.agent.machine import BOOT_ID_VARIABLE
from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import namespaces
from jharnet_monitor.lab.layout import (
    DEFAULT_PREFIX,
    HEADQUARTERS,
    LOCK_FILE,
    Addresses,
    Layout,
    check_prefix,
    run_directory,
)
from jharnet_monitor.lab.packet_log import EchoPacket, read_packet_log
from jharnet_monitor.lab.spec import LabSpec, LinkDirection, parse_spec

_STOP_TIMEOUT_SECONDS = 20.0
"""Time for the daemon to end after a signal."""


class Lab:
    """A running lab. As a context manager it is taken down at the end.

    >>> spec = {"offices": {"potka": {"down": {"delay": "20ms"}}}}
    >>> with Lab.start(spec) as lab:  # doctest: +SKIP
    ...     lab.run("headquarters", ["ping", "-c", "1", lab.addresses("potka").router])
    """

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        """Connect to the running lab with this prefix; raises `UserError` if there is none."""
        self._socket = socket.socket(socket.AF_UNIX)
        path = Layout(check_prefix(prefix), ()).control_socket
        try:
            self._socket.connect(str(path))
        except PermissionError:
            raise UserError("the lab belongs to root: run this as root") from None
        except OSError:
            raise UserError(
                f"no lab with prefix `{prefix}` is running: start it with `lab up FILE`"
            ) from None
        self._responses = self._socket.makefile("rb")
        self._request_lock = threading.Lock()
        self._daemon: DaemonProcess | None = None
        self.layout = Layout(prefix, tuple(self.request("offices")))

    @classmethod
    def start(
        cls,
        spec: LabSpec | Mapping[str, Any],
        prefix: str = DEFAULT_PREFIX,
        *,
        detached: bool = False,
    ) -> Self:
        """Start a lab and connect to it. It ends with this process unless it is `detached`.

        Raises `UserError` for an invalid spec, and if the machine or the user cannot have a lab.
        """
        namespaces.check_machine()
        if not isinstance(spec, LabSpec):
            spec = parse_spec(spec)
        Layout.of(spec, prefix)
        options = {"spec": spec.model_dump(by_alias=True), "prefix": prefix, "detached": detached}
        daemon = DaemonProcess(options)
        if detached:
            daemon.close_stdin()
        lab = cls(prefix)
        lab._daemon = daemon
        return lab

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def request(self, command: str, **arguments: Any) -> Any:
        """Send one command to the lab and return its result; raises `UserError` if it fails."""
        line = b""
        with self._request_lock, contextlib.suppress(ConnectionError):
            self._socket.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
            line = self._responses.readline()
        if not line:
            raise UserError("the lab has ended: start it again with `lab up FILE`")
        response = json.loads(line)
        if "error" in response:
            raise UserError(response["error"])
        return response["ok"]

    # Places: the id of an office, or `headquarters`

    @property
    def offices(self) -> tuple[str, ...]:
        """The ids of the offices, in the order of their numbers."""
        return self.layout.offices

    def addresses(self, where: str) -> Addresses:
        """The addresses of an office or of `headquarters`."""
        return self.layout.addresses(where)

    def namespace(self, where: str) -> str:
        """The network namespace of an office's PC or of `headquarters`."""
        return self.layout.namespace(where)

    @contextlib.contextmanager
    def inside(self, where: str) -> Iterator[None]:
        """Run the current thread in that place; sockets opened inside remain in its namespace."""
        with namespaces.inside(self.namespace(where)):
            yield

    # Programs

    def command(self, where: str, argv: Sequence[str | Path]) -> tuple[list[str], dict[str, str]]:
        """The command that runs a program there, and the variables to add to its environment.

        Raises `UserError` if the power is cut.
        """
        self._require_power(where)
        environment = {}
        if where != HEADQUARTERS:
            environment[BOOT_ID_VARIABLE] = str(self.layout.boot_id_file(where))
        return ["ip", "netns", "exec", self.namespace(where), *map(str, argv)], environment

    def _require_power(self, where: str) -> None:
        if not self.request("has_power", where=where):
            raise UserError(f"{where} has no power: `lab restore {where} power` first")

    def boot_id(self, office: str) -> str:
        """The boot id of the office's PC, which changes with every power cut."""
        return self.layout.boot_id_file(office).read_text().strip()

    def popen(
        self, where: str, argv: Sequence[str | Path], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a program on an office's PC or at headquarters; options as for `subprocess.Popen`.

        Raises `UserError` if the power is cut.
        """
        command, additions = self.command(where, argv)
        environment = {**(options.pop("env", None) or os.environ), **additions}
        # The process starts inside the namespace, so that a concurrent power cut finds it.
        with self.inside(where):
            process = subprocess.Popen(command, env=environment, **options)  # noqa: S603
        try:
            self._require_power(where)
        except UserError:
            process.kill()
            process.wait()
            raise
        return process

    def run(
        self, where: str, argv: Sequence[str | Path], timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end and return its output as text.

        Raises `CalledProcessError` if it fails and `TimeoutExpired` after `timeout` seconds.
        """
        pipe = subprocess.PIPE
        with self.popen(where, argv, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                output, errors = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, list(argv), output, errors)
        return subprocess.CompletedProcess(list(argv), 0, output, errors)

    # Changes

    def settings(self, where: str, direction: str) -> LinkDirection:
        """The current settings of `down` or `up` of an office's link or of the `uplink`."""
        settings = self.request("status")["links"][where][direction]["settings"]
        return LinkDirection.model_validate(settings)

    def set(self, where: str, path: str, value: str) -> None:
        """Change one setting while the lab runs: `lab.set("potka", "down.loss", "2%")`."""
        self.request("set", where=where, setting=f"{path}={value}")

    def cut(self, where: str, what: str = "link") -> None:
        """Cut `link`, `power` or `lan` of an office, or the `link` of the `uplink`."""
        self.request("cut", where=where, what=what)

    def restore(self, where: str, what: str = "link") -> None:
        """Undo a cut."""
        self.request("restore", where=where, what=what)

    # Ground truth

    def status(self) -> dict[str, Any]:
        """The counters of both directions of all links, and the lateness of the emulator."""
        status: dict[str, Any] = self.request("status")
        return status

    def flows(self) -> list[dict[str, Any]]:
        """The counters and delays of each flow; see `flows.describe_flow` for the keys."""
        flows: list[dict[str, Any]] = []
        start: int | None = 0
        while start is not None:
            page = self.request("flows", start=start)
            flows += page["flows"]
            start = page["next"]
        return flows

    def echo_packets(self, since: int = 0) -> Iterator[EchoPacket]:
        """The echo requests and replies that left or were dropped, from number `since` on."""
        return read_packet_log(self.layout.packet_log, since)

    def reset(self) -> None:
        """Reset all counters to 0."""
        self.request("reset")

    # End

    def down(self) -> None:
        """Take the lab down, also if its processes have died."""
        self._responses.close()
        self._socket.close()
        take_down(self.layout.prefix)
        if self._daemon is not None:
            self._daemon.wait()


class DaemonProcess:
    """The daemon of a lab, as a child of this process."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Start the daemon and wait until the lab is up.

        `options` holds `spec`, `prefix` and `detached`. Raises `UserError` if the lab fails to
        start.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jharnet_monitor.lab.daemon"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._stdin, stdout = self._process.stdin, self._process.stdout
        if self._stdin is None or stdout is None:
            raise RuntimeError("the daemon has no pipes")
        self._stdin.write(json.dumps(options) + "\n")
        self._stdin.flush()
        with stdout:
            response = json.loads(stdout.readline() or '{"error": "the lab did not start"}')
        if "error" in response:
            self.wait()
            raise UserError(response["error"])

    def close_stdin(self) -> None:
        """Close the daemon's stdin, which ends the lab unless it was started detached."""
        if self._stdin is not None:
            self._stdin.close()

    def wait(self) -> None:
        """Let the daemon end, and wait until it has removed everything."""
        self.close_stdin()
        self._process.wait()


def take_down(prefix: str = DEFAULT_PREFIX) -> list[str]:
    """End the lab with this prefix and remove what one that died has left behind.

    Returns what there was, namespaces and directory. Raises `UserError` without root.
    """
    namespaces.check_machine()
    directory = run_directory(check_prefix(prefix))
    found = namespaces.list_namespaces(prefix)
    if directory.exists():
        found.append(str(directory))
        _stop_daemon(directory)
    namespaces.remove_namespaces(namespaces.list_namespaces(prefix))
    shutil.rmtree(directory, ignore_errors=True)
    return found


def _stop_daemon(directory: Path) -> None:
    """Send the daemon SIGTERM, and SIGKILL if it does not end in time."""
    with (directory / LOCK_FILE).open("a+") as lock:
        lock.seek(0)
        pid = int(lock.read() or 0)
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            if _is_unlocked(lock.fileno(), 0):
                return
            if pid:
                os.kill(pid, signal_number)
            if _is_unlocked(lock.fileno(), _STOP_TIMEOUT_SECONDS):
                return


def _is_unlocked(lock: int, seconds: float) -> bool:
    """Whether nobody holds the file lock, after waiting for at most `seconds`."""
    deadline = time.monotonic() + seconds
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
