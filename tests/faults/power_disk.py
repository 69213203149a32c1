"""A disk whose power can be cut: an ext4 file system over a block device that forgets.

The block device is a file of a FUSE file system of ours, below a loop device. What the kernel has
written since its last flush is lost when the power is cut, except for a random part of it in blocks
of 4 kB, as a disk's own cache may have stored some of it. ext4, its journal and the page cache are
the real ones; nothing in the program under test is replaced.

    python -m tests.faults.power_disk MOUNTPOINT MEGABYTES    (the server, started by `PowerDisk`)
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

NAME, NODE = b"disk", 2
BLOCK = 4096
_IN, _OUT = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_FORGET, _BATCH_FORGET = 2, 42
_LARGEST_WRITE = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


class Blocks:
    """The content of the disk: as the kernel sees it, and as it would be after a power cut."""

    def __init__(self, size: int) -> None:
        self.seen = bytearray(size)
        self._safe = bytearray(size)
        self._unsafe: list[tuple[int, bytes]] = []
        self.powered = True
        self.flush_seconds = 0.0
        """How long a flush takes: a slow disk."""
        self.flushes = 0
        self.lost = 0

    def write(self, offset: int, data: bytes) -> None:
        """Accept what the kernel writes; it is not safe yet."""
        self.seen[offset : offset + len(data)] = data
        if self.powered:
            self._unsafe.append((offset, data))

    def flush(self) -> None:
        """Everything that was written is safe now, unless the power is off."""
        time.sleep(self.flush_seconds)
        if self.powered:
            self.flushes += 1
            for offset, data in self._unsafe:
                self._safe[offset : offset + len(data)] = data
            self._unsafe.clear()

    def cut(self) -> None:
        """Switch the power off: nothing reaches the disk any more."""
        self.powered = False

    def restore(self, seed: int) -> None:
        """Switch it on again, with what was safe and a random part of what was not."""
        chance = random.Random(seed)
        share = chance.choice((0.0, 0.3, 0.5, 0.9))
        for offset, data in self._unsafe:
            for start in range(0, len(data), BLOCK):
                if chance.random() < share:
                    part = data[start : start + BLOCK]
                    self._safe[offset + start : offset + start + len(part)] = part
                else:
                    self.lost += 1
        self._unsafe.clear()
        self.seen[:] = self._safe
        self.powered = True


class FuseServer:
    """A FUSE file system with one file, `disk`, whose bytes are `Blocks` (linux/fuse.h)."""

    def __init__(self, mountpoint: Path, blocks: Blocks) -> None:
        self.blocks = blocks
        self._fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        if _libc.mount(b"jhndisk", str(mountpoint).encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount of the FUSE file system")

    def serve(self) -> None:
        """Answer the kernel until the file system is unmounted."""
        while True:
            try:
                request = os.read(self._fd, _LARGEST_WRITE + 8192)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # ENODEV: unmounted
            _, code, unique, node, *_ = _IN.unpack_from(request)
            if code in (_FORGET, _BATCH_FORGET):
                continue
            answer = self._answer(code, node, request[_IN.size :])
            if isinstance(answer, int):
                os.write(self._fd, _OUT.pack(_OUT.size, -answer, unique))
            else:
                os.write(self._fd, _OUT.pack(_OUT.size + len(answer), 0, unique) + answer)

    def _answer(self, code: int, node: int, body: bytes) -> bytes | int:  # noqa: PLR0911
        """The answer's body, or an error number."""
        match code:
            case 26:  # INIT: version, read-ahead, flags, queue, largest write
                return struct.pack("<IIIIHHIIHH32x", 7, 31, 1 << 17, (1 << 5) | (1 << 22), 16, 12,
                                   _LARGEST_WRITE, 1, _LARGEST_WRITE // BLOCK, 0)  # fmt: skip
            case 1:  # LOOKUP
                known = body.rstrip(b"\0") == NAME
                return struct.pack("<QQQQII", NODE, 0, 1, 1, 0, 0) + self._attributes(
                    NODE
                ) if known else errno.ENOENT  # fmt: skip
            case 3 | 4:  # GETATTR, SETATTR
                return struct.pack("<QII", 1, 0, 0) + self._attributes(node)
            case 14:  # OPEN
                return struct.pack("<QII", 1, 1, 0)  # direct I/O: the kernel keeps no copy
            case 15:  # READ
                _, offset, size = struct.unpack_from("<QQI", body)
                return bytes(self.blocks.seen[offset : offset + size])
            case 16:  # WRITE
                _, offset, size = struct.unpack_from("<QQI", body)
                self.blocks.write(offset, body[40 : 40 + size])
                return struct.pack("<II", size, 0)
            case 17:  # STATFS
                return struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, BLOCK, 255, BLOCK, 0)
            case 20:  # FSYNC
                self.blocks.flush()
                return b""
            case 18 | 25:  # RELEASE, FLUSH
                return b""
            case _:
                return errno.ENOSYS

    def _attributes(self, node: int) -> bytes:
        size = len(self.blocks.seen) if node == NODE else 0
        mode = 0o100600 if node == NODE else 0o040700
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1,
                           0, 0, 0, BLOCK, 0)  # fmt: skip


