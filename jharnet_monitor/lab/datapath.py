"""The emulator's process, seen from the process that controls it."""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys
import time
import traceback
from typing import Any

from jharnet_monitor.lab import linux
from jharnet_monitor.lab.emulator import Emulator, Event
from jharnet_monitor.lab.layout import UPLINK, Layout
from jharnet_monitor.lab.packetlog import PacketLogWriter
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LabSpec


class DataPath:
    """A forked emulator, and the line to it."""

    def __init__(self, layout: Layout, spec: LabSpec, tuns: list[int]) -> None:
        pipes = []
        for name, link in [(UPLINK, spec.uplink), *spec.offices.items()]:
            pipes.append(Pipe(f"{name}.down", link.down, spec.seed))
            pipes.append(Pipe(f"{name}.up", link.up, spec.seed))
        self._bulk = os.memfd_create("jharnet-lab")
        self._socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = PacketLogWriter(layout.packet_log)
        emulator = Emulator(tuns, pipes, layout.route, log, far, self._bulk)
        _schedule_blackouts(emulator, layout, spec)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            _run_emulator(emulator, parent)
        far.close()
        for tun in tuns:
            os.close(tun)

    def ask(self, command: str, *arguments: Any) -> Any:
        """Let the emulator do a command; raises `ConnectionError` when it is gone."""
        self._socket.send(marshal.dumps((command, *arguments)))
        length = self._socket.recv(64)
        if not length:
            raise ConnectionResetError("the emulator is gone")
        return marshal.loads(os.pread(self._bulk, int(length), 0))  # noqa: S302 - our own child

    def stop(self) -> None:
        """End the emulator's process, which has nothing to save."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._socket.close()


def _run_emulator(emulator: Emulator, parent: int) -> None:
    """The forked child's whole life: what the parent has to clean up is not its own to do."""
    try:
        linux.die_with_parent(signal.SIGKILL)
        if os.getppid() == parent:
            emulator.run()
    finally:
        error = sys.exc_info()[1]
        if error is not None:
            traceback.print_exception(error)
        os._exit(0 if error is None else 1)


def _schedule_blackouts(emulator: Emulator, layout: Layout, spec: LabSpec) -> None:
    now = time.monotonic()
    for name, link in [(UPLINK, spec.uplink), *spec.offices.items()]:
        pipes = layout.pipes_of(name)
        for blackout in link.blackouts:
            begin = now + blackout.at
            emulator.schedule(begin, Event(pipes, True, blackout.every))
            emulator.schedule(begin + blackout.for_, Event(pipes, False, blackout.every))
