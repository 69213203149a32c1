"""The daemon at headquarters: starts the parts, lets them run, shuts them down in order."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import UserError
from jharnet_monitor.hub.agent_connection import Vitals
from jharnet_monitor.hub.agent_server import AgentEvents, AgentServer
from jharnet_monitor.hub.drills import DrillManager
from jharnet_monitor.hub.drills.sheets import write_sheets
from jharnet_monitor.hub.health import Health
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.policy import Policy
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.scheduler import Scheduler
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.live import Live
from jharnet_monitor.mail.schedule import ReportScheduler
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import Measurement, format_utc
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.options import checked
from jharnet_monitor.rtc.media.warm_up import warm_up
from jharnet_monitor.security import tokens
from jharnet_monitor.store import Store, Window
from jharnet_monitor.store.retention import cutoff
from jharnet_monitor.web import make_app
from jharnet_monitor.web.listener import listen

log = logging.getLogger(__name__)


class Hub(AgentEvents):
    """One hub; `run` until `stop`. It is the `HubApi` of the pages and the API."""

    def __init__(self, config_path: Path, config: Config, clock: Clock) -> None:
        self.config_path = config_path
        self.config = config
        self.clock = clock
        self.live = Live(config)
        self.store = Store(config.hub.database, clock)
        self.recorder = Recorder(config, self.store, self.live, clock)
        self.agents = AgentServer(self._authenticate, self, clock)
        self.runner = Runner(
            config, clock, self.agents.get, self.recorder.spent_today, self.recorder.record
        )
        self.drills = DrillManager(
            lambda: self.config, clock, self.runner, self._store_drill, self._speed_alone
        )
        self.policy = Policy(config, clock, self.live, self.runner, self.recorder.spent_today)
        self.schedule = Scheduler(
            config, clock, self.policy.due, self.policy.due_at_headquarters, self.live.hub,
            self.drills.hold_planned,
        )  # fmt: skip
        self.office_monitor = OfficeMonitor(
            config, clock, self.live, self.recorder, self.store, self.runner
        )
        self.health = Health(self.live.hub, config, clock, self.store)
        self.report_scheduler = ReportScheduler(config, self.store, clock, self.live.hub)
        self.metrics_registry = MetricsRegistry(self.live, clock)
        self._stopping = asyncio.Event()

    # --- life

    async def run(self) -> None:
        """Start, work until `stop`, and shut down; raises `UserError` when it cannot start."""
        await asyncio.to_thread(self.store.migrate)
        await self._restore()
        listener = await listen(make_app(self), self.config, self.config_path)
        self.schedule.also("seal", {"minute": 7}, self._seal)
        self.schedule.also("prune", {"hour": 3, "minute": 37}, self._prune)
        self.schedule.start()
        own, now = self.live.hub, self.clock.now()
        own.started_at, own.reload_success, own.reload_at = now, True, now
        # What is loaded by now stays. Walking it again stopped the loop for 55 ms at a time.
        gc.collect()
        gc.freeze()
        workers = [
            asyncio.create_task(self.office_monitor.run(), name="vigil"),
            asyncio.create_task(self.health.run(self.schedule.watch), name="health"),
            asyncio.create_task(self.report_scheduler.run(), name="mails"),
            asyncio.create_task(self._stopping.wait(), name="stop"),
        ]
        warm_up(self.config.probes.conference.codec)
        log.info("ready at %s", self.address)
        try:
            done, _ = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in done:
                worker.result()  # a part that ended by an error ends the daemon, loudly
        finally:
            await self._shut_down(listener, workers)

    def stop(self) -> None:
        """Ask the hub to end."""
        self._stopping.set()

    @property
    def address(self) -> str:
        """Where pages and agents find the hub."""
        return f"{'https' if self.config.hub.tls else 'http'}://{self.config.hub.listen}"

    async def _restore(self) -> None:
        """Go on from what was known before the last stop."""
        await self._restore_counters()
        for measurement in await asyncio.to_thread(self.store.latest):
            self.live.recall(measurement)
        await asyncio.to_thread(self.recorder.restore_spent)
        await self.office_monitor.restore()

    async def _restore_counters(self) -> None:
        """Runs and packets from the store's exact totals; the rest only after a clean stop.

        A counter that came back a little lower than it was last scraped would look to Prometheus
        like a reset, and all of it like new; starting at 0 is a reset that it reads rightly.
        """
        kept: Any = await asyncio.to_thread(self.store.recall, "counters")
        await asyncio.to_thread(self.store.remember, "counters", None)
        self.live.restore_counters(kept or {})
        for office in self.live.offices.values():
            office.runs.clear()
            office.packets_sent = office.packets_received = 0
        for total in await asyncio.to_thread(self.store.tallies.all):
            if total.office in self.live.offices:
                self.live.count(
                    self.live.offices[total.office], total.probe, total.path,
                    total.outcome.value, total.runs, total.sent, total.received,
                )  # fmt: skip

    async def _shut_down(
        self, listener: web.AppRunner, workers: Sequence[asyncio.Task[Any]]
    ) -> None:
        self.schedule.stop()
        await self.policy.stop()
        await self.drills.stop()
        await self.agents.close()
        await listener.cleanup()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await asyncio.to_thread(self.store.remember, "counters", self.live.counters())
        await asyncio.to_thread(self.store.close)
        log.info("stopped")

    async def _seal(self) -> None:
        await asyncio.to_thread(self.store.chain.seal)

    async def _prune(self) -> None:
        zone = ZoneInfo(self.config.district.timezone)
        before = cutoff(self.clock.now(), self.config.retention.raw, zone)
        removed = await asyncio.to_thread(self.store.retention.prune, before, zone)
        if removed:
            log.info("%d measurements from before %s were pruned", removed, before.date())

    # --- agents

    def _authenticate(self, office_id: str, token: str) -> bool:
        for office in self.config.offices:
            if office.id == office_id and office.agent is not None:
                return tokens.matches(token, office.agent.token_hash_file)
        return False

    async def joined(self, office: str, vitals: Vitals) -> None:
        """An agent came."""
        await self.office_monitor.agent_joined(office, vitals)

    async def heard(self, office: str, vitals: Vitals) -> None:
        """An agent's heartbeat."""
        await self.office_monitor.agent_heard(office, vitals)

    async def left(self, office: str, goodbye: bool) -> None:
        """An agent's session ended."""
        await self.office_monitor.agent_left(office, goodbye)

    async def handed_in(self, office: str, measurements: list[Measurement]) -> None:
        """Keep what an agent measured itself."""
        await self.recorder.record(*map(self.runner.load.marked, measurements))
        self.office_monitor.agent_handed_in(office)

    # --- the HubView of pages and API

    @property
    def probe_names(self) -> Sequence[str]:
        """What can be run on demand."""
        return tuple(PROBES)

    @property
    def reports_dir(self) -> Path | None:
        """Where reports are kept."""
        return self.config.report.directory

    async def run_probe(
        self, office_id: str, probe: str, options: Mapping[str, Any]
    ) -> Measurement:
        """Run a probe now, in its turn; raises `UserError` for options it does not take."""
        return await self.policy.asked(office_id, probe, checked(probe, options))

    async def start_drill(self, profile: str, minutes: float) -> Drill:
        """Start a drill of all offices."""
        return self.drills.start(profile, minutes)

    async def drill(self, drill_id: str) -> Drill | None:
        """A drill by its id: one that this hub has started, else as it is stored."""
        known = self.drills.get(drill_id)
        return known or await asyncio.to_thread(self.store.event_log.drill, drill_id)

    async def newest_drill(self) -> Drill | None:
        """The drill that began last: one that this hub has started, else as it is stored."""
        return self.drills.newest or await asyncio.to_thread(self.store.event_log.newest_drill)

    async def plan(
        self, office_id: str | None, begin: datetime, end: datetime, reason: str
    ) -> dict[str, Any]:
        """Announce a planned window."""
        window = Window(office_id, begin, end, reason)
        await asyncio.to_thread(self.store.event_log.add_window, window)
        return {
            "office": office_id,
            "from": format_utc(begin),
            "to": format_utc(end),
            "reason": reason,
        }

    def _speed_alone(self, office: str) -> tuple[float | None, float | None]:
        """What the office's line carried in its newest speed test: bit/s towards it, from it."""
        test = self.live.offices[office].good.get("bandwidth")
        values = {} if test is None else test.values
        return values.get("download_bits_per_second"), values.get("upload_bits_per_second")

    async def _store_drill(self, drill: Drill) -> None:
        await asyncio.to_thread(self.store.event_log.add_drill, drill)
        await asyncio.to_thread(write_sheets, drill, self.config, self.clock.now())

    async def reload(self) -> None:
        """Read the configuration again; a wrong one changes nothing.

        The listener, the database and the set of offices need a restart; everything else
        (probes, thresholds, contracts, budget) is taken over.
        """
        try:
            config = await asyncio.to_thread(load_config, self.config_path)
            self._refuse_what_needs_a_restart(config)
        except UserError:
            self.live.hub.reload_success = False
            raise
        self.config = self.live.config = self.runner.config = self.policy.config = config
        self.office_monitor.reload(config)
        self.health.reload(config)
        self.report_scheduler.reload(config)
        self.schedule.reload(config)
        warm_up(config.probes.conference.codec)
        self.live.hub.reload_success = True
        self.live.hub.reload_at = self.clock.now()
        log.info("configuration read again")

    def reload_from_signal(self) -> None:
        """SIGHUP: reload, and log what is wrong."""
        task = asyncio.ensure_future(self.reload())
        task.add_done_callback(_log_refusal)

    def _refuse_what_needs_a_restart(self, config: Config) -> None:
        for name in ("listen", "database", "tls"):
            if getattr(config.hub, name) != getattr(self.config.hub, name):
                raise UserError(f"{self.config_path}: hub.{name}: a change needs a restart")
        if {o.id for o in config.offices} != {o.id for o in self.config.offices}:
            raise UserError(f"{self.config_path}: offices: adding or removing needs a restart")

    def ready(self) -> tuple[bool, str]:
        """Whether the hub does its work."""
        return self.health.ready()

    async def agent_socket(self, request: web.Request) -> web.StreamResponse:
        """`/agent`."""
        return await self.agents.socket(request)

    async def transfer(self, request: web.Request) -> web.StreamResponse:
        """`/agent/transfer/{key}`."""
        return await self.agents.transfer(request)


def _log_refusal(task: asyncio.Future[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("not reloaded: %s", error)
