"""The daemon at headquarters: builds the parts, starts them, and shuts them down in order."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.config.load import load_config
from jharnet_monitor.errors import RefusedRecordError, StoreError, TemporaryError, UserError
from jharnet_monitor.hub.agent_connection import AgentConnection
from jharnet_monitor.hub.agent_server import AgentServer
from jharnet_monitor.hub.drills import DrillManager
from jharnet_monitor.hub.drills.sheets import write_sheets
from jharnet_monitor.hub.first_tests import CHECK_SECONDS, FirstTests
from jharnet_monitor.hub.health import Health
from jharnet_monitor.hub.journal import Journal
from jharnet_monitor.hub.nightly_backup import NightlyBackup
from jharnet_monitor.hub.office_monitor import OfficeMonitor
from jharnet_monitor.hub.opening import DatabaseOpening
from jharnet_monitor.hub.policy import Policy
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.records import DrillRecord, is_written
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.scheduler import Scheduler
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.hub.updates import LOOK_SECONDS, Updates
from jharnet_monitor.hub.weekly_push import WeeklyPush
from jharnet_monitor.judge.conference.drill import Drill
from jharnet_monitor.judge.faults import FAULT
from jharnet_monitor.live import Live
from jharnet_monitor.mail.schedule import ReportScheduler
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.model import Measurement, format_utc
from jharnet_monitor.probes import PROBES, PRUNABLE
from jharnet_monitor.probes import load as load_probes
from jharnet_monitor.report.output.worker import stop_workers
from jharnet_monitor.rtc.call import warm_up
from jharnet_monitor.security import tokens
from jharnet_monitor.security.tls import ServedCertificate
from jharnet_monitor.store import Store, Window
from jharnet_monitor.store.acts import Act
from jharnet_monitor.store.retention import cutoff
from jharnet_monitor.supervisor import Supervisor
from jharnet_monitor.web import make_app
from jharnet_monitor.web.access_log import AccessLog
from jharnet_monitor.web.listener import bind, listen
from jharnet_monitor.web.maintenance import window_json
from jharnet_monitor.web.readers import Readers

log = logging.getLogger(__name__)

OWNERSHIP_SECONDS = 10.0
"""Interval at which the hub checks that it still owns the database."""
CERTIFICATE_SECONDS = 60.0
ACCESS_LOG_SECONDS = 5.0
PACK_SECONDS, PACK_PAUSE_SECONDS = 60.0, 0.1
"""Between two looks whether an hour is to be packed, and between hours that are."""
LEAST_KEPT_HOURS = 7 * 24
"""Sealed hours that must be younger than what is pruned. A clock that is years ahead makes all
records old; a week of hours sealed by such a clock would have been noticed."""
STOP_SECONDS = 3.0
"""Time limit for everything that must end before the counters are stored and the database is
closed."""
CLOSE_SECONDS = 0.5
"""Time limit for each of the two: a database may be locked, or gone."""


class Hub:
    """One hub; `run` until `stop`. It is the `HubApi` of the pages and the API."""

    def __init__(self, config_path: Path, config: Config, clock: Clock) -> None:
        self.config_path = config_path
        self.current = current = CurrentConfig(config)
        self.clock = clock
        self.live = Live(current)
        self.store = Store(config.hub.database, clock)
        self.writer = StoreWriter(self.store, config.waiting_file, self.live.hub, clock)
        self.journal = Journal(self.writer, clock)
        self.recorder = Recorder(current, self.writer, self.live, clock)
        self.runner = Runner(
            current,
            clock,
            self._agent_of,
            self.recorder.spent_today,
            self.recorder.record,
            self.live.recent,
        )
        self.office_monitor = OfficeMonitor(
            current, clock, self.live, self.recorder, self.writer, self.runner
        )
        self.opening = DatabaseOpening(
            self.store, self.writer, self.live, self.recorder, self.office_monitor, clock
        )
        self.agents = AgentServer(
            self._authenticate,
            self.office_monitor,
            clock,
            lambda: self.config.probes.conference.codec,
        )
        self.drills = DrillManager(
            current, clock, self.runner, self._store_drill, self._speed_alone, self._write_sheets
        )
        self.policy = Policy(current, clock, self.live, self.runner, self.recorder.spent_today)
        self.first_tests = FirstTests(
            self.live, clock, self.runner.active_tests.was_loaded_since, self.policy.run_scheduled
        )
        self.updates = Updates(
            current, clock, self.live, self.journal, self.recorder, self.runner, self.policy,
            self._agent_of,
        )  # fmt: skip
        self.schedule = Scheduler(
            current,
            clock,
            self.policy.run_scheduled,
            self.live.hub,
            self.drills.hold_planned,
            self._in_browser,
        )
        self.health = Health(self.live.hub, current, clock, self.store)
        self.report_scheduler = ReportScheduler(current, self.store, clock, self.live.hub)
        self.nightly_backup = NightlyBackup(config_path, current, self.store, clock, self.live.hub)
        self.weekly_push = WeeklyPush(current, self.store, clock, self.live.hub)
        self.metrics_registry = MetricsRegistry(self.live, clock)
        self._sockets: list[socket.socket] = []
        self.read = Readers()
        self._listener: web.AppRunner | None = None
        self._certificate: ServedCertificate | None = None
        self._access_log = AccessLog(config.hub.access_log, config.hub.access_log_days, clock)
        self._parts = Supervisor(clock, self.live.hub.parts)
        self._pruned_before: datetime | None = None
        self._ended_by: UserError | TemporaryError | None = None
        self._stopping = asyncio.Event()
        current.on_replace(self._warm_up)

    # --- life

    async def run(self) -> None:
        """Start, work until `stop`, and shut down.

        Raises `UserError` when the hub cannot start, and `TemporaryError` when it cannot start now.
        """
        try:
            await self._startup()
            await self._main_loop()
        finally:
            await self._shutdown()

    def stop(self) -> None:
        """Ask the hub to end."""
        self._stopping.set()

    async def _startup(self) -> None:
        """Take the port and the database before writing anything; then restore, listen and
        schedule."""
        log.info("starting with %s: %d offices", self.config_path, len(self.config.offices))
        self._sockets = bind(self.config, self.config_path)
        await self.opening.open()
        await self.journal.record_settings(self.config, always=True)
        tls = self.config.hub.tls
        self._certificate = await asyncio.to_thread(ServedCertificate, tls) if tls else None
        context = None if self._certificate is None else self._certificate.context
        self._listener = await listen(
            make_app(self), self.config, self.config_path, self._sockets, context, self._access_log
        )
        self.schedule.add_job("seal", {"minute": 7}, self._seal)
        self.schedule.add_job("prune", {"hour": "3-23", "minute": 37}, self._prune)
        self.schedule.start()
        status, now = self.live.hub, self.clock.now()
        status.started_at, status.reload_success, status.reload_at = now, True, now
        load_probes()
        # Objects loaded so far stay alive. Collecting them again blocked the loop for 55 ms.
        gc.collect()
        gc.freeze()
        self._parts.start("database", self._open_database)
        self._parts.start("office monitor", self.office_monitor.run)
        self._parts.start("health", lambda: self.health.run(self._watch_clock))
        self._parts.start("reports", self.report_scheduler.run)
        await self.updates.restore()
        self._parts.start_every("updates", LOOK_SECONDS, self.updates.step)
        self._parts.start("state", self.weekly_push.run)
        self._parts.start("backup", self.nightly_backup.run)
        self._parts.start_every("access log", ACCESS_LOG_SECONDS, self._write_access_log)
        self._parts.start_every("packing", PACK_SECONDS, self._pack)
        self._parts.start_every("first tests", CHECK_SECONDS, self.first_tests.run_due)
        self._parts.start_every("ownership", OWNERSHIP_SECONDS, self._stay_owner)
        self._renew_certificate()
        self._parts.start_every("certificate", CERTIFICATE_SECONDS, self._look_at_certificate)
        self._warm_up()

    async def _open_database(self) -> None:
        """Open a database that was unavailable at the start; end the hub if another hub owns it."""
        await self.opening.keep_trying()
        if self.opening.refused is not None:
            self._end(self.opening.refused)

    def _end(self, error: UserError | TemporaryError) -> None:
        log.critical("%s", error)
        self._ended_by = error
        self.stop()

    async def _write_access_log(self) -> None:
        await asyncio.to_thread(self._access_log.flush)

    def _watch_clock(self) -> float:
        """The seconds by which the wall clock was stepped; the time that it skipped is recorded."""
        step = self.schedule.watch()
        if step > 0:
            self.office_monitor.note_unwatched(step)
        return step

    async def _look_at_certificate(self) -> None:
        self._renew_certificate()

    def _renew_certificate(self) -> None:
        """Serve a certificate that was renewed; one that cannot be used is logged."""
        if self._certificate is None:
            return
        try:
            if self._certificate.refresh():
                log.info("serving the renewed certificate")
        except (UserError, OSError) as error:
            log.error("still serving the old certificate: %s", error)
        self.live.hub.certificate_expires = self._certificate.expires

    async def _stay_owner(self) -> None:
        """End the hub if another hub has become the owner of the database."""
        if not self.opening.opened:
            return
        try:
            await asyncio.to_thread(self.store.ownership.take)
        except StoreError as error:
            log.debug("whether this hub owns the database is not known: %s", error)
        except TemporaryError as error:
            self._end(error)

    async def _main_loop(self) -> None:
        """Work until `stop`. A part that fails is started again by the supervisor."""
        log.info("ready at %s", self.address)
        await self._stopping.wait()
        if self._ended_by is not None:
            raise self._ended_by

    async def _shutdown(self) -> None:
        """Stop the scheduler, the tests, the agents' sessions and then the store, within
        `STOP_SECONDS`."""
        log.info("stopping")
        self.schedule.stop()
        self.writer.hurry()
        watched = asyncio.ensure_future(self.office_monitor.end())
        stop_workers()
        self.nightly_backup.stop()
        ending = asyncio.gather(
            self.schedule.cancel_runs(), self.policy.stop(), self.drills.stop(),
            self.updates.stop(), self._close_sessions(), self._parts.stop(), watched,
            return_exceptions=True,
        )  # fmt: skip
        try:
            await asyncio.wait_for(ending, STOP_SECONDS)
        except TimeoutError:
            log.warning("not everything ended within %g s; abandoning the rest", STOP_SECONDS)
        stop_workers()
        for one in self._sockets:
            one.close()
        await self.opening.save_counters(CLOSE_SECONDS)
        self.read.close()
        await self._write_access_log()
        await self.writer.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self.store.close), CLOSE_SECONDS)
        log.info("stopped")

    async def _close_sessions(self) -> None:
        await self.agents.close()
        if self._listener is not None:
            await self._listener.cleanup()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.current.config

    @property
    def address(self) -> str:
        """The hub's address for pages and agents."""
        return f"{'https' if self.config.hub.tls else 'http'}://{self.config.hub.listen}"

    def _warm_up(self) -> None:
        warm_up(self.config.probes.conference.codec)

    async def _seal(self) -> None:
        if not self.opening.opened:
            return
        await self.journal.record_settings(self.config)  # again, where it failed before
        await asyncio.to_thread(self.store.chain.seal)

    async def _pack(self) -> None:
        """Pack the sealed hours: the last one, or all of them after the schema has changed."""
        try:
            while self.opening.opened and await asyncio.to_thread(self.store.packing.step):
                await self.clock.sleep(PACK_PAUSE_SECONDS)
        except StoreError as error:
            log.warning("no hour is packed now: %s", error)

    async def _prune(self) -> None:
        """Prune once a day: at night or, if the hub was down or the database away, later."""
        zone = ZoneInfo(self.config.district.timezone)
        before = cutoff(self.clock.now(), self.config.retention.raw, zone)
        if not self.opening.opened or before == self._pruned_before:
            return
        links = await asyncio.to_thread(self.store.chain.links)
        kept = sum(link.begin >= before for link in links)
        if kept < LEAST_KEPT_HOURS:
            if kept < len(links):
                log.warning(
                    "nothing is pruned, because only %d of %d hours would be kept; is the clock"
                    " right? It shows %s", kept, len(links), format_utc(self.clock.now())
                )  # fmt: skip
            self._pruned_before = before
            return
        removed = await asyncio.to_thread(self.store.retention.prune, before, zone, PRUNABLE)
        self._pruned_before = before
        if removed:
            log.info("pruned %d measurements from before %s", removed, before.date())

    def _agent_of(self, office_id: str) -> AgentConnection | None:
        return self.agents.get(office_id)  # the server itself needs the runner first

    def _in_browser(self, office_id: str) -> bool:
        agent = self._agent_of(office_id)
        return agent is not None and agent.in_browser

    def _authenticate(self, office_id: str, token: str) -> bool:
        for office in self.config.offices:
            if office.id == office_id and office.agent is not None:
                return tokens.matches(token, office.agent.token_hash_file)
        return False

    # --- the HubApi

    @property
    def probe_names(self) -> Sequence[str]:
        """The probes that can be run on demand."""
        return tuple(PROBES)

    @property
    def sessions_file(self) -> Path | None:
        """Where the signed-in browsers are kept."""
        return self.config.sessions_file

    @property
    def reports_dir(self) -> Path | None:
        """The directory with the reports."""
        return self.config.report.directory

    def next_tests(self) -> Mapping[tuple[str, str], datetime]:
        """When each probe runs next, by office and probe."""
        return self.schedule.next_runs()

    async def run_probe(
        self, office_id: str, probe: str, options: Mapping[str, Any]
    ) -> Measurement:
        """Run a probe as soon as its turn comes; raises `UserError` for unknown options."""
        parsed = PROBES[probe].parse_options(options)
        return await self.policy.run_on_request(office_id, probe, parsed)

    async def start_drill(self, profile: str, minutes: float) -> Drill:
        """Start a drill of all offices."""
        return self.drills.start(profile, minutes)

    async def drill(self, drill_id: str) -> Drill | None:
        """A drill by its id, running or stored."""
        known = self.drills.get(drill_id)
        return known or await self.read(self.store.event_log.drill, drill_id)

    async def newest_drill(self) -> Drill | None:
        """The drill that started last, running or stored."""
        return self.drills.newest or await self.read(self.store.event_log.newest_drill)

    async def plan(
        self, office_id: str | None, begin: datetime, end: datetime, reason: str
    ) -> dict[str, Any]:
        """Announce a planned window."""
        window = Window(office_id, begin, end, reason)
        number = await asyncio.to_thread(self.store.event_log.add_window, window)
        return window_json(replace(window, announced=self.clock.now(), number=number))

    async def withdraw(self, window: Window) -> dict[str, Any]:
        """Withdraw a planned window."""
        now = self.clock.now()
        await asyncio.to_thread(self.store.event_log.withdraw_window, window, now)
        return window_json(replace(window, withdrawn=now))

    async def book_fault(self, office_id: str, entry: Mapping[str, Any]) -> None:
        """Store an entry of the fault ledger before returning."""
        event = self.store.event_log.add_event
        await asyncio.to_thread(event, office_id, FAULT, self.clock.now(), entry)

    async def record_act(self, act: Act) -> None:
        """Record a person's act."""
        await self.journal.add_act(act)

    def _speed_alone(self, office: str) -> tuple[float | None, float | None]:
        """What the office's line carried in its newest speed test: bit/s towards it, from it."""
        test = self.live.offices[office].last_ok.get("bandwidth")
        values = {} if test is None else test.values
        return values.get("download_bits_per_second"), values.get("upload_bits_per_second")

    async def _store_drill(self, drill: Drill) -> None:
        """Store a drill; raises `StoreError` if the database has not accepted it, and
        `RefusedRecordError` if it never will.

        Until it does, the drill waits on disk, so that it is not lost if the hub ends.
        """
        record, file = DrillRecord(drill), self.config.waiting_file
        if await self._is_written(record):
            return
        if not await self.writer.has_set_aside(record):
            await self.writer.write(record)
        if await self.writer.has_set_aside(record):
            raise RefusedRecordError(f"the database refuses it; it is set aside in {file}")
        if not await self._is_written(record):
            raise StoreError(
                f"the database has not accepted it; it waits on the hub's disk ({file})"
            )

    async def _is_written(self, record: DrillRecord) -> bool:
        try:
            return await self.read(is_written, record, self.store)
        except StoreError:
            return False

    async def _write_sheets(self, drill: Drill) -> None:
        made_up = await self.read(self.store.made_up)
        await asyncio.to_thread(write_sheets, drill, self.config, self.clock.now(), made_up=made_up)

    async def reload(self) -> None:
        """Read the configuration again; a wrong one changes nothing and raises `UserError`.

        What `_used_at_start` names and the set of offices need a restart; everything else (probes,
        thresholds, contracts, budget, report) is applied at once.
        """
        try:
            config = await asyncio.to_thread(load_config, self.config_path)
            self._refuse_what_needs_a_restart(config)
        except UserError:
            self.live.hub.reload_success = False
            raise
        zone_changed = config.district.timezone != self.config.district.timezone
        self.current.replace(config)
        await self.journal.record_settings(config)
        if zone_changed:
            await asyncio.to_thread(self.recorder.restore_spent)
        self.live.hub.reload_success = True
        self.live.hub.reload_at = self.clock.now()
        log.info("configuration reloaded")

    def reload_from_signal(self) -> None:
        """On SIGHUP: reload, and log what is wrong."""
        task = asyncio.ensure_future(self.reload())
        task.add_done_callback(_log_refusal)

    def _refuse_what_needs_a_restart(self, config: Config) -> None:
        in_force, wanted = _used_at_start(self.config), _used_at_start(config)
        for name, value in in_force.items():
            if wanted[name] != value:
                raise UserError(f"{self.config_path}: {name}: a change needs a restart")
        if {o.id for o in config.offices} != {o.id for o in self.config.offices}:
            raise UserError(f"{self.config_path}: offices: adding or removing needs a restart")


def _used_at_start(config: Config) -> dict[str, object]:
    """The settings that the hub uses when it starts, and never again."""
    hub = config.hub
    return {
        "hub.listen": hub.listen,
        "hub.database": hub.database,
        "hub.tls": hub.tls,
        "hub.trusted_proxies": hub.trusted_proxies,
        "hub.access_log": hub.access_log,
        "hub.access_log_days": hub.access_log_days,
        "the path of hub.url": hub.base,
        "report.directory": config.waiting_file,  # with PostgreSQL; else it is beside the database
    }


def _log_refusal(task: asyncio.Future[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("configuration not reloaded: %s", error)
