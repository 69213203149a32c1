"""A chain of real routers in network namespaces: headquarters, three routers, the office's PC.

Neighbours are joined by the lab's emulator, so that every link has a known delay, loss and rate.
The routers run Linux: they count down the time to live and answer by ICMP as any router does.
"""

from __future__ import annotations

import marshal
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from jharnet_monitor.lab import linux
from jharnet_monitor.lab.emulator import Emulator
from jharnet_monitor.lab.emulator_process import _run_emulator
from jharnet_monitor.lab.namespaces import inside, remove_namespaces, run_ip, set_sysctls
from jharnet_monitor.lab.packet_log import PacketLogWriter, read_packet_log
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LinkDirection

ROUTERS = 3
PLACES = ("hq", *(f"r{number}" for number in range(1, ROUTERS + 1)), "pc")
LINKS = len(PLACES) - 1
"""Link k joins hop k and hop k + 1, where headquarters is hop 0."""
_SYSCTLS = {
    "ipv4/ip_forward": "1",
    "ipv4/ping_group_range": "0 2147483647",
    "ipv4/icmp_ratelimit": "0",
    "ipv4/icmp_msgs_per_sec": "1000000",
    "ipv4/icmp_msgs_burst": "1000000",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
}


def address(link: int, end: int) -> str:
    """Of the near (0) or far (1) end of a link."""
    return f"10.77.{link}.{end + 1}"


HEADQUARTERS, OFFICE = address(0, 0), address(LINKS - 1, 1)


class Chain:
    """The chain; `links[k]` are the settings of link k, towards the office and from it."""

    def __init__(
        self, prefix: str, links: Sequence[tuple[LinkDirection, LinkDirection]], seed: int,
        pipe: type[Pipe] = Pipe,
    ) -> None:  # fmt: skip
        self.prefix = prefix
        self._links, self._seed, self._pipe = links, seed, pipe
        self._stack = ExitStack()

    def namespace(self, place: str) -> str:
        """Of a place."""
        return f"{self.prefix}-{place}"

    def __enter__(self) -> Self:
        names = [self.namespace(place) for place in PLACES]
        remove_namespaces([name for name in names if Path("/run/netns", name).exists()])
        self._stack.callback(remove_namespaces, names)
        run_ip(f"netns add {name}" for name in names)
        tuns = []
        for number, place in enumerate(PLACES):
            with inside(self.namespace(place)):
                set_sysctls(_SYSCTLS)
                links = [link for link in (number - 1, number) if 0 <= link < LINKS]
                tuns += [linux.open_tun(f"link{link}") for link in links]
            run_ip(self._commands(number), self.namespace(place))
        self._start(tuns)
        return self

    def _commands(self, number: int) -> list[str]:
        commands = ["link set lo up"]
        for link, end in ((number - 1, 1), (number, 0)):
            if 0 <= link < LINKS:
                own, other = address(link, end), address(link, 1 - end)
                commands += [
                    f"addr add {own} peer {other} dev link{link}",
                    f"link set link{link} txqueuelen 10000 mtu 1500 up",
                ]
        for link in range(LINKS):
            if link < number - 1:
                commands.append(f"route add 10.77.{link}.0/24 via {address(number - 1, 0)}")
            if link > number:
                commands.append(f"route add 10.77.{link}.0/24 via {address(number, 1)}")
        return commands

    def _start(self, tuns: list[int]) -> None:
        """Interfaces 2k and 2k + 1 are the ends of link k; pipe 2k leads towards the office."""
        pipes = []
        for number, directions in enumerate(self._links):
            for way, settings in zip(("down", "up"), directions, strict=True):
                pipes.append(self._pipe(f"{number}.{way}", settings, self._seed))
        self.pipes = pipes
        self._results = os.memfd_create("jharnet-chain")
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = Path(f"/run/{self.prefix}.ring")
        emulator = Emulator(
            tuns, pipes, lambda end, _: ((end,), end ^ 1), PacketLogWriter(self._log), theirs,
            self._results,
        )  # fmt: skip
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            _run_emulator(emulator, parent)
        theirs.close()
        for tun in tuns:
            os.close(tun)
        self._stack.callback(self._stop)
        self.request("status")  # it answers once it forwards

    def _stop(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._control.close()
        os.close(self._results)
        self._log.unlink(missing_ok=True)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def round_trips(self, since: float) -> list[float]:
        """Of the office's answers to headquarters' pings, as the packets passed the first link: the
        oldest first, in seconds, from the monotonic time `since` on. However late the emulator is,
        a probe has to agree with these."""
        sent: dict[tuple[int, int], float] = {}
        took: dict[tuple[int, int], float] = {}
        for packet in read_packet_log(self._log):
            ping, ends = (packet.echo_id, packet.sequence), (packet.source, packet.target)
            if packet.arrived < since:
                continue
            if ends == (HEADQUARTERS, OFFICE):
                sent.setdefault(ping, packet.arrived)
            elif ends == (OFFICE, HEADQUARTERS) and ping in sent and packet.left is not None:
                took[ping] = packet.left - sent[ping]  # the last link that it leaves is the first
        return list(took.values())

    # What can be done to a chain

    def request(self, command: str, *arguments: Any) -> Any:
        """A command of the emulator."""
        self._control.send(marshal.dumps((command, *arguments)))
        length = self._control.recv(64)
        return marshal.loads(os.pread(self._results, int(length), 0))  # noqa: S302 - our own child

    def set(self, link: int, way: int, settings: LinkDirection) -> None:
        """Change a link towards the office (0) or from it (1)."""
        self.request("set", 2 * link + way, settings.model_dump())

    def rules(self, router: int, chain: str, *rules: str) -> None:
        """Let a router filter or change packets, by nftables."""
        hook = {"forward": "forward", "output": "output"}[chain]
        lines = [
            "add table ip fault",
            f"add chain ip fault {chain} {{ type filter hook {hook} priority 0; }}",
            *(f"add rule ip fault {chain} {rule}" for rule in rules),
        ]
        self._nft(router, "\n".join(lines))

    def clear(self, router: int) -> None:
        """Remove all rules of a router."""
        self._nft(router, "add table ip fault\ndelete table ip fault")

    def _nft(self, router: int, text: str) -> None:
        name = self.namespace(PLACES[router])
        command = ["ip", "netns", "exec", name, "nft", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)

    def mtu(self, router: int, size: int) -> None:
        """Set the MTU of a router's interface towards the office."""
        run_ip([f"link set link{router} mtu {size}"], self.namespace(PLACES[router]))

    def limit(self, router: int, milliseconds: int) -> None:
        """Limit the rate of a router's ICMP errors; 0 for no limit."""
        with inside(self.namespace(PLACES[router])):
            set_sysctls({"ipv4/icmp_ratelimit": str(milliseconds)})
