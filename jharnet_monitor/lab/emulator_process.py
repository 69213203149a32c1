"""The emulator's process, as seen from the process that controls it."""

from __future__ import annotations

import marshal
import os
import signal
import socket
import sys
import time
import traceback
from typing import Any

from jharnet_monitor.lab.emulator import BlackoutEvent, Emulator
from jharnet_monitor.lab.layout import UPLINK, Layout
from jharnet_monitor.lab.packet_log import PacketLogWriter
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LabSpec
from jharnet_monitor.parent_process import die_with_parent


class EmulatorProcess:
    """A forked emulator and the connection to it."""

    def __init__(self, layout: Layout, spec: LabSpec, tuns: list[int]) -> None:
        """Fork an emulator for the TUN descriptors `tuns`, which are closed in this process."""
        pipes = []
        for name, link in [(UPLINK, spec.uplink), *spec.offices.items()]:
            pipes.append(Pipe(f"{name}.down", link.down, spec.seed))
            pipes.append(Pipe(f"{name}.up", link.up, spec.seed))
        self._results = os.memfd_create("jharnet-lab")
        self._socket, emulator_socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        log = PacketLogWriter(layout.packet_log)
        emulator = Emulator(tuns, pipes, layout.route, log, emulator_socket, self._results)
        _schedule_blackouts(emulator, layout, spec)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            _run_emulator(emulator, parent)
        emulator_socket.close()
        for tun in tuns:
            os.close(tun)

    def request(self, command: str, *arguments: Any) -> Any:
        """Execute a command in the emulator; raises `ConnectionError` if it has ended."""
        self._socket.send(marshal.dumps((command, *arguments)))
        length = self._socket.recv(64)
        if not length:
            raise ConnectionResetError("the emulator has ended")
        return marshal.loads(os.pread(self._results, int(length), 0))  # noqa: S302 - our own child

    def stop(self) -> None:
        """Kill the emulator, which has nothing to save."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._socket.close()


def _run_emulator(emulator: Emulator, parent: int) -> None:
    """Run the emulator in the forked child, without the parent's clean-up at the end."""
    try:
        die_with_parent()
        if os.getppid() == parent:  # it may have died before that
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
            emulator.schedule(begin, BlackoutEvent(pipes, True, blackout.every))
            emulator.schedule(begin + blackout.for_, BlackoutEvent(pipes, False, blackout.every))
