"""Who has which name, address and number in the lab. Pure: it knows the plan, not the machine.

| | IPv4 | IPv6 |
|---|---|---|
| headquarters | 10.8.0.2 | fd00:8::2 |
| provider's gateway (far end of the uplink) | 10.8.0.1 | fd00:8::1 |
| router of office i (1, 2, … in the lab file's order) | 10.8.i.1 | fd00:8:i::1 (i in hex) |
| PC of office i | 10.8.i.10 | fd00:8:i::10 |
| 1022 more addresses that the router of office i answers, for tests of scale | 10.16.4i.0/22 … | |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab.routes import GATEWAY
from jharnet_monitor.lab.spec import LabSpec

HEADQUARTERS = "headquarters"
UPLINK = "uplink"
DEFAULT_PREFIX = "jhn"
LOCK = "lock"
"""The file that a lab's process holds a lock on as long as it lives; its process id is inside."""

_PREFIX = re.compile(r"^[a-z][a-z0-9]{0,7}$")
_LAN = IPv4Network("10.8.0.0/16")
_MORE = IPv4Network("10.16.0.0/14")  # a /22 an office
_LAN6 = int(IPv6Address("fd00:8::"))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Of one office, or of headquarters (whose router is the provider's gateway)."""

    router: str
    pc: str
    router6: str
    pc6: str
    more: str | None = None
    """A network whose every address the router answers to."""

    @staticmethod
    def of(number: int) -> Addresses:
        """The addresses of office `number`, or of headquarters for 0."""
        host = 10 if number else 2
        lan6 = _LAN6 | number << 80
        return Addresses(
            str(_LAN[number * 256 + 1]),
            str(_LAN[number * 256 + host]),
            str(IPv6Address(lan6 | 1)),
            str(IPv6Address(lan6 | (0x10 if number else 2))),
            f"{_MORE[number * 1024]}/22" if number else None,
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The plan of one lab: `prefix` sets it apart from other labs on the machine."""

    prefix: str
    offices: tuple[str, ...]

    @staticmethod
    def of(spec: LabSpec, prefix: str) -> Layout:
        """Raises `UserError` for a prefix that is none."""
        return Layout(check_prefix(prefix), tuple(spec.offices))

    def number(self, office: str) -> int:
        """1, 2, …; raises `UserError` for an office that the lab has not."""
        if office not in self.offices:
            raise UserError(f"no office `{office}` in the lab; it has {', '.join(self.offices)}")
        return self.offices.index(office) + 1

    def addresses(self, where: str) -> Addresses:
        """Of an office or `headquarters`."""
        return Addresses.of(0 if where == HEADQUARTERS else self.number(where))

    def namespace(self, where: str) -> str:
        """In which the programs of an office's PC, or of headquarters, run."""
        if where == HEADQUARTERS:
            return f"{self.prefix}-hq"
        self.number(where)
        return f"{self.prefix}-{where}"

    def router_namespace(self, office: str) -> str:
        """Of an office's router, between its LAN and its line."""
        return f"{self.namespace(office)}.router"

    @property
    def run_directory(self) -> Path:
        """Control socket, boot ids and records of the running lab."""
        return run_directory(self.prefix)

    @property
    def control_socket(self) -> Path:
        """Where the lab takes commands."""
        return self.run_directory / "control.sock"

    @property
    def packet_log(self) -> Path:
        """The ring of echo packets."""
        return self.run_directory / "packets.ring"

    def boot_id_file(self, office: str) -> Path:
        """Holds the id of the current boot of an office's PC."""
        self.number(office)
        return self.run_directory / "boot" / office

    # Pipes and ends, as the emulator counts them: number 0 is headquarters, then the offices.

    def pipes_of(self, where: str) -> tuple[int, int]:
        """The numbers of the pipes down and up of an office's line, or of the uplink."""
        number = 0 if where == UPLINK else self.number(where)
        return 2 * number, 2 * number + 1

    def route(self, end: int, target: bytes) -> tuple[tuple[int, ...], int] | None:
        """Which pipes lead from an end to an address, and to which end; None where none do.

        From headquarters up its uplink, then down the office's line; the other way about from an
        office. Between offices up one line and down the other. The gateway stands between.
        No way leads to an empty target, that of a frame which is no IP packet.
        """
        goal = self._end_of(target) if target else None
        if goal is None or goal == end:
            return None
        first = () if end == GATEWAY else (2 * end + 1,)
        last = () if goal == GATEWAY else (2 * goal,)
        return first + last, goal

    def place(self, address: str) -> str:
        """Whose address this is: an office, `headquarters` or the `gateway`."""
        end = self._end_of(ip_address(address).packed)
        if end is None:
            return "?"
        return {GATEWAY: "gateway", 0: HEADQUARTERS}.get(end) or self.offices[end - 1]

    def _end_of(self, target: bytes) -> int | None:
        if len(target) == 16:
            lan, host = divmod(int.from_bytes(target) - _LAN6, 1 << 80)
        else:
            address = IPv4Address(target)
            if address in _MORE:
                lan, host = divmod(int(address) - int(_MORE[0]), 1024)
            elif address in _LAN:
                lan, host = divmod(int(address) - int(_LAN[0]), 256)
            else:
                return None
        if lan == 0:
            return {1: GATEWAY, 2: 0}.get(host)
        return lan if 0 < lan <= len(self.offices) else None


def run_directory(prefix: str) -> Path:
    """Where a lab with this prefix keeps its files while it runs."""
    return Path("/run/jharnet-lab") / prefix


def check_prefix(prefix: str) -> str:
    """Short, and without a hyphen, so that no lab takes another's namespaces for its own."""
    if not _PREFIX.match(prefix):
        raise UserError(
            f"a lab's prefix is 1 to 8 small letters and digits, such as `jhn`, not `{prefix}`"
        )
    return prefix
