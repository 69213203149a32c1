"""The cloud between headquarters and the offices: takes packets, and gives them back in time.

One process, one thread: epoll on the TUN interfaces, a timer, heaps of packets under way.
"""

from __future__ import annotations

import gc
import heapq
import marshal
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jharnet_monitor.lab import linux
from jharnet_monitor.lab.flows import Flow, FlowTable
from jharnet_monitor.lab.packetlog import PacketLogWriter
from jharnet_monitor.lab.packets import destination, echo_reply, echo_sequence, flow_key
from jharnet_monitor.lab.pipe import BLACKOUT, FULL, LOST, Pipe
from jharnet_monitor.lab.routes import GATEWAY, Route, Router, Routes
from jharnet_monitor.lab.spec import Way

EARLY = 50e-6
"""A packet may leave so many seconds early: it centres the error, and saves a wake-up a batch."""

LATENESS_BUCKETS_PER_SECOND = 100_000

_BATCH = 32
_MAX_PACKET = 2048
_PRIORITY = 50


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at a moment: a blackout begins or ends on some pipes."""

    pipes: tuple[int, ...]
    blocked: bool
    every: float | None


@dataclass(slots=True)
class Packet:
    """A packet under way, and the monotonic moment it came in."""

    data: bytes
    route: Route
    key: bytes
    flow: Flow
    since: float


UnderWay = tuple[float, int, Packet, int]
"""Due moment, order among equals, packet, and which pipe of its route it is on."""


class Emulator:
    """Moves packets until it is told to stop or its controller is gone."""

    def __init__(
        self,
        ends: list[int],
        pipes: list[Pipe],
        router: Router,
        log: PacketLogWriter,
        control: socket.socket,
        bulk: int,
    ) -> None:
        """Ends are TUN descriptors; `bulk` is a file that long answers are written into."""
        self._ends = ends
        self._pipes = pipes
        self._log = log
        self._control = control
        self._bulk = bulk
        self._routes = Routes(router, pipes, ends)
        self._between: list[UnderWay] = []  # on a pipe that leads into another
        self._last: list[UnderWay] = []  # on the last pipe of its way
        self._slack = min(pipe.floor for pipe in pipes)
        self._events: list[tuple[float, int, Event]] = []
        self._order = 0
        self._running = True
        self._realtime = False
        self._reset()

    def _reset(self) -> None:
        for pipe in self._pipes:
            pipe.reset()
        self._flows = FlowTable()
        self._lateness: dict[int, int] = {}
        self._unroutable = self._refused = 0
        self._since = time.monotonic()

    def schedule(self, moment: float, event: Event) -> None:
        """Let an event happen at this monotonic moment."""
        self._order += 1
        heapq.heappush(self._events, (moment, self._order, event))

    def run(self) -> None:
        """Work until told to stop."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to handle
        gc.collect()
        gc.freeze()
        gc.disable()  # the data path makes no cycles, and a collection takes milliseconds
        linux.lock_memory()
        self._realtime = linux.become_realtime(_PRIORITY)
        timer = linux.Timer()
        poll = select.epoll()
        poll.register(timer.descriptor, select.EPOLLIN)
        poll.register(self._control.fileno(), select.EPOLLIN)
        number = {descriptor: end for end, descriptor in enumerate(self._ends)}
        for descriptor in self._ends:
            poll.register(descriptor, select.EPOLLIN)
        armed = 0.0
        while self._running:
            wake = self._next_moment()
            if wake != armed:
                timer.wake_at(wake)
                armed = wake
            for descriptor, _ in poll.poll():
                end = number.get(descriptor)
                if end is not None:
                    self._take(end, descriptor)
                elif descriptor == timer.descriptor:
                    armed = -1.0  # it stays readable until it is set again
                else:
                    self._obey()
                self._deliver()  # after each, so that none waits for the others' batches

    def _next_moment(self) -> float:
        """When to wake up; a packet between pipes has time until the next could give it back."""
        moments = []
        if self._last:
            moments.append(self._last[0][0] - EARLY)
        if self._between:
            moments.append(self._between[0][0] + self._slack)
        if self._events:
            moments.append(self._events[0][0])
        return min(moments, default=0.0)

    def _take(self, end: int, descriptor: int) -> None:
        """Read what the kernel of one end has sent."""
        for _ in range(_BATCH):
            try:
                packet = os.read(descriptor, _MAX_PACKET)
            except BlockingIOError:
                return
            route = self._routes.find(end, destination(packet))
            if route is None:
                self._unroutable += 1
            else:
                self._send(packet, route, time.monotonic())

    def _send(self, data: bytes, route: Route, now: float) -> None:
        """Begin a packet's way."""
        key = flow_key(data)
        flow = self._flows.find(key, now)
        flow.packets_in += 1
        flow.bytes_in += len(data)
        flow.last_in = now
        self._enter(Packet(data, route, key, flow, now), 0, now)

    def _enter(self, packet: Packet, hop: int, now: float) -> None:
        """Put a packet into the pipe of this hop, as of the moment `now`."""
        pipes = packet.route.pipes
        due = pipes[hop].admit(now, len(packet.data))
        if due >= 0:
            self._order += 1
            heap = self._last if hop == len(pipes) - 1 else self._between
            heapq.heappush(heap, (due, self._order, packet, hop))
            return
        if due == LOST:
            packet.flow.dropped_loss += 1
        elif due == FULL:
            packet.flow.dropped_queue += 1
        else:
            packet.flow.dropped_cut += 1
        self._record(packet, 0.0, 0.0)

    def _deliver(self) -> None:
        """Move on what is due: from pipe to pipe, and out of the last one."""
        now = time.monotonic()
        while self._events and self._events[0][0] <= now:
            self._happen()
        heap = self._between
        while heap and heap[0][0] <= now:
            due, _, packet, hop = heapq.heappop(heap)
            if self._leave(packet, hop):
                self._enter(packet, hop + 1, due)
        heap = self._last
        while heap and heap[0][0] <= now + EARLY:
            due, _, packet, hop = heapq.heappop(heap)
            if self._leave(packet, hop):
                now = time.monotonic()
                self._arrive(packet, due, now)

    def _leave(self, packet: Packet, hop: int) -> bool:
        """Count a packet out of a pipe; False if that was cut while the packet was under way."""
        pipe = packet.route.pipes[hop]
        if pipe.blocked:
            pipe.dropped_cut += 1
            packet.flow.dropped_cut += 1
            self._record(packet, 0.0, 0.0)
            return False
        pipe.packets_out += 1
        pipe.bytes_out += len(packet.data)
        return True

    def _arrive(self, packet: Packet, due: float, now: float) -> None:
        """Hand a packet to the kernel at its end."""
        late = int((now - due) * LATENESS_BUCKETS_PER_SECOND)
        self._lateness[late] = self._lateness.get(late, 0) + 1
        packet.flow.delivered(len(packet.data), packet.since, now)
        self._record(packet, due, now)
        if packet.route.descriptor < 0:
            self._answer(packet.data, due)
            return
        try:
            os.write(packet.route.descriptor, packet.data)
        except OSError:  # the interface is down
            self._refused += 1

    def _answer(self, data: bytes, now: float) -> None:
        """Be the provider's gateway: answer an echo request, ignore anything else."""
        reply = echo_reply(data)
        route = self._routes.find(GATEWAY, destination(reply)) if reply else None
        if reply and route:
            self._send(reply, route, now)

    def _record(self, packet: Packet, due: float, left: float) -> None:
        sequence = echo_sequence(packet.key, packet.data)
        if sequence is not None:
            self._log.write(packet.key, sequence, packet.since, due, left)

    def _happen(self) -> None:
        moment, _, event = heapq.heappop(self._events)
        for number in event.pipes:
            self._pipes[number].blocked += BLACKOUT if event.blocked else -BLACKOUT
        if event.every is not None:
            self.schedule(moment + event.every, event)

    # -- control --

    def _obey(self) -> None:
        """Do one command of the controller; the end of the connection is the end of the lab."""
        request = self._control.recv(65536)
        if not request:
            self._running = False
            return
        command, *arguments = marshal.loads(request)  # noqa: S302 - our own parent
        handler: Callable[..., Any] = getattr(self, f"_do_{command}")
        answer = marshal.dumps(handler(*arguments))
        os.pwrite(self._bulk, answer, 0)
        self._control.send(b"%d" % len(answer))

    def _do_block(self, numbers: list[int], bit: int, blocked: bool) -> None:
        for number in numbers:
            pipe = self._pipes[number]
            pipe.blocked = pipe.blocked | bit if blocked else pipe.blocked & ~bit

    def _do_set(self, number: int, way: dict[str, Any]) -> None:
        self._pipes[number].configure(Way.model_validate(way))
        self._slack = min(pipe.floor for pipe in self._pipes)

    def _do_status(self) -> dict[str, Any]:
        return {
            "since": self._since,
            "realtime": self._realtime,
            "cpu_seconds": time.process_time(),
            "pipes": [(pipe.blocked, pipe.counters()) for pipe in self._pipes],
            "lateness": self._lateness,
            "under_way": len(self._between) + len(self._last),
            "unroutable": self._unroutable,
            "refused": self._refused,
            "flows_known": len(self._flows),
            "flows_forgotten": self._flows.forgotten,
        }

    def _do_flows(self, start: int) -> tuple[list[tuple[bytes, tuple[Any, ...]]], int | None]:
        return self._flows.page(start)

    def _do_reset(self) -> None:
        self._reset()
