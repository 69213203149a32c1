"""The few Linux calls that Python 3.11 does not have: namespaces, timers, locked memory."""

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
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x0001 | 0x1000

_libc = ctypes.CDLL(None, use_errno=True)
_libc_fast = ctypes.PyDLL(None)  # keeps the interpreter lock: for calls that never block


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


@contextlib.contextmanager
def network_namespace(path: Path) -> Iterator[None]:
    """Put the current thread into the network namespace at `path` (such as `/run/netns/jhn-hq`).

    Sockets opened inside belong to that namespace for good.
    """
    with Path("/proc/thread-self/ns/net").open("rb") as home, path.open("rb") as there:
        _check(_libc.setns(there.fileno(), _CLONE_NEWNET), f"cannot enter {path}")
        try:
            yield
        finally:
            _check(_libc.setns(home.fileno(), _CLONE_NEWNET), "cannot return from a namespace")


def open_tun(name: str) -> int:
    """A non-blocking TUN interface without packet information, in the current namespace."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | _TFD_NONBLOCK_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    return descriptor


class Timer:
    """A timer on CLOCK_MONOTONIC (timerfd_create(2)) whose descriptor an epoll can watch.

    epoll itself only has milliseconds.
    """

    def __init__(self) -> None:
        self.descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        _check(self.descriptor, "cannot make a timer")
        self._spec = bytearray(32)  # struct itimerspec: interval, then first expiry
        pointer = (ctypes.c_char * 32).from_buffer(self._spec)
        self._set = _libc_fast.timerfd_settime
        self._arguments = (
            ctypes.c_int(self.descriptor),
            ctypes.c_int(_TFD_TIMER_ABSTIME),
            ctypes.byref(pointer),
            ctypes.c_void_p(None),
        )

    def wake_at(self, moment: float) -> None:
        """Become readable at this monotonic moment in seconds (at once if past); 0 means never."""
        seconds = int(moment)
        struct.pack_into("qq", self._spec, 16, seconds, int((moment - seconds) * 1e9))
        self._set(*self._arguments)


def become_realtime(priority: int) -> bool:
    """Run before every ordinary process (SCHED_FIFO); False where the machine forbids it.

    Then at least its timers go off on time, which are otherwise allowed to be 50 µs late.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        return False
    return True


def lock_memory() -> bool:
    """Keep this process out of swap (mlockall(2)); False where the machine forbids it."""
    return bool(_libc.mlockall(_MCL_CURRENT_AND_FUTURE) == 0)


def die_with_parent(signal_number: int) -> None:
    """Let the kernel send this signal when the parent process is gone."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")
