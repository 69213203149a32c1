"""One address under watch: what becomes of its requests, and whether it answers."""

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
from jharnet_monitor.probes.latency.pinger import Echo, EchoListener, Stray, socket_address
from jharnet_monitor.probes.latency.window import PingWindow

Role = Literal["router", "pc", "gateway"]


@dataclass(frozen=True, slots=True)
class Target:
    """An address that the hub pings. `office` is None for headquarters' own gateway.

    `measured` says whether the office's latency figures come from it; of the others only
    whether they answer is kept.
    """

    office: str | None
    role: Role
    host: str
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Reachability:
    """A target began or ceased to answer, or (None) nothing can be said of it any more.

    `decided_at` is when it was decided, `since` when it began: the last reply before a silence,
    the first one after it. Both UTC.
    """

    target: Target
    answers: bool | None
    since: datetime
    decided_at: datetime


class Network(Protocol):
    """Where requests go: a `Pinger`."""

    def open(self, family: Family) -> object:
        """Be ready to send in a family; raises `PingNotAllowed`."""

    def send(self, listener: EchoListener, address: SocketAddress, mark: Any = None) -> object:
        """Send one request; raises `OSError` when it did not leave."""

    def beat(self) -> None:
        """Read now what has come."""

    async def settle(self) -> None:
        """Wait until the fate of every request is known."""

    def close(self) -> None:
        """Give the sockets back."""


def targets(config: Config) -> list[Target]:
    """Every address: the gateway, then all routers, then all PCs, in the order in which they are
    pinged: a router and its PC share a line, and should not be asked in the same moment."""
    gateway = config.hub.uplink.gateway
    return [
        *([] if gateway is None else [Target(None, "gateway", gateway)]),
        *(Target(o.id, "router", o.router, True) for o in config.offices if o.router is not None),
        *(Target(o.id, "pc", o.pc, o.router is None) for o in config.offices if o.pc is not None),
    ]


class Watch:
    """A target, the requests to it, and whether it answers. Requests carry their `PingWindow`."""

    def __init__(
        self,
        target: Target,
        settings: LatencyProbe,
        clock: Clock,
        on_reachability: Callable[[Reachability], None],
        on_waver: Callable[[Watch], None],
    ) -> None:
        self.target = target
        self.period: PingWindow | None = None
        self._clock = clock
        self._tell = on_reachability
        self._on_waver = on_waver
        self._check = _CheckListener(self)
        # The gateway is decided first, so that no office is blamed for headquarters' own line.
        self._down_after = settings.down_after - (target.role == "gateway")
        self._damping = Debouncer(self._down_after, settings.up_after, clock.monotonic())
        self._refusals = 0
        self.address: SocketAddress | None
        try:
            self.address, self.named = socket_address(target.host), False
        except ValueError:
            self.address, self.named = None, True

    @property
    def answers(self) -> bool | None:
        """Whether the target answers; None where that is not known."""
        return self._damping.answers

    @property
    def last_reply(self) -> float:
        """When the last reply came, in monotonic seconds; the start where none ever did."""
        return self._damping.last_reply

    @property
    def wavering(self) -> bool:
        """Answering so far, but not the last request: worth a closer look."""
        return self._damping.answers is True and self._damping.timeouts > 0

    def send(self, network: Network, period: PingWindow) -> None:
        """Send the request that is due now; it counts in `period`."""
        self.period = period
        if self.address is None:
            period.unresolved += 1
            return
        try:
            network.send(self, self.address, period)
        except OSError as error:
            period.refuse(error)
            self._refused()
        else:
            period.waiting += 1
            self._refusals = 0

    def send_check(self, network: Network) -> None:
        """Send a request beside the schedule: it speaks for reachability, never for loss."""
        if self.address is None or self.period is None:
            return
        try:
            network.send(self._check, self.address, self.period)
        except OSError:
            return  # the scheduled request tells of it
        self.period.checks += 1

    def settled(self, echo: Echo) -> None:
        """Count a scheduled request in the period in which it was sent, and judge by it."""
        period: PingWindow = echo.mark
        if echo.received:
            self.heard(echo)
        elif echo.received is False:
            self._missed(echo)
        period.take(echo)

    def stray(self, echo: Echo, kind: Stray) -> None:
        """Count a reply that does not count in the period that runs while it comes."""
        if self.period is not None:
            self.period.stray(echo, kind)

    def heard(self, echo: Echo) -> None:
        """A reply came, whatever the request was for."""
        if self._damping.record_reply(echo.sent_ns, self._clock.monotonic()):
            self._report()

    def _missed(self, echo: Echo) -> None:
        if self._damping.record_timeout(echo.sent_ns):
            self._report()
        elif self.wavering:
            self._on_waver(self)

    def _refused(self) -> None:
        """Our own host lets nothing out: the office may be well, so nothing is known of it.

        For the gateway that is itself the finding: headquarters is cut off, at this end.
        """
        self._refusals += 1
        if self._refusals >= self._down_after:
            gateway = self.target.role == "gateway"
            if self._damping.set_down() if gateway else self._damping.set_unknown():
                self._report()

    def _report(self) -> None:
        now = self._clock.now()
        ago = timedelta(seconds=self._clock.monotonic() - self._damping.since)
        self._tell(Reachability(self.target, self.answers, now - ago, now))


class _CheckListener:
    """Hears the replies to a watch's checks."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def settled(self, echo: Echo) -> None:
        """Only a reply says something: the scheduled requests decide what silence means."""
        if echo.received:
            self._watch.heard(echo)

    def stray(self, echo: Echo, kind: Stray) -> None:
        """A stray reply to a check belongs to no figure."""
