"""A lab from the outside: start it, run programs in it, change it, read its truth, end it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from jharnet_monitor.agent.machine import BOOT_ID_VARIABLE
from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import namespaces
from jharnet_monitor.lab.layout import (
    DEFAULT_PREFIX,
    HEADQUARTERS,
    Addresses,
    Layout,
    check_prefix,
)
from jharnet_monitor.lab.life import Daemon, take_down
from jharnet_monitor.lab.packetlog import EchoPacket, read_packet_log
from jharnet_monitor.lab.spec import LabSpec, Way, parse_spec


class Lab:
    """A running lab. As a context manager it is taken away at the end.

    >>> spec = {"offices": {"potka": {"down": {"delay": "20ms"}}}}
    >>> with Lab.start(spec) as lab:  # doctest: +SKIP
    ...     lab.run("headquarters", ["ping", "-c", "1", lab.addresses("potka").router])
    """

    def __init__(self, prefix: str = DEFAULT_PREFIX) -> None:
        """Connect to the lab that runs with this prefix; raises `UserError` if none does."""
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
        self._lines = self._socket.makefile("rb")
        self._turn = threading.Lock()
        self._daemon: Daemon | None = None
        self.layout = Layout(prefix, tuple(self.ask("offices")))

    @classmethod
    def start(
        cls,
        spec: LabSpec | Mapping[str, Any],
        prefix: str = DEFAULT_PREFIX,
        *,
        stays: bool = False,
    ) -> Self:
        """Build a lab and connect to it; it ends with this process unless it `stays`.

        Raises `UserError` for a bad lab, and where the machine or the user cannot have one.
        """
        namespaces.check_machine()
        if not isinstance(spec, LabSpec):
            spec = parse_spec(spec)
        Layout.of(spec, prefix)
        order = {"spec": spec.model_dump(by_alias=True), "prefix": prefix, "stays": stays}
        daemon = Daemon(order)
        if stays:
            daemon.let_go()
        lab = cls(prefix)
        lab._daemon = daemon
        return lab

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def ask(self, command: str, **arguments: Any) -> Any:
        """One request to the lab; raises `UserError` with what the lab had against it."""
        line = b""
        with self._turn, contextlib.suppress(ConnectionError):
            self._socket.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
            line = self._lines.readline()
        if not line:
            raise UserError("the lab has ended meanwhile: start it again with `lab up FILE`")
        answer = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer["ok"]

    # -- places --

    @property
    def offices(self) -> tuple[str, ...]:
        """The ids of the offices, in the order of their numbers."""
        return self.layout.offices

    def addresses(self, where: str) -> Addresses:
        """Of an office or `headquarters`."""
        return self.layout.addresses(where)

    def namespace(self, where: str) -> str:
        """The network namespace of an office's PC, or of `headquarters`."""
        return self.layout.namespace(where)

    @contextlib.contextmanager
    def entered(self, where: str) -> Iterator[None]:
        """The current thread there: sockets made inside belong to that place for good."""
        with namespaces.inside(self.namespace(where)):
            yield

    # -- programs --

    def command(self, where: str, argv: Sequence[str | Path]) -> tuple[list[str], dict[str, str]]:
        """The command that runs a program there, and what it needs in its environment.

        Raises `UserError` where the power is cut.
        """
        self._require_power(where)
        environment = {}
        if where != HEADQUARTERS:
            environment[BOOT_ID_VARIABLE] = str(self.layout.boot_id_file(where))
        return ["ip", "netns", "exec", self.namespace(where), *map(str, argv)], environment

    def _require_power(self, where: str) -> None:
        if not self.ask("has_power", where=where):
            raise UserError(f"{where} has no power: `lab restore {where} power` first")

    def boot_id(self, office: str) -> str:
        """Of the office's PC; another one after every power cut."""
        return self.layout.boot_id_file(office).read_text().strip()

    def popen(
        self, where: str, argv: Sequence[str | Path], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a program on an office's PC or at headquarters; options as for `subprocess.Popen`.

        Raises `UserError` where the power is cut.
        """
        command, additions = self.command(where, argv)
        environment = {**(options.pop("env", None) or os.environ), **additions}
        with self.entered(where):  # born there, so that a power cut from now on finds it
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
        """Run a program to its end, with its output as text; raises if it fails."""
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

    # -- changes --

    def way(self, where: str, direction: str) -> Way:
        """The settings of `down` or `up` at an office or the `uplink`, in SI units."""
        settings = self.ask("status")["links"][where][direction]["settings"]
        return Way.model_validate(settings)

    def set(self, where: str, path: str, value: str) -> None:
        """Change a direction while it runs: `lab.set("potka", "down.loss", "2%")`."""
        self.ask("set", where=where, setting=f"{path}={value}")

    def cut(self, where: str, what: str = "link") -> None:
        """Cut `link`, `power` or `lan` of an office, or the `link` of the `uplink`."""
        self.ask("cut", where=where, what=what)

    def restore(self, where: str, what: str = "link") -> None:
        """Undo a cut."""
        self.ask("restore", where=where, what=what)

    # -- truth --

    def status(self) -> dict[str, Any]:
        """The counters of every direction of every link, and how late packets left."""
        answer: dict[str, Any] = self.ask("status")
        return answer

    def flows(self) -> list[dict[str, Any]]:
        """What became of each flow's packets; see `flows.describe` for the keys."""
        flows: list[dict[str, Any]] = []
        start: int | None = 0
        while start is not None:
            page = self.ask("flows", start=start)
            flows += page["flows"]
            start = page["next"]
        return flows

    def echo_packets(self, since: int = 0) -> Iterator[EchoPacket]:
        """Every echo request and reply that left or was dropped, with the moments it did."""
        return read_packet_log(self.layout.packet_log, since)

    def reset(self) -> None:
        """Count from 0 again."""
        self.ask("reset")

    # -- end --

    def down(self) -> None:
        """End the lab, also one whose processes died."""
        self._lines.close()
        self._socket.close()
        take_down(self.layout.prefix)
        if self._daemon is not None:
            self._daemon.wait()
