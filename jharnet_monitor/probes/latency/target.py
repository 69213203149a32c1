"""The addresses that the hub pings, and whether each of them answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.schema import LatencyProbe
from jharnet_monitor.judge.outages.debounce import Debouncer
from jharnet_monitor.probes.dns import SocketAddress
from jharnet_monitor.probes.latency.icmp import Family
from jharnet_monitor.probes.latency.pinger import (
    Echo,
    EchoListener,
    UnexpectedReply,
    socket_address,
)
from jharnet_monitor.probes.latency.window import PingWindow

Role = Literal["router", "pc", "gateway"]


@dataclass(frozen=True, slots=True)
class Target:
    """An address that the hub pings. `office` is None for headquarters' own gateway.

    `measured` says whether the office's latency is measured to it; for the others only whether they
    answer is recorded.
    """

    office: str | None
    role: Role
    host: str
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Reachability:
    """A target started or stopped answering, or (None) its state became unknown.

    `decided_at` is when that was decided, `since` when it happened: the last reply before a
    silence, or the first one after it; see `Debouncer`. Both are UTC.
    """

    target: Target
    answers: bool | None
    since: datetime
    decided_at: datetime


class EchoSender(Protocol):
    """What sends the requests: a `Pinger`, or a simulation."""

    def open(self, family: Family) -> object:
        """Prepare to send in a family; raises `PingNotAllowed`."""

    def send(self, listener: EchoListener, address: SocketAddress, tag: Any = None) -> object:
        """Send one request; raises `OSError` if it was not sent."""

    def poll(self) -> None:
        """Read the replies that have arrived."""

    async def settle(self) -> None:
        """Wait until every request has been answered or has timed out."""

    def close(self) -> None:
        """Close the sockets."""


def targets(config: Config) -> list[Target]:
    """Every address in the order in which it is pinged: the gateway, all routers, all PCs.

    A router and its PC share a line, so they are not pinged at the same moment.
    """
    gateway = config.hub.uplink.gateway
    return [
        *([] if gateway is None else [Target(None, "gateway", gateway)]),
        *(Target(o.id, "router", o.router, True) for o in config.offices if o.router is not None),
        *(Target(o.id, "pc", o.pc, o.router is None) for o in config.offices if o.pc is not None),
    ]


class Watch:
    """A target, the requests to it, and whether it answers. Requests are tagged with their window.

    `on_reachability` is called when `answers` changes, `on_suspect` for each request without reply
    after which the target is `suspect`, `on_echo` for each scheduled request whose outcome is
    known.
    """

    def __init__(
        self,
        target: Target,
        settings: LatencyProbe,
        clock: Clock,
        on_reachability: Callable[[Reachability], None],
        on_suspect: Callable[[Watch], None],
        on_echo: Callable[[Target, Echo], None],
    ) -> None:
        self.target = target
        self.window: PingWindow | None = None
        self._clock = clock
        self._timeout = settings.timeout
        self._on_reachability = on_reachability
        self._on_suspect = on_suspect
        self._on_echo = on_echo
        self._check_listener = _CheckListener(self)
        # The gateway is decided first, so that no office is blamed for headquarters' own line.
        self._down_after = settings.down_after - (target.role == "gateway")
        self._debouncer = Debouncer(self._down_after, settings.up_after, clock.monotonic())
        self._failed_sends = 0
        self._sending = False
        """Whether requests are sent; without any, silence proves nothing."""
        self.address: SocketAddress | None
        try:
            self.address, self.named = socket_address(target.host), False
        except ValueError:
            self.address, self.named = None, True

    @property
    def answers(self) -> bool | None:
        """Whether the target answers; None where that is not known."""
        return self._debouncer.answers

    @property
    def last_reply(self) -> float:
        """Arrival of the last reply in monotonic seconds; the start where there was none."""
        return self._debouncer.last_reply

    @property
    def suspect(self) -> bool:
        """Whether the target counts as answering but did not answer the last request."""
        return self._debouncer.answers is True and self._debouncer.timeouts > 0

    def send(self, sender: EchoSender, window: PingWindow) -> None:
        """Send a scheduled request, which counts in `window`."""
        self.window = window
        if self.address is None:
            window.unresolved += 1
            return
        try:
            sender.send(self, self.address, window)
        except OSError as error:
            window.send_failed(error)
            self._send_failed()
        else:
            window.waiting += 1
            self._failed_sends = 0
            if not self._sending:
                self._sending = True
                self._debouncer.begin(self._clock.monotonic())

    def send_check(self, sender: EchoSender) -> None:
        """Send an additional request: it counts for reachability, never for loss."""
        if self.address is None or self.window is None:
            return
        try:
            sender.send(self._check_listener, self.address, self.window)
        except OSError:
            return  # the scheduled request records the error
        self.window.checks += 1

    def forget(self) -> None:
        """Set the state to unknown after this program was stopped. Replies that waited meanwhile
        are ignored.
        """
        now, self._sending = self._clock.monotonic(), False
        if self._debouncer.set_unknown(now, sent_before=now * 1e9):
            self._report()

    def settled(self, echo: Echo) -> None:
        """Count a scheduled request in the window in which it was sent."""
        window: PingWindow = echo.tag
        if echo.received:
            self.reply_received(echo)
        elif echo.received is False:
            self._timed_out(echo)
        window.settled(echo)
        if echo.received is not None:
            self._on_echo(self.target, echo)

    def unexpected(self, echo: Echo, kind: UnexpectedReply) -> None:
        """Count the reply in the window in which it arrived."""
        if self.window is not None:
            self.window.unexpected(echo, kind)

    def reply_received(self, echo: Echo) -> None:
        """Record the reply to a scheduled or additional request.

        A reply that waited while this program was stopped counts as within the time-out.
        """
        latest = echo.sent_ns / 1e9 + (self._timeout if echo.rtt is None else echo.rtt)
        if self._debouncer.record_reply(echo.sent_ns, min(self._clock.monotonic(), latest)):
            self._report()

    def _timed_out(self, echo: Echo) -> None:
        if self._debouncer.record_timeout(echo.sent_ns):
            self._report()
        elif self.suspect:
            self._on_suspect(self)

    def _send_failed(self) -> None:
        """After several failed sends in a row the target's state is unknown: this host has the
        fault. For the gateway they prove that headquarters is cut off at its own end.
        """
        self._failed_sends += 1
        if self._failed_sends >= self._down_after:
            self._sending = False
            gateway, now = self.target.role == "gateway", self._clock.monotonic()
            if self._debouncer.set_down() if gateway else self._debouncer.set_unknown(now):
                self._report()

    def _report(self) -> None:
        now = self._clock.now()
        ago = timedelta(seconds=self._clock.monotonic() - self._debouncer.since)
        self._on_reachability(Reachability(self.target, self.answers, now - ago, now))


class _CheckListener:
    """Receives the outcomes of a watch's additional requests."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def settled(self, echo: Echo) -> None:
        """Record a reply; time-outs are decided by the scheduled requests alone."""
        if echo.received:
            self._watch.reply_received(echo)

    def unexpected(self, echo: Echo, kind: UnexpectedReply) -> None:
        """Ignore it: it is part of no figure."""
