"""The emulated network between headquarters and the offices: delays, drops and forwards packets.

One process with one thread: epoll on the TUN interfaces, a timer, and heaps of packets in flight.
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
from jharnet_monitor.lab.flows import FlowTable, LabFlow
from jharnet_monitor.lab.packet_log import PacketLogWriter
from jharnet_monitor.lab.packets import destination, echo_reply, echo_sequence, flow_key
from jharnet_monitor.lab.pipe import BLACKOUT, LOST, QUEUE_FULL, Pipe
from jharnet_monitor.lab.routes import GATEWAY, PacketRoute, RouteFunction, RouteTable
from jharnet_monitor.lab.spec import LinkDirection

EARLY_SECONDS = 50e-6
"""How early a packet may leave: this centres the timing error and saves wake-ups."""

LATENESS_BUCKETS_PER_SECOND = 100_000

_BATCH_PACKETS = 32
"""Packets read from one interface before those that are due are forwarded."""
_MAX_PACKET_BYTES = 2048
_REALTIME_PRIORITY = 50


@dataclass(frozen=True, slots=True)
class BlackoutEvent:
    """The begin or the end of a blackout."""

    pipes: tuple[int, ...]
    """Numbers of the pipes."""
    blocked: bool
    """True for the begin, False for the end."""
    every: float | None
    """Seconds after which it happens again; None if never."""


@dataclass(slots=True)
class Packet:
    """A packet in flight."""

    data: bytes
    route: PacketRoute
    key: bytes
    """The key of its flow."""
    flow: LabFlow
    arrived_at: float
    """When it came in, in monotonic seconds."""


InFlight = tuple[float, int, Packet, int]
"""A heap entry: when the packet is due to leave its pipe (monotonic seconds), a serial number that
keeps the order, the packet, and the index of the pipe in its route."""


class Emulator:
    """Forwards packets until its controller closes the connection."""

    def __init__(
        self,
        interfaces: list[int],
        pipes: list[Pipe],
        find_route: RouteFunction,
        log: PacketLogWriter,
        control: socket.socket,
        results: int,
    ) -> None:
        """`interfaces` are TUN descriptors, numbered like the endpoints of `find_route`.

        Commands come over `control`, whose responses hold the size of the result that was written
        to the file descriptor `results`.
        """
        self._interfaces = interfaces
        self._pipes = pipes
        self._log = log
        self._control = control
        self._results = results
        self._routes = RouteTable(find_route, pipes, interfaces)
        self._in_first_pipe: list[InFlight] = []
        """Packets in a pipe that leads into another one."""
        self._in_last_pipe: list[InFlight] = []
        """Packets in the last pipe of their route."""
        self._min_pipe_delay = min(pipe.min_delay for pipe in pipes)
        self._events: list[tuple[float, int, BlackoutEvent]] = []
        self._serial = 0
        self._running = True
        self._realtime = False
        self._reset()

    def _reset(self) -> None:
        for pipe in self._pipes:
            pipe.reset()
        self._flows = FlowTable()
        self._lateness: dict[int, int] = {}
        self._unroutable = self._refused = 0
        self._counting_since = time.monotonic()

    def schedule(self, at: float, event: BlackoutEvent) -> None:
        """Apply an event at `at`, in monotonic seconds."""
        self._serial += 1
        heapq.heappush(self._events, (at, self._serial, event))

    def run(self) -> None:
        """Forward packets until the controller closes the connection."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the controller handles Ctrl-C
        gc.collect()
        gc.freeze()
        gc.disable()  # forwarding makes no reference cycles, and a collection takes milliseconds
        linux.lock_memory()
        self._realtime = linux.become_realtime(_REALTIME_PRIORITY)
        timer = linux.Timer()
        poll = select.epoll()
        poll.register(timer.descriptor, select.EPOLLIN)
        poll.register(self._control.fileno(), select.EPOLLIN)
        endpoints = {descriptor: number for number, descriptor in enumerate(self._interfaces)}
        for descriptor in self._interfaces:
            poll.register(descriptor, select.EPOLLIN)
        timer_set_to = 0.0
        while self._running:
            wake_at = self._next_wake_up()
            if wake_at != timer_set_to:
                timer.wake_at(wake_at)
                timer_set_to = wake_at
            for descriptor, _ in poll.poll():
                endpoint = endpoints.get(descriptor)
                if endpoint is not None:
                    self._read_packets(endpoint, descriptor)
                elif descriptor == timer.descriptor:
                    timer_set_to = -1.0  # an expired timer is readable until it is set again
                else:
                    self._handle_command()
                self._forward_due()  # after each, so that no packet waits for the other batches

    def _next_wake_up(self) -> float:
        """When to wake up, in monotonic seconds; 0 if nothing is in flight.

        A packet that is due to enter its second pipe need not enter it on time, only before it
        could leave it.
        """
        times = []
        if self._in_last_pipe:
            times.append(self._in_last_pipe[0][0] - EARLY_SECONDS)
        if self._in_first_pipe:
            times.append(self._in_first_pipe[0][0] + self._min_pipe_delay)
        if self._events:
            times.append(self._events[0][0])
        return min(times, default=0.0)

    def _read_packets(self, endpoint: int, descriptor: int) -> None:
        """Read packets that the kernel of one endpoint has sent."""
        for _ in range(_BATCH_PACKETS):
            try:
                data = os.read(descriptor, _MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            route = self._routes.find(endpoint, destination(data))
            if route is None:
                self._unroutable += 1
            else:
                self._accept(data, route, time.monotonic())

    def _accept(self, data: bytes, route: PacketRoute, now: float) -> None:
        """Count a packet in its flow and put it into the first pipe of its route."""
        key = flow_key(data)
        flow = self._flows.find(key, now)
        flow.packets_in += 1
        flow.bytes_in += len(data)
        flow.last_in = now
        self._enter_pipe(Packet(data, route, key, flow, now), 0, now)

    def _enter_pipe(self, packet: Packet, hop: int, now: float) -> None:
        """Put a packet into pipe number `hop` of its route, as of the time `now`."""
        pipes = packet.route.pipes
        due = pipes[hop].admit(now, len(packet.data))
        if due >= 0:
            self._serial += 1
            heap = self._in_last_pipe if hop == len(pipes) - 1 else self._in_first_pipe
            heapq.heappush(heap, (due, self._serial, packet, hop))
            return
        if due == LOST:
            packet.flow.dropped_loss += 1
        elif due == QUEUE_FULL:
            packet.flow.dropped_queue += 1
        else:
            packet.flow.dropped_cut += 1
        self._log_echo(packet, 0.0, 0.0)

    def _forward_due(self) -> None:
        """Apply due events, and move due packets into their next pipe or to their destination."""
        now = time.monotonic()
        while self._events and self._events[0][0] <= now:
            self._apply_next_event()
        heap = self._in_first_pipe
        while heap and heap[0][0] <= now:
            due, _, packet, hop = heapq.heappop(heap)
            if self._leave_pipe(packet, hop):
                self._enter_pipe(packet, hop + 1, due)
        heap = self._in_last_pipe
        while heap and heap[0][0] <= now + EARLY_SECONDS:
            due, _, packet, hop = heapq.heappop(heap)
            if self._leave_pipe(packet, hop):
                now = time.monotonic()
                self._deliver(packet, due, now)

    def _leave_pipe(self, packet: Packet, hop: int) -> bool:
        """Count a packet that leaves a pipe; returns False if the pipe was cut meanwhile."""
        pipe = packet.route.pipes[hop]
        if pipe.blocked:
            pipe.dropped_cut += 1
            packet.flow.dropped_cut += 1
            self._log_echo(packet, 0.0, 0.0)
            return False
        pipe.packets_out += 1
        pipe.bytes_out += len(packet.data)
        return True

    def _deliver(self, packet: Packet, due: float, now: float) -> None:
        """Write a packet to the interface of its destination, or answer it as the gateway."""
        bucket = int((now - due) * LATENESS_BUCKETS_PER_SECOND)
        self._lateness[bucket] = self._lateness.get(bucket, 0) + 1
        packet.flow.count_delivered(len(packet.data), packet.arrived_at, now)
        self._log_echo(packet, due, now)
        if packet.route.descriptor < 0:
            self._answer_echo(packet.data, due)
            return
        try:
            os.write(packet.route.descriptor, packet.data)
        except OSError:  # the interface is down
            self._refused += 1

    def _answer_echo(self, data: bytes, now: float) -> None:
        """Answer an echo request as the provider's gateway; ignore any other packet."""
        reply = echo_reply(data)
        route = self._routes.find(GATEWAY, destination(reply)) if reply else None
        if reply and route:
            self._accept(reply, route, now)

    def _log_echo(self, packet: Packet, due: float, left: float) -> None:
        """Log an echo packet, with 0 for both times if it was dropped; ignore any other packet."""
        sequence = echo_sequence(packet.key, packet.data)
        if sequence is not None:
            self._log.write(packet.key, sequence, packet.arrived_at, due, left)

    def _apply_next_event(self) -> None:
        at, _, event = heapq.heappop(self._events)
        for number in event.pipes:
            self._pipes[number].blocked += BLACKOUT if event.blocked else -BLACKOUT
        if event.every is not None:
            self.schedule(at + event.every, event)

    # Commands of the controller

    def _handle_command(self) -> None:
        """Execute one command; the end of the connection ends the emulator."""
        request = self._control.recv(65536)
        if not request:
            self._running = False
            return
        command, *arguments = marshal.loads(request)  # noqa: S302 - our own parent
        handler: Callable[..., Any] = getattr(self, f"_do_{command}")
        result = marshal.dumps(handler(*arguments))
        os.pwrite(self._results, result, 0)
        self._control.send(b"%d" % len(result))

    def _do_block(self, numbers: list[int], bit: int, blocked: bool) -> None:
        for number in numbers:
            pipe = self._pipes[number]
            pipe.blocked = pipe.blocked | bit if blocked else pipe.blocked & ~bit

    def _do_set(self, number: int, settings: dict[str, Any]) -> None:
        self._pipes[number].configure(LinkDirection.model_validate(settings))
        self._min_pipe_delay = min(pipe.min_delay for pipe in self._pipes)

    def _do_status(self) -> dict[str, Any]:
        return {
            "since": self._counting_since,
            "realtime": self._realtime,
            "cpu_seconds": time.process_time(),
            "pipes": [(pipe.blocked, pipe.counters()) for pipe in self._pipes],
            "lateness": self._lateness,
            "under_way": len(self._in_first_pipe) + len(self._in_last_pipe),
            "unroutable": self._unroutable,
            "refused": self._refused,
            "flows_known": len(self._flows),
            "flows_forgotten": self._flows.forgotten,
        }

    def _do_flows(self, start: int) -> tuple[list[tuple[bytes, tuple[Any, ...]]], int | None]:
        return self._flows.page(start)

    def _do_reset(self) -> None:
        self._reset()
