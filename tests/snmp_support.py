"""A real snmpd on loopback; its interfaces are the kernel's, or those that a test makes up.

Made-up ones are told by `snmp_program.py`, which snmpd asks: snmpd speaks the protocol, and a JSON
file holds what there is to tell.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import find_program

COMMUNITY, PASSWORD = "readonly-jharnet", "secret-for-routers"
IF, IFX = ".1.3.6.1.2.1.2.2.1", ".1.3.6.1.2.1.31.1.1.1"
UPTIME = ".1.3.6.1.2.1.1.3"
START_SECONDS = 10.0
PROGRAM = Path(__file__).with_name("snmp_program.py")

Table = Mapping[str, tuple[str, int | str]]
"""Type and value by OID, both as `pass_persist` has them."""


def interface(
    number: int, name: str, *, octets: tuple[int, int], packets: tuple[int, int] | None = None,
    wide: bool = True, kind: int = 6, speed: int = 10_000_000,
) -> dict[str, tuple[str, int | str]]:  # fmt: skip
    """A row of ifTable and ifXTable: in and out; only 32-bit counters unless `wide`."""
    row: dict[str, tuple[str, int | str]] = {
        f"{IF}.2.{number}": ("string", f"made up {name}"),
        f"{IF}.3.{number}": ("integer", kind),
        f"{IF}.5.{number}": ("gauge", speed),
        f"{IFX}.1.{number}": ("string", name),
        f"{IFX}.19.{number}": ("timeticks", 0),
    }
    for way, (narrow, wider) in enumerate(((10, 6), (16, 10))):
        counted = {0: octets[way]} if packets is None else {0: octets[way], 1: packets[way]}
        for column, count in counted.items():
            row[f"{IF}.{narrow + column}.{number}"] = ("counter", count % (1 << 32))
            if wide:
                row[f"{IFX}.{wider + column}.{number}"] = ("counter64", count)
    return row


class Snmpd:
    """A running snmpd; `tell` changes what its made-up interfaces say."""

    def __init__(self, port: int, table: Path) -> None:
        self.port = port
        self._table = table

    def tell(self, uptime: float, *interfaces: Table) -> None:
        """The router's uptime in seconds, and all of its interfaces."""
        table: dict[str, tuple[str, int | str]] = {
            f"{UPTIME}.0": ("timeticks", round(uptime * 100) % (1 << 32))
        }
        for one in interfaces:
            table |= one
        part = self._table.with_suffix(".part")
        part.write_text(json.dumps(table), "utf-8")
        part.replace(self._table)


@contextmanager
def snmpd(
    directory: Path, *, made_up: bool = True, users: Sequence[str] = (), prefix: Sequence[str] = ()
) -> Iterator[Snmpd]:
    """snmpd with its own configuration and data; `users` are createUser lines of SNMPv3.

    `prefix` is a command to start it by, such as one that enters a namespace.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    table = directory / "table.json"
    lines = [f"agentaddress udp:{port}", f"rocommunity {COMMUNITY}"]
    for line in users:
        lines += [f"createUser {line}", f"rouser {line.split()[0]} auth" + " -V told" * made_up]
    if made_up:
        lines += [f"pass_persist -p 10 {oid} {sys.executable} -S {PROGRAM} {table}"
                  for oid in (UPTIME, IF, IFX)]  # fmt: skip
        # of the machine itself nothing: its own uptime is not the made-up router's
        lines += [f"view told included {oid}" for oid in (UPTIME, IF, IFX)]
        lines[1] = f"rocommunity {COMMUNITY} default -V told"
    (directory / "snmpd.conf").write_text("\n".join(lines) + "\n", "utf-8")
    server = Snmpd(port, table)
    server.tell(1000.0)
    program = find_program("snmpd")
    assert program is not None
    command = [*prefix, program, "-f", "-Lf", str(directory / "log"), "-C", "-c",
               str(directory / "snmpd.conf"), "-p", str(directory / "pid")]  # fmt: skip
    environment = {**os.environ, "SNMP_PERSISTENT_DIR": str(directory), "MIBS": ""}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        _wait_for(directory / "pid", process)
        yield server
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(pid: Path, process: subprocess.Popen[bytes]) -> None:
    """It writes its number once it listens."""
    end = time.monotonic() + START_SECONDS
    while not pid.exists():
        assert process.poll() is None, "snmpd ended"
        assert time.monotonic() < end, "snmpd did not start"
        time.sleep(0.05)
