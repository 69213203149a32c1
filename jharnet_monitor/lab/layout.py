"""Names, addresses and numbers in the lab. Pure: computed from the spec, not from the machine.

| | IPv4 | IPv6 |
|---|---|---|
| headquarters | 10.8.0.2 | fd00:8::2 |
| provider's gateway (far end of the uplink) | 10.8.0.1 | fd00:8::1 |
| router of office i (1, 2, … in the lab file's order) | 10.8.i.1 | fd00:8:i::1 (i in hex) |
| PC of office i | 10.8.i.10 | fd00:8:i::10 |
| 1022 extra addresses that the router of office i answers, for tests of scale | 10.16.4i.0/22 … | |
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
LOCK_FILE = "lock"
"""The file that a lab's daemon locks while it runs; it contains the process id."""

_PREFIX = re.compile(r"^[a-z][a-z0-9]{0,7}$")
_LAN = IPv4Network("10.8.0.0/16")
_EXTRA = IPv4Network("10.16.0.0/14")  # a /22 per office
_LAN6 = int(IPv6Address("fd00:8::"))


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of an office, or of headquarters, whose router is the provider's gateway."""

    router: str
    pc: str
    router6: str
    pc6: str
    extra: str | None = None
    """A network whose addresses the router all answers; None at headquarters."""

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
            f"{_EXTRA[number * 1024]}/22" if number else None,
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one lab; `prefix` distinguishes it from other labs on the machine."""

    prefix: str
    offices: tuple[str, ...]

    @staticmethod
    def of(spec: LabSpec, prefix: str) -> Layout:
        """The layout for a spec; raises `UserError` for an invalid prefix."""
        return Layout(check_prefix(prefix), tuple(spec.offices))

    def number(self, office: str) -> int:
        """The number of an office, from 1; raises `UserError` for an unknown office."""
        if office not in self.offices:
            raise UserError(f"no office `{office}` in the lab; it has {', '.join(self.offices)}")
        return self.offices.index(office) + 1

    def addresses(self, where: str) -> Addresses:
        """The addresses of an office or of `headquarters`."""
        return Addresses.of(0 if where == HEADQUARTERS else self.number(where))

    def namespace(self, where: str) -> str:
        """The network namespace of an office's PC or of `headquarters`."""
        if where == HEADQUARTERS:
            return f"{self.prefix}-hq"
        self.number(where)
        return f"{self.prefix}-{where}"

    def router_namespace(self, office: str) -> str:
        """The network namespace of an office's router, between its LAN and its line."""
        return f"{self.namespace(office)}.router"

    @property
    def run_directory(self) -> Path:
        """The directory of the control socket, the boot ids and the packet log."""
        return run_directory(self.prefix)

    @property
    def control_socket(self) -> Path:
        """The Unix socket for commands."""
        return self.run_directory / "control.sock"

    @property
    def packet_log(self) -> Path:
        """The ring buffer of echo packets."""
        return self.run_directory / "packets.ring"

    def boot_id_file(self, office: str) -> Path:
        """The file with the boot id of an office's PC."""
        self.number(office)
        return self.run_directory / "boot" / office

    # Pipes and endpoints by the emulator's numbers: 0 is headquarters, then follow the offices.

    def pipes_of(self, where: str) -> tuple[int, int]:
        """The numbers of the down and the up pipe of an office's link or of the `uplink`."""
        number = 0 if where == UPLINK else self.number(where)
        return 2 * number, 2 * number + 1

    def route(self, endpoint: int, target: bytes) -> tuple[tuple[int, ...], int] | None:
        """The pipes from an endpoint to an address, and the endpoint there; None if no route.

        A packet passes the up pipe of its source and the down pipe of its destination, with the
        gateway, which has no pipes, between them. `target` is empty for a frame that is not an IP
        packet, which has no route.
        """
        goal = self._endpoint_of(target) if target else None
        if goal is None or goal == endpoint:
            return None
        first = () if endpoint == GATEWAY else (2 * endpoint + 1,)
        last = () if goal == GATEWAY else (2 * goal,)
        return first + last, goal

    def owner(self, address: str) -> str:
        """The owner of an address: an office, `headquarters` or `gateway`; `?` if unknown."""
        endpoint = self._endpoint_of(ip_address(address).packed)
        if endpoint is None:
            return "?"
        return {GATEWAY: "gateway", 0: HEADQUARTERS}.get(endpoint) or self.offices[endpoint - 1]

    def _endpoint_of(self, target: bytes) -> int | None:
        if len(target) == 16:
            lan, host = divmod(int.from_bytes(target) - _LAN6, 1 << 80)
        else:
            address = IPv4Address(target)
            if address in _EXTRA:
                lan, host = divmod(int(address) - int(_EXTRA[0]), 1024)
            elif address in _LAN:
                lan, host = divmod(int(address) - int(_LAN[0]), 256)
            else:
                return None
        if lan == 0:
            return {1: GATEWAY, 2: 0}.get(host)
        return lan if 0 < lan <= len(self.offices) else None


def run_directory(prefix: str) -> Path:
    """The directory for the files of a running lab with this prefix."""
    return Path("/run/jharnet-lab") / prefix


def check_prefix(prefix: str) -> str:
    """Return a valid prefix; raises `UserError` for any other.

    A prefix has no hyphen, so that the namespaces of two labs cannot be confused.
    """
    if not _PREFIX.match(prefix):
        raise UserError(
            f"a lab's prefix is 1 to 8 lower-case letters and digits, such as `jhn`, not `{prefix}`"
        )
    return prefix
