"""The continuous latency measurement: by default one packet per second to every address.

The schedule follows the monotonic clock alone, so setting the wall clock neither stalls nor bunches
it. Requests are spread evenly over the interval; no target is pinged in bursts.
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
from jharnet_monitor.probes.latency.pinger import Echo, Pinger, family_of
from jharnet_monitor.probes.latency.target import EchoSender, Reachability, Target, Watch, targets
from jharnet_monitor.probes.latency.window import LatencySummary, PingWindow

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.2
"""Interval of additional requests to a target that did not answer the last request. A loss burst on
a working line ends within a few packets: the more requests are sent before the decision, the fewer
bursts are taken for an outage."""
MAX_SUSPECTS = 50
"""If more targets than this are suspect at once, it is not random loss: no checks are sent."""
NAME_SECONDS = 300.0
NAME_RETRY_SECONDS = 15.0
_NAME_THREADS = 64
_MIN_SLEEP_SECONDS = 0.032
_MAX_PER_WAKE_UP = 8
"""With hundreds of targets up to eight are pinged per wake-up, because waking up costs more than
sending. With few targets each has its own wake-up."""
_YIELD_LAG_SECONDS = 0.05


class LatencyMonitor:
    """Pings every router, every PC and the uplink's gateway, as set by `config.probes.latency`.

    `on_summary` receives one `LatencySummary` per office and window, `on_reachability` every change
    of a target, `on_echo` each request to an office whose outcome is known: whether it was
    answered, and the round trip in seconds where it is certain. All are called on the event loop,
    one after the other, and must not block. `run`
    measures until it is cancelled; then `flush` waits for the outstanding replies and delivers the
    last, incomplete window. `sender` replaces the network in tests.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        on_summary: Callable[[LatencySummary], None],
        on_reachability: Callable[[Reachability], None],
        on_echo: Callable[[str, bool, float | None], None] | None = None,
        sender: EchoSender | None = None,
    ) -> None:
        settings = config.probes.latency
        self._packets = settings.packets
        self._timeout = settings.timeout
        self._interval = settings.every / settings.packets
        self._notice_seconds = settings.down_after * self._interval + settings.timeout
        self._clock = clock
        self._on_summary = on_summary
        self._on_reachability = on_reachability
        self._on_echo = on_echo
        self._sender = sender or Pinger(settings.timeout, settings.dscp)
        self._suspects: set[Watch] = set()
        self._suspect_found = asyncio.Event()
        self._watches = [
            Watch(target, settings, clock, self._report, self._probe_faster, self._count)
            for target in targets(config)
        ]

    def answers(self) -> dict[Target, bool | None]:
        """Whether each target answers now; None where that is not known."""
        return {watch.target: watch.answers for watch in self._watches}

    def uplink_is_up(self) -> bool | None:
        """Whether headquarters' own line works; None where that is not known.

        An office that answered clearly later than the gateway's last reply proves that the line
        works; an office whose state is still undecided proves nothing.
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
            tasks.create_task(self._send_loop())
            tasks.create_task(self._check_loop())
            tasks.create_task(self._resolve_loop())

    def _open(self, watch: Watch) -> None:
        """Prepare to send; an address of a family that this host lacks does not affect others."""
        try:
            self._sender.open(family_of(watch.address or ("", 0)))
        except PingNotAllowed:
            raise
        except OSError as error:
            log.error("%s cannot be pinged from this host: %s", watch.target.host, error)

    async def flush(self) -> None:
        """After `run`: wait for outstanding replies, deliver all summaries, close the sockets."""
        await self._sender.settle()
        for watch in self._watches:
            if watch.window is not None:
                watch.window.close(self._clock.monotonic())
                watch.window = None
        await asyncio.sleep(0)  # the summaries are delivered during this turn of the loop
        self._sender.close()

    async def _send_loop(self) -> None:
        """Send one request per slot for ever.

        Slot n belongs to target n modulo their number; one round of slots fills the interval.
        """
        count = len(self._watches)
        step = self._interval / count
        per_wake_up = max(1, min(_MAX_PER_WAKE_UP, round(_MIN_SLEEP_SECONDS / step)))
        start, slot = self._clock.monotonic(), 0
        while True:
            lag = self._clock.monotonic() - (start + slot * step)
            if lag < 0:
                await self._clock.sleep(-lag)
            elif lag > self._interval:
                slot += int(lag / self._interval) * count  # skip missed slots, do not burst
                self._forget_after(lag)
            else:
                for _ in range(per_wake_up):
                    number, index = divmod(slot, count)
                    self._send(self._watches[index], number // self._packets)
                    slot += 1
                self._sender.poll()
                if lag > _YIELD_LAG_SECONDS:
                    await asyncio.sleep(0)  # let other tasks run while catching up

    def _forget_after(self, pause: float) -> None:
        """Set all targets to unknown if nothing was sent for longer than it takes to notice an
        outage."""
        if pause > self._notice_seconds:
            log.warning("nothing was sent for %.0f s: all addresses are unknown until they reply",
                        pause)  # fmt: skip
            for watch in self._watches:
                watch.forget()

    def _send(self, watch: Watch, number: int) -> None:
        window = watch.window
        if window is None or window.number != number:
            now = self._clock.monotonic()
            if window is not None:
                window.close(now, self._packets)
            window = PingWindow(number, self._clock.now(), now, partial(self._deliver, watch))
        watch.send(self._sender, window)

    def _deliver(self, watch: Watch, window: PingWindow) -> None:
        """Deliver the summary of a window whose last request is settled."""
        if watch.target.office is not None and watch.target.measured and window.expected:
            address = watch.address[0] if watch.address else None
            summary = window.summary(watch.target.office, watch.target.role, address)
            asyncio.get_running_loop().call_soon(self._on_summary, summary)

    def _count(self, target: Target, echo: Echo) -> None:
        if self._on_echo is not None and target.measured and target.office is not None:
            self._on_echo(target.office, bool(echo.received), echo.rtt)

    def _report(self, change: Reachability) -> None:
        """Report a change in the next turn of the event loop, so that the listener does not delay
        the reading of replies."""
        asyncio.get_running_loop().call_soon(self._on_reachability, change)

    def _probe_faster(self, watch: Watch) -> None:
        self._suspects.add(watch)
        self._suspect_found.set()

    async def _check_loop(self) -> None:
        while True:
            await self._suspect_found.wait()
            self._suspects = {watch for watch in self._suspects if watch.suspect}
            if len(self._suspects) <= MAX_SUSPECTS:
                for watch in self._suspects:
                    watch.send_check(self._sender)
            if not self._suspects:
                self._suspect_found.clear()
            await self._clock.sleep(CHECK_SECONDS)

    async def _resolve_loop(self) -> None:
        """Resolve names at the start, from time to time, and soon after a host stops answering."""
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
    """Set the address of a watch, and return it; a failed look-up keeps the previous address."""
    try:
        address = await resolve(watch.target.host, executor)
    except NoData as error:
        log.warning("%s", error.detail)
        return None
    if address != watch.address:
        log.info("%s resolved to %s", watch.target.host, address[0])
        watch.address = address
    return watch
