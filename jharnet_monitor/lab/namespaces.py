"""Network namespaces through iproute2: made, set up, searched for processes, taken away."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab import linux

NETNS = Path("/run/netns")
_KILL_SECONDS = 10.0


def check_machine() -> None:
    """Raises `UserError` where a lab cannot be."""
    if os.geteuid() != 0:
        raise UserError("the lab makes network namespaces: run it as root")
    if not Path("/dev/net/tun").exists():
        raise UserError("the lab needs /dev/net/tun: load the module with `modprobe tun`")


def ip(commands: Iterable[str], namespace: str | None = None) -> None:
    """Run iproute2 commands in one go, in a namespace or in the machine's own.

    On a machine without IPv6 the commands with an IPv6 address are left out.
    """
    where = ["-n", namespace] if namespace else []
    ipv6 = Path("/proc/sys/net/ipv6").exists()
    try:
        done = subprocess.run(  # noqa: S603 - commands made here
            ["ip", *where, "-batch", "-"],  # noqa: S607
            input="".join(f"{line}\n" for line in commands if ipv6 or "::" not in line),
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise UserError("the lab needs the program `ip`: install iproute2") from None
    if done.returncode:
        raise RuntimeError(f"ip in {namespace or 'the machine'}: {done.stderr.strip()}")


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """The current thread in a namespace of that name."""
    with linux.network_namespace(NETNS / namespace):
        yield


def set_sysctls(settings: Mapping[str, str]) -> None:
    """Write settings below /proc/sys/net in the current namespace; those it has not are left out.

    Some belong to the whole machine only, depending on the kernel, and IPv6 may be off.
    """
    for name, value in settings.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net", name).write_text(value)


def existing(prefix: str) -> list[str]:
    """The namespaces of the lab with this prefix, also of one that died."""
    if not NETNS.is_dir():
        return []
    return sorted(path.name for path in NETNS.iterdir() if path.name.startswith(f"{prefix}-"))


def processes_in(namespaces: Iterable[str]) -> list[int]:
    """The ids of the processes in any of these namespaces, but not of this one."""
    wanted = set()
    for name in namespaces:
        with contextlib.suppress(FileNotFoundError):
            found = (NETNS / name).stat()
            wanted.add((found.st_dev, found.st_ino))
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it ended meanwhile
                found = (entry / "ns" / "net").stat()
                if (found.st_dev, found.st_ino) in wanted:
                    pids.append(int(entry.name))
    return pids


def kill_processes_in(namespaces: Iterable[str]) -> int:
    """SIGKILL all of them, and those they start meanwhile; how many there were."""
    names = list(namespaces)
    killed = set()
    deadline = time.monotonic() + _KILL_SECONDS
    while pids := [pid for pid in processes_in(names) if not _is_zombie(pid)]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {pids} do not end")
        time.sleep(0.01)
    return len(killed)


def _is_zombie(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"


def remove(namespaces: Iterable[str]) -> None:
    """Kill what is inside, then take the namespaces away."""
    names = list(namespaces)
    kill_processes_in(names)
    if names:
        ip(f"netns delete {name}" for name in names)
