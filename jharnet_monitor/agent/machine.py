"""What the machine reports of itself: boot id, uptime, default gateway."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from functools import cache
from pathlib import Path

import psutil

from jharnet_monitor import windows_api

BOOT_ID_VARIABLE = "JHARNET_BOOT_ID_FILE"
"""Names a file to read instead of the kernel's boot id: the lab's offices share one kernel."""

_KERNEL_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_KERNEL_UPTIME = Path("/proc/uptime")
_KERNEL_ROUTES = Path("/proc/net/route")
_BOOT_TIME_GRAIN = 600.0
"""Seconds. The time of a boot moves when the clock is set."""


def boot_id() -> str:
    """The id of this boot; it changes only when the machine reboots."""
    file = Path(os.environ.get(BOOT_ID_VARIABLE, _KERNEL_BOOT_ID))
    if not file.exists():
        return _boot_by_its_time()
    return file.read_text("ascii").strip()


@cache
def _boot_by_its_time() -> str:
    """Windows counts no boots, but knows when the last one was, by a clock that may be set: read
    once, because no process outlives a boot.
    """
    return f"booted-{round(psutil.boot_time() / _BOOT_TIME_GRAIN):d}"


def uptime() -> float:
    """Seconds since this boot."""
    stand_in = os.environ.get(BOOT_ID_VARIABLE)
    if stand_in is not None:
        return max(0.0, time.time() - Path(stand_in).stat().st_mtime)
    if not _KERNEL_UPTIME.exists():
        return max(0.0, time.time() - psutil.boot_time())
    return float(_KERNEL_UPTIME.read_text("ascii").split()[0])


def default_gateway() -> str | None:
    """The IPv4 address of the default route's next hop, or None where there is none."""
    if sys.platform == "win32":
        return windows_api.default_gateway()
    if not _KERNEL_ROUTES.exists():
        return None
    for line in _KERNEL_ROUTES.read_text("ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000" and int(fields[3], 16) & 2:  # RTF_GATEWAY
            return socket.inet_ntoa(struct.pack("<L", int(fields[2], 16)))
    return None
