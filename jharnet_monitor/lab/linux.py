"""Linux system calls that Python 3.11 lacks: namespaces, timers, locked memory."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_TFD_TIMER_ABSTIME = 1
_MCL_CURRENT_AND_FUTURE = 1 | 2
_PR_SET_TIMERSLACK = 29
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000

_libc = ctypes.CDLL(None, use_errno=True)
_libc_fast = ctypes.PyDLL(None)  # keeps the GIL: for calls that never block


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


@contextlib.contextmanager
def network_namespace(path: Path) -> Iterator[None]:
    """Run the current thread in the network namespace at `path`, such as `/run/netns/jhn-hq`.

    Sockets opened inside remain in that namespace. Raises `OSError`.
    """
    with Path("/proc/thread-self/ns/net").open("rb") as original, path.open("rb") as target:
        _check(_libc.setns(target.fileno(), _CLONE_NEWNET), f"cannot enter {path}")
        try:
            yield
        finally:
            _check(_libc.setns(original.fileno(), _CLONE_NEWNET), "cannot return from a namespace")


def open_tun(name: str) -> int:
    """Create a TUN interface in the current namespace; returns its non-blocking descriptor.

    Packets have no packet-information header. Raises `OSError`.
    """
    descriptor = os.open("/dev/net/tun", os.O_RDWR | _TFD_NONBLOCK_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    return descriptor


class Timer:
    """A timer on CLOCK_MONOTONIC (timerfd_create(2)) with a descriptor for epoll.

    The timeout of epoll itself has a resolution of 1 ms.
    """

    def __init__(self) -> None:
        self.descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        _check(self.descriptor, "cannot create a timer")
        self._spec = bytearray(32)  # struct itimerspec: interval, then first expiry
        pointer = (ctypes.c_char * 32).from_buffer(self._spec)
        self._set = _libc_fast.timerfd_settime
        self._arguments = (
            ctypes.c_int(self.descriptor),
            ctypes.c_int(_TFD_TIMER_ABSTIME),
            ctypes.byref(pointer),
            ctypes.c_void_p(None),
        )

    def wake_at(self, at: float) -> None:
        """Become readable at `at` (monotonic seconds), at once if that is past; 0 means never."""
        seconds = int(at)
        struct.pack_into("qq", self._spec, 16, seconds, int((at - seconds) * 1e9))
        self._set(*self._arguments)


def become_realtime(priority: int) -> bool:
    """Give this process a real-time priority (SCHED_FIFO); returns False if not permitted.

    In that case reduces at least the timer slack, which is 50 µs by default.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        return False
    return True


def lock_memory() -> bool:
    """Lock this process in memory (mlockall(2)); returns False if not permitted."""
    return bool(_libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0)
