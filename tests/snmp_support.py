"""A real snmpd on loopback, with the kernel's interfaces or simulated ones.

Simulated interfaces come from a JSON file, which `snmp_program.py` serves to snmpd.
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
UPTIME, DUPLEX = ".1.3.6.1.2.1.1.3", ".1.3.6.1.2.1.10.7.2.1.19"
SIMULATED = (UPTIME, IF, IFX, DUPLEX)
START_SECONDS = 10.0
PROGRAM = Path(__file__).with_name("snmp_program.py")

Table = Mapping[str, tuple[str, int | str]]
"""Type and value by OID, as in `pass_persist`."""


def interface(
    number: int, name: str, *, octets: tuple[int, int], packets: tuple[int, int] | None = None,
    counters_64_bit: bool = True, kind: int = 6, speed: int = 10_000_000,
    faults: tuple[int, int] | None = None, duplex: int = 0,
) -> dict[str, tuple[str, int | str]]:  # fmt: skip
    """A row of ifTable and ifXTable; octets and packets are (in, out), faults errors and discards.

    Without `counters_64_bit` it has only 32-bit counters.
    """
    row: dict[str, tuple[str, int | str]] = {
        f"{IF}.2.{number}": ("string", f"simulated {name}"),
        f"{IF}.3.{number}": ("integer", kind),
        f"{IF}.5.{number}": ("gauge", speed),
        f"{IFX}.1.{number}": ("string", name),
        f"{IFX}.19.{number}": ("timeticks", 0),
    }
    if faults is not None:
        for column, count in zip(
            (14, 20, 13, 19), 2 * (faults[0],) + 2 * (faults[1],), strict=True
        ):
            row[f"{IF}.{column}.{number}"] = ("counter", count)
    if duplex:
        row[f"{DUPLEX}.{number}"] = ("integer", duplex)
    for direction, (column_32, column_64) in enumerate(((10, 6), (16, 10))):
        counted = (
            {0: octets[direction]}
            if packets is None
            else {0: octets[direction], 1: packets[direction]}
        )
        for column, count in counted.items():
            row[f"{IF}.{column_32 + column}.{number}"] = ("counter", count % (1 << 32))
            if counters_64_bit:
                row[f"{IFX}.{column_64 + column}.{number}"] = ("counter64", count)
    return row


class Snmpd:
    """A running snmpd; `set_state` changes its simulated uptime and interfaces."""

    def __init__(self, port: int, table: Path) -> None:
        self.port = port
        self._table = table

    def set_state(self, uptime: float, *interfaces: Table) -> None:
        """Set the router's uptime in seconds, and all of its interfaces."""
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
    directory: Path,
    *,
    simulated: bool = True,
    users: Sequence[str] = (),
    prefix: Sequence[str] = (),
) -> Iterator[Snmpd]:
    """Run snmpd with its own configuration and data; `users` are createUser lines of SNMPv3.

    `prefix` is a command that starts it, such as one that enters a namespace.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    table = directory / "table.json"
    lines = [f"agentaddress udp:{port}", f"rocommunity {COMMUNITY}"]
    for line in users:
        lines += [
            f"createUser {line}",
            f"rouser {line.split()[0]} auth" + " -V simulated" * simulated,
        ]
    if simulated:
        lines += [f"pass_persist -p 10 {oid} {sys.executable} -S {PROGRAM} {table}"
                  for oid in SIMULATED]  # fmt: skip
        # hide this machine's own objects: its uptime is not that of the router
        lines += [f"view simulated included {oid}" for oid in SIMULATED]
        lines[1] = f"rocommunity {COMMUNITY} default -V simulated"
    (directory / "snmpd.conf").write_text("\n".join(lines) + "\n", "utf-8")
    server = Snmpd(port, table)
    server.set_state(1000.0)
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
    """Wait for the pid file, which snmpd writes once it listens."""
    end = time.monotonic() + START_SECONDS
    while not pid.exists():
        assert process.poll() is None, "snmpd ended"
        assert time.monotonic() < end, "snmpd did not start"
        time.sleep(0.05)
