"""The always-on latency measurement: a packet a second to every address, for ever.

The rhythm hangs on the monotonic clock alone, so that setting the wall clock neither stalls nor
bunches it. Requests are spread evenly over the interval; nobody is pinged in bursts.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.judge.outages.state import uplink_works
from jharnet_monitor.probes.base import NoData
from jharnet_monitor.probes.dns import resolve
from jharnet_monitor.probes.latency.icmp import PingNotAllowed
from jharnet_monitor.probes.latency.pinger import Pinger, family_of
from jharnet_monitor.probes.latency.target import Network, Reachability, Target, Watch, targets
from jharnet_monitor.probes.latency.window import LatencySummary, PingWindow

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.2
"""How often an address that just missed a request is asked again beside the schedule. A burst
of loss on a living line ends within some packets; the more are asked in the time that a decision
may take, the fewer bursts look like an outage."""
CHECKS_AT_ONCE = 50
"""When more addresses than this waver at once, it is no chance loss and needs no closer look."""
NAME_SECONDS = 300.0
NAME_RETRY_SECONDS = 15.0
_NAME_THREADS = 64
_WAKE_SECONDS = 0.032
_MOST_AT_ONCE = 8
"""With some hundred targets, a packet each goes to up to eight of them at a time: to wake up
costs more than to send. With few, each has a moment of its own."""
_LATE_SECONDS = 0.05


class LatencyMonitor:
    """Pings every router and PC and the uplink's gateway, as `config.probes.latency` says.

    `on_fold` gets one `LatencySummary` an office and period, `on_reachability` every change of a
    target. Both are called on the event loop, one after the other, and must not block. `run` works
    until it is cancelled; then `flush` waits for the replies under way and hands out what the
    last, unfinished period amounts to. `pinger` may stand in for the network.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        on_fold: Callable[[LatencySummary], None],
        on_reachability: Callable[[Reachability], None],
        pinger: Network | None = None,
    ) -> None:
        settings = config.probes.latency
        self._packets = settings.packets
        self._timeout = settings.timeout
        self._interval = settings.every / settings.packets
        self._clock = clock
        self._on_fold = on_fold
        self._on_reachability = on_reachability
        self._network = pinger or Pinger(settings.timeout, settings.dscp)
        self._wavering: set[Watch] = set()
        self._somebody_wavers = asyncio.Event()
        self._watches = [
            Watch(target, settings, clock, self._report, self._look_closer)
            for target in targets(config)
        ]

    def answers(self) -> dict[Target, bool | None]:
        """Whether each target answers now; None where that is not known."""
        return {watch.target: watch.answers for watch in self._watches}

    def uplink(self) -> bool | None:
        """Whether headquarters' own line works; None where that cannot be told.

        An office that still answered well after the gateway's last reply proves the line; one
        that is only not yet decided to be silent proves nothing.
        """
        gateway = next((w for w in self._watches if w.target.role == "gateway"), None)
        since = -math.inf
        if gateway is not None and gateway.answers is False:
            since = gateway.last_reply + self._interval + self._timeout
        proven = any(
            watch.answers and watch.last_reply > since
            for watch in self._watches
            if watch is not gateway
        )
        return uplink_works(None if gateway is None else gateway.answers, proven)

    async def run(self) -> None:
        """Measure until cancelled. Raises `PingNotAllowed` where this process may not ping."""
        for watch in self._watches:
            if watch.address is not None:
                self._open(watch)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send_for_ever())
            tasks.create_task(self._check_for_ever())
            tasks.create_task(self._resolve_for_ever())

    def _open(self, watch: Watch) -> None:
        """Be ready to send; an address of a family that this host lacks hurts no other."""
        try:
            self._network.open(family_of(watch.address or ("", 0)))
        except PingNotAllowed:
            raise
        except OSError as error:
            log.error("%s cannot be pinged from this host: %s", watch.target.host, error)

    async def flush(self) -> None:
        """After `run`: settle and hand out everything that was sent, and give the sockets back."""
        await self._network.settle()
        for watch in self._watches:
            if watch.period is not None:
                watch.period.close(self._clock.monotonic())
                watch.period = None
        await asyncio.sleep(0)  # the folds are handed out by now
        self._network.close()

    async def _send_for_ever(self) -> None:
        """Slot n belongs to target n modulo their number; the slots of a round fill an interval."""
        count = len(self._watches)
        step = self._interval / count
        at_once = max(1, min(_MOST_AT_ONCE, round(_WAKE_SECONDS / step)))
        start, slot = self._clock.monotonic(), 0
        while True:
            behind = self._clock.monotonic() - (start + slot * step)
            if behind < 0:
                await self._clock.sleep(-behind)
            elif behind > self._interval:
                slot += int(behind / self._interval) * count  # lost time is not caught up in bursts
            else:
                for _ in range(at_once):
                    number, index = divmod(slot, count)
                    self._send(self._watches[index], number // self._packets)
                    slot += 1
                self._network.beat()
                if behind > _LATE_SECONDS:
                    await asyncio.sleep(0)  # catching up, but not to the exclusion of all else

    def _send(self, watch: Watch, number: int) -> None:
        period = watch.period
        if period is None or period.number != number:
            now = self._clock.monotonic()
            if period is not None:
                period.close(now, self._packets)
            period = PingWindow(number, self._clock.now(), now, partial(self._done, watch))
        watch.send(self._network, period)

    def _done(self, watch: Watch, period: PingWindow) -> None:
        """A period's last request is settled."""
        if watch.target.office is not None and watch.target.measured and period.due:
            address = watch.address[0] if watch.address else None
            fold = period.fold(watch.target.office, watch.target.role, address)
            asyncio.get_running_loop().call_soon(self._on_fold, fold)

    def _report(self, change: Reachability) -> None:
        """Called later, so that nothing the listener does can disturb the reading of replies."""
        asyncio.get_running_loop().call_soon(self._on_reachability, change)

    def _look_closer(self, watch: Watch) -> None:
        self._wavering.add(watch)
        self._somebody_wavers.set()

    async def _check_for_ever(self) -> None:
        while True:
            await self._somebody_wavers.wait()
            self._wavering = {watch for watch in self._wavering if watch.wavering}
            if len(self._wavering) <= CHECKS_AT_ONCE:
                for watch in self._wavering:
                    watch.send_check(self._network)
            if not self._wavering:
                self._somebody_wavers.clear()
            await self._clock.sleep(CHECK_SECONDS)

    async def _resolve_for_ever(self) -> None:
        """Resolve names at the start, again as time passes, and at once when a host is silent."""
        named = [watch for watch in self._watches if watch.named]
        if not named:
            return
        executor = ThreadPoolExecutor(min(_NAME_THREADS, len(named)), "names")
        resolved: dict[Watch, float] = {}
        try:
            while True:
                now = self._clock.monotonic()
                due = [
                    watch
                    for watch in named
                    if not watch.answers or now - resolved.get(watch, -NAME_SECONDS) >= NAME_SECONDS
                ]
                for watch in await asyncio.gather(*(_resolve(w, executor) for w in due)):
                    if watch is not None:
                        resolved[watch] = now
                await self._clock.sleep(NAME_RETRY_SECONDS)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


async def _resolve(watch: Watch, executor: Executor) -> Watch | None:
    """Give a watch its address; a name that is not found now keeps the address it had."""
    try:
        address = await resolve(watch.target.host, executor)
    except NoData as error:
        log.warning("%s", error.detail)
        return None
    if address != watch.address:
        log.info("%s is %s", watch.target.host, address[0])
        watch.address = address
    return watch
