"""Network namespaces by iproute2: create, configure, find processes inside, remove."""

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
_KILL_TIMEOUT_SECONDS = 10.0


def check_machine() -> None:
    """Raise `UserError` if this machine or user cannot run a lab."""
    if os.geteuid() != 0:
        raise UserError("the lab creates network namespaces: run it as root")
    if not Path("/dev/net/tun").exists():
        raise UserError("the lab needs /dev/net/tun: load the module with `modprobe tun`")


def run_ip(commands: Iterable[str], namespace: str | None = None) -> None:
    """Run a batch of iproute2 commands, in a namespace or in the machine's own (None).

    On a machine without IPv6, commands with an IPv6 address are skipped. Raises `RuntimeError` if a
    command fails and `UserError` if iproute2 is not installed.
    """
    where = ["-n", namespace] if namespace else []
    ipv6 = Path("/proc/sys/net/ipv6").exists()
    try:
        result = subprocess.run(  # noqa: S603 - fixed commands
            ["ip", *where, "-batch", "-"],  # noqa: S607
            input="".join(f"{line}\n" for line in commands if ipv6 or "::" not in line),
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise UserError("the lab needs the program `ip`: install iproute2") from None
    if result.returncode:
        raise RuntimeError(f"ip in {namespace or 'the machine'}: {result.stderr.strip()}")


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Run the current thread in the namespace with this name."""
    with linux.network_namespace(NETNS / namespace):
        yield


def set_sysctls(settings: Mapping[str, str]) -> None:
    """Write settings below /proc/sys/net in the current namespace, skipping those it lacks.

    Depending on the kernel, some exist only for the whole machine, and IPv6 may be disabled.
    """
    for name, value in settings.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net", name).write_text(value)


def list_namespaces(prefix: str) -> list[str]:
    """The namespaces of the lab with this prefix, running or dead."""
    if not NETNS.is_dir():
        return []
    return sorted(path.name for path in NETNS.iterdir() if path.name.startswith(f"{prefix}-"))


def processes_in(namespaces: Iterable[str]) -> list[int]:
    """The ids of the processes in any of these namespaces, except this process."""
    wanted = set()
    for name in namespaces:
        with contextlib.suppress(FileNotFoundError):
            found = (NETNS / name).stat()
            wanted.add((found.st_dev, found.st_ino))
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # the process has ended
                found = (entry / "ns" / "net").stat()
                if (found.st_dev, found.st_ino) in wanted:
                    pids.append(int(entry.name))
    return pids


def kill_processes_in(namespaces: Iterable[str]) -> int:
    """Kill all processes in these namespaces, and those they start meanwhile; returns how many.

    Raises `RuntimeError` if some have not ended after 10 s.
    """
    names = list(namespaces)
    killed = set()
    deadline = time.monotonic() + _KILL_TIMEOUT_SECONDS
    while pids := [pid for pid in processes_in(names) if not _is_zombie(pid)]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes {pids} did not end after SIGKILL")
        time.sleep(0.01)
    return len(killed)


def _is_zombie(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] in "ZX"


def remove_namespaces(namespaces: Iterable[str]) -> None:
    """Kill the processes in these namespaces, then delete the namespaces."""
    names = list(namespaces)
    kill_processes_in(names)
    if names:
        run_ip(f"netns delete {name}" for name in names)
