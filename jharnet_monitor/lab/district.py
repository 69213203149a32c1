"""Builds the lab's namespaces, interfaces and addresses on this machine, by its layout."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import IO

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import linux
from jharnet_monitor.lab.layout import HEADQUARTERS, Addresses, Layout
from jharnet_monitor.lab.namespaces import inside, kill_processes_in, run_ip, set_sysctls
from jharnet_monitor.lab.spec import LabSpec

_TX_QUEUE_PACKETS = 10_000
"""Packets that may wait for the emulator. Drops in this queue are not in its counters."""

_TX_DROPPED_COLUMN = 11
"""In /proc/net/dev, counted after the interface's name."""

_SYSCTLS = {
    "ipv4/ping_group_range": "0 2147483647",  # unprivileged echo sockets
    "ipv4/icmp_ratelimit": "0",
    "ipv4/icmp_msgs_per_sec": "1000000",
    "ipv4/icmp_msgs_burst": "1000000",
    "ipv6/icmp/ratelimit": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/default/accept_dad": "0",  # an address can be used at once
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/router_solicitations": "0",
}
_ROUTER_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv6/conf/all/forwarding": "1",
}


class LabDistrict:
    """The namespaces of headquarters, and of the PC and the router of each office."""

    def __init__(self, layout: Layout, spec: LabSpec) -> None:
        """Build everything; raises `UserError` or `RuntimeError` if that fails."""
        self.layout = layout
        self.tuns: list[int] = []
        """TUN descriptors for the emulator: headquarters, then the offices."""
        self._counters: dict[str, IO[str]] = {}
        names = [layout.namespace(HEADQUARTERS)]
        for office in layout.offices:
            names += [layout.namespace(office), layout.router_namespace(office)]
        run_ip(f"netns add {name}" for name in names)
        self._build_headquarters(spec.uplink.congestion_control or spec.congestion_control)
        for office, link in spec.offices.items():
            self._build_office(office, link.congestion_control or spec.congestion_control)
            self.new_boot_id(office)

    def _build_headquarters(self, congestion_control: str | None) -> None:
        namespace = self.layout.namespace(HEADQUARTERS)
        self._configure_namespace(namespace, _SYSCTLS, congestion_control, tun=True)
        here = Addresses.of(0)
        run_ip(_line_commands(here.pc, here.pc6), namespace)

    def _build_office(self, office: str, congestion_control: str | None) -> None:
        pc, router = self.layout.namespace(office), self.layout.router_namespace(office)
        self._configure_namespace(pc, _SYSCTLS, congestion_control, tun=False)
        self._configure_namespace(router, _SYSCTLS | _ROUTER_SYSCTLS, None, tun=True)
        here = self.layout.addresses(office)
        run_ip(
            [
                *_line_commands(here.router, here.router6),
                f"route add local {here.extra} dev lo",
                f"link add lan0 type veth peer name eth0 netns {pc}",
                # With the LAN disconnected its packets end here, as at a router with a dead port.
                f"route add blackhole {_lan(here.pc)} metric 9999",
                f"route add blackhole {_lan6(here.pc6)} metric 9999",
            ],
            router,
        )
        run_ip(
            [
                f"addr add {here.pc}/24 dev eth0",
                f"addr add {here.pc6}/128 dev eth0",
                "link set eth0 up",
                f"route add default via {here.router}",
                "route add ::/0 via fe80::1 dev eth0",
            ],
            pc,
        )
        self.connect_lan(office)

    def _configure_namespace(
        self, namespace: str, sysctls: dict[str, str], congestion_control: str | None, *, tun: bool
    ) -> None:
        """Apply settings in a namespace, and open its TUN interface to the emulator if `tun`."""
        with inside(namespace):
            set_sysctls(sysctls)
            if congestion_control:
                _set_congestion_control(congestion_control)
            if tun:
                self.tuns.append(linux.open_tun("wan0"))
                # Once open, the file shows this namespace, whichever namespace reads it.
                self._counters[namespace] = Path("/proc/thread-self/net/dev").open()  # noqa: SIM115
        run_ip(["link set lo up"], namespace)

    def interface_drops(self) -> int:
        """Packets that the kernel dropped because the emulator did not read them in time."""
        drops = 0
        for file in self._counters.values():
            file.seek(0)
            for line in file:
                name, _, numbers = line.partition(":")
                if name.strip() == "wan0":
                    drops += int(numbers.split()[_TX_DROPPED_COLUMN])
        return drops

    def connect_lan(self, office: str) -> None:
        """Connect the PC to the router."""
        here = self.layout.addresses(office)
        run_ip(
            [
                "link set lan0 up",
                "addr replace fe80::1/64 dev lan0",
                f"route replace {_lan(here.pc)} dev lan0 src {here.router}",
                f"route replace {_lan6(here.pc6)} dev lan0",
            ],
            self.layout.router_namespace(office),
        )

    def disconnect_lan(self, office: str) -> None:
        """Disconnect the PC: the router answers, nothing behind it does."""
        run_ip(["link set lan0 down"], self.layout.router_namespace(office))

    def kill_programs(self, office: str) -> None:
        """Kill all programs on an office's PC, as a power cut does."""
        kill_processes_in([self.layout.namespace(office)])

    def new_boot_id(self, office: str) -> str:
        """Write a new boot id for an office's PC and return it."""
        path = self.layout.boot_id_file(office)
        path.parent.mkdir(parents=True, exist_ok=True)
        boot_id = str(uuid.uuid4())
        temporary = path.with_suffix(".new")
        temporary.write_text(boot_id + "\n")
        temporary.replace(path)
        return boot_id


def _set_congestion_control(name: str) -> None:
    tcp = Path("/proc/sys/net/ipv4")
    available = (tcp / "tcp_available_congestion_control").read_text().split()
    if name not in available:
        raise UserError(
            f"lab: congestion_control: this kernel has no `{name}`; it has {', '.join(available)}"
        )
    (tcp / "tcp_congestion_control").write_text(name)


def _line_commands(address: str, address6: str) -> list[str]:
    """iproute2 commands that set the addresses of the TUN interface and route all traffic to it."""
    return [
        f"link set wan0 txqueuelen {_TX_QUEUE_PACKETS} mtu 1500 up",
        f"addr add {address}/32 dev wan0",
        f"addr add {address6}/128 dev wan0",
        "route add default dev wan0",
        "route add ::/0 dev wan0",
    ]


def _lan(address: str) -> str:
    return address.rpartition(".")[0] + ".0/24"


def _lan6(address: str) -> str:
    return address.rpartition("::")[0] + "::/64"