def main() -> None:
    """Serve until unmounted, and do what standard input says: `cut`, `restore SEED`, `slow SECONDS`
    or `figures`."""
    mountpoint, size = Path(sys.argv[1]), int(sys.argv[2]) << 20
    blocks = Blocks(size)
    server = FuseServer(mountpoint, blocks)
    threading.Thread(target=server.serve, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        word, _, seed = line.strip().partition(" ")
        if word == "cut":
            blocks.cut()
        elif word == "slow":
            blocks.flush_seconds = float(seed)
        elif word == "restore":
            blocks.restore(int(seed))
        print(blocks.flushes, blocks.lost, flush=True)


def own_mounts() -> None:
    """Give this process mounts of its own: no other program can keep them in use.

    They vanish with the process and its children. Call it before threads are started.
    """
    new_namespace, recursive_private = 0x20000, 0x4000 | 0x40000
    if _libc.unshare(new_namespace) or _libc.mount(b"none", b"/", None, recursive_private, None):
        raise OSError(ctypes.get_errno(), "a mount namespace of its own")


class PowerDisk:
    """An ext4 file system at `place`, whose power can be cut; needs root, /dev/fuse and loop."""

    def __init__(self, directory: Path, name: str, megabytes: int = 192) -> None:
        self.place = directory / name
        self._backing = directory / f"{name}-backing"
        self._backing.mkdir()
        self.place.mkdir()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.power_disk", str(self._backing), str(megabytes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self._read()
        self._loop: str | None = None
        self._file = self._backing / NAME.decode()
        lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
        _run("mkfs.ext4", "-q", "-F", "-E", lazy, "-J", "size=8", str(self._file))
        self._mount()

    def _mount(self) -> None:
        self._loop = _run("losetup", "--find", "--show", str(self._file)).strip()
        _run("mount", "-t", "ext4", self._loop, str(self.place))

    def _unmount(self) -> None:
        """Free mountpoint and loop device, once they are no longer in use."""
        _patiently("umount", str(self.place))
        assert self._loop is not None
        _run("losetup", "--detach", self._loop)

    def sync(self) -> None:
        """Make all that was written safe, as after an installation long ago."""
        _run("sync", "--file-system", str(self.place))

    def cut(self) -> None:
        """Cut the power: what is written from now on is lost. Kill the programs next."""
        self._say("cut")

    def restore(self, seed: int) -> None:
        """After `cut`, once its programs are dead: boot from what the disk has kept."""
        self._unmount()
        self._say(f"restore {seed}")
        self._mount()

    def slow(self, seconds: float) -> None:
        """Let every flush take `seconds` from now on."""
        self._say(f"slow {seconds}")

    def figures(self) -> tuple[int, int]:
        """Flushes, and blocks of 4 kB that were lost."""
        flushes, lost = self._say("figures").split()
        return int(flushes), int(lost)

    def remove(self) -> None:
        """Unmount and end everything."""
        self._unmount()
        _patiently("umount", str(self._backing))
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(10)

    def _say(self, what: str) -> str:
        assert self._server.stdin is not None
        self._server.stdin.write(what + "\n")
        self._server.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline()


def _patiently(*command: str) -> None:
    """Run a command that fails while something is in use, until it succeeds."""
    for number in range(100):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.05 * (1 + number / 10))
    raise RuntimeError(done.stderr.strip())


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
