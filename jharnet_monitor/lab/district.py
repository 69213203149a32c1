"""The district on this machine: namespaces, interfaces and addresses by the layout."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import IO

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import linux
from jharnet_monitor.lab.layout import HEADQUARTERS, Addresses, Layout
from jharnet_monitor.lab.namespaces import inside, ip, kill_processes_in, set_sysctls
from jharnet_monitor.lab.spec import LabSpec

_QUEUE = 10_000
"""Packets that may wait for the emulator; drops here would not be in its counters."""

_SENT_DROP = 11
"""The column of /proc/net/dev."""

_EVERYWHERE = {
    "ipv4/ping_group_range": "0 2147483647",  # echo sockets without privileges
    "ipv4/icmp_ratelimit": "0",
    "ipv4/icmp_msgs_per_sec": "1000000",
    "ipv4/icmp_msgs_burst": "1000000",
    "ipv6/icmp/ratelimit": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/default/accept_dad": "0",  # an address works at once
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/router_solicitations": "0",
}
_ROUTER = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv6/conf/all/forwarding": "1",
}


class LabDistrict:
    """What was built, and the TUN descriptors the emulator reads: headquarters, then offices."""

    def __init__(self, layout: Layout, spec: LabSpec) -> None:
        self.layout = layout
        self.tuns: list[int] = []
        self._counters: dict[str, IO[str]] = {}
        names = [layout.namespace(HEADQUARTERS)]
        for office in layout.offices:
            names += [layout.namespace(office), layout.router_namespace(office)]
        ip(f"netns add {name}" for name in names)
        self._build_headquarters(spec.uplink.congestion_control or spec.congestion_control)
        for office, link in spec.offices.items():
            self._build_office(office, link.congestion_control or spec.congestion_control)
            self.new_boot_id(office)

    def _build_headquarters(self, congestion_control: str | None) -> None:
        namespace = self.layout.namespace(HEADQUARTERS)
        self._settle(namespace, _EVERYWHERE, congestion_control, tun=True)
        here = Addresses.of(0)
        ip(_line(here.pc, here.pc6), namespace)

    def _build_office(self, office: str, congestion_control: str | None) -> None:
        pc, router = self.layout.namespace(office), self.layout.router_namespace(office)
        self._settle(pc, _EVERYWHERE, congestion_control, tun=False)
        self._settle(router, _EVERYWHERE | _ROUTER, None, tun=True)
        here = self.layout.addresses(office)
        ip(
            [
                *_line(here.router, here.router6),
                f"route add local {here.more} dev lo",
                f"link add lan0 type veth peer name eth0 netns {pc}",
                # Without the LAN its packets end here, as at a router with a dead port.
                f"route add blackhole {_lan(here.pc)} metric 9999",
                f"route add blackhole {_lan6(here.pc6)} metric 9999",
            ],
            router,
        )
        ip(
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

    def _settle(
        self, namespace: str, sysctls: dict[str, str], congestion_control: str | None, *, tun: bool
    ) -> None:
        """Apply settings in a namespace, and open its TUN towards the emulator."""
        with inside(namespace):
            set_sysctls(sysctls)
            if congestion_control:
                _set_congestion_control(congestion_control)
            if tun:
                self.tuns.append(linux.open_tun("wan0"))
                # Once open, this file speaks of this namespace wherever it is read.
                self._counters[namespace] = Path("/proc/thread-self/net/dev").open()  # noqa: SIM115
        ip(["link set lo up"], namespace)

    def interface_drops(self) -> int:
        """Packets the kernel dropped because the emulator did not fetch them in time."""
        drops = 0
        for file in self._counters.values():
            file.seek(0)
            for line in file:
                name, _, numbers = line.partition(":")
                if name.strip() == "wan0":
                    drops += int(numbers.split()[_SENT_DROP])
        return drops

    def connect_lan(self, office: str) -> None:
        """Plug the PC's cable into the router."""
        here = self.layout.addresses(office)
        ip(
            [
                "link set lan0 up",
                "addr replace fe80::1/64 dev lan0",
                f"route replace {_lan(here.pc)} dev lan0 src {here.router}",
                f"route replace {_lan6(here.pc6)} dev lan0",
            ],
            self.layout.router_namespace(office),
        )

    def disconnect_lan(self, office: str) -> None:
        """Pull the cable: the router stays, nothing behind it answers."""
        ip(["link set lan0 down"], self.layout.router_namespace(office))

    def kill_programs(self, office: str) -> None:
        """What a power cut does to the programs on an office's PC."""
        kill_processes_in([self.layout.namespace(office)])

    def new_boot_id(self, office: str) -> str:
        """A boot of an office's PC: the id in its file is one never seen before."""
        path = self.layout.boot_id_file(office)
        path.parent.mkdir(parents=True, exist_ok=True)
        boot_id = str(uuid.uuid4())
        fresh = path.with_suffix(".new")
        fresh.write_text(boot_id + "\n")
        fresh.replace(path)
        return boot_id


def _set_congestion_control(name: str) -> None:
    tcp = Path("/proc/sys/net/ipv4")
    known = (tcp / "tcp_available_congestion_control").read_text().split()
    if name not in known:
        raise UserError(
            f"lab: congestion_control: this kernel has no `{name}`; it has {', '.join(known)}"
        )
    (tcp / "tcp_congestion_control").write_text(name)


def _line(address: str, address6: str) -> list[str]:
    """Commands that put addresses on the line towards the emulator, and all routes over it."""
    return [
        f"link set wan0 txqueuelen {_QUEUE} mtu 1500 up",
        f"addr add {address}/32 dev wan0",
        f"addr add {address6}/128 dev wan0",
        "route add default dev wan0",
        "route add ::/0 dev wan0",
    ]


def _lan(address: str) -> str:
    return address.rpartition(".")[0] + ".0/24"


def _lan6(address: str) -> str:
    return address.rpartition("::")[0] + "::/64"
