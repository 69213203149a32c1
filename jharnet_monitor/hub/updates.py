"""Rolls a published version out to the agents in stages, off-hours and within the byte budget.

The agent fetches, verifies and installs; the hub decides which agent may fetch how much and when.
The hub gives an agent only parts of one signed release. The agent checks the release's signature,
so that it need not trust the hub.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any
from zoneinfo import ZoneInfo

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.handover.releases import Published, Releases
from jharnet_monitor.hub.agent_connection import AgentConnection
from jharnet_monitor.hub.journal import Journal
from jharnet_monitor.hub.policy import Policy
from jharnet_monitor.hub.recorder import UPDATE, Recorder
from jharnet_monitor.hub.rollout import Rollout, Stage, read_rollout, write_rollout
from jharnet_monitor.hub.runner import Runner
from jharnet_monitor.hub.update_budget import UpdateBudget
from jharnet_monitor.hub.update_round import PIECE_BYTES, TASK, UpdateRound, on_the_line
from jharnet_monitor.judge.calendar.hours import in_office_hours
from jharnet_monitor.live import Live
from jharnet_monitor.model import Cause, Direction, format_utc
from jharnet_monitor.probes.base import ChannelClosed, NoData

log = logging.getLogger(__name__)

LOOK_SECONDS = 15.0
ROUND_SECONDS = 60.0
"""How long an office may fetch before probes get their turn."""
DEFAULT_RATE = 2e6
"""Assumed rate in bit/s of a line whose contract is unknown."""
TAKES_NONE = "takes no updates: a browser, an agent of 0.1.0, or one without release_key"
"""Why an office is unable whose connected agent does not offer the task."""
_BLOCKED = {
    Cause.CONFERENCE_ON: "a conference is on",
    Cause.UPLINK_DOWN: "headquarters' line is down",
    Cause.UNREACHABLE: "the office does not answer",
}


class Updates:
    """The rollout of one version at a time; `step` advances it."""

    def __init__(
        self,
        current: CurrentConfig,
        clock: Clock,
        live: Live,
        journal: Journal,
        recorder: Recorder,
        runner: Runner,
        policy: Policy,
        agent_of: Callable[[str], AgentConnection | None],
    ) -> None:
        self._current = current
        self._clock = clock
        self._live = live
        self._journal = journal
        self._recorder = recorder
        self._runner = runner
        self._policy = policy
        self._agent_of = agent_of
        self._rounds: dict[str, asyncio.Task[None]] = {}
        self._budget = UpdateBudget(lambda: self.config.updates.directory)
        self._changing = asyncio.Lock()
        """Held from reading the rollout to storing its successor, so that none is overwritten."""
        self.rollout: Rollout | None = None
        self._published: Published | None = None

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._current.config

    def _releases(self) -> Releases:
        return Releases(self.config.updates.directory)

    async def restore(self) -> None:
        """Continue the rollout that was running before the hub restarted."""
        await self._budget.restore()
        async with self._changing:  # somebody may offer a version already
            try:
                self.rollout = await asyncio.to_thread(read_rollout, self.config.updates.directory)
                await self._load()
            except UserError as error:
                log.error("no version is offered: %s", error)
                self.rollout = None

    async def _load(self) -> None:
        self._published = None
        if self.rollout is None:
            return
        every = await asyncio.to_thread(lambda: list(self._releases().all()))
        known = {one.release.serial: one for one in every}
        self._published = known.get(self.rollout.serial)
        if self._published is None:
            raise UserError(f"release {self.rollout.version} is not published any more")

    # --- requests of people

    async def offer(self, version: str, offices: tuple[str, ...] | None, by: str) -> Rollout:
        """Offer a published version to offices, or in stages to all; raises `UserError`."""
        found = await asyncio.to_thread(self._releases().find, version)
        known = self._with_agents()
        for office in offices or ():
            if office not in known:
                raise UserError(
                    f"no office {office[:40]} has an agent; there are: {', '.join(known)}"
                )
        began = format_utc(self._clock.now())
        rollout = Rollout(found.release.version, found.release.serial, by, began, offices)
        async with self._changing:
            await self._keep(rollout)
            self._published = found
        return rollout

    async def withdraw(self) -> None:
        """Stop offering a version; installed versions stay."""
        async with self._changing:
            await self._keep(None)
            self._published = None
        for office in self._live.offices.values():
            office.agent.update_state = None

    async def _keep(self, rollout: Rollout | None) -> None:
        await asyncio.to_thread(write_rollout, self.config.updates.directory, rollout)
        self.rollout = rollout

    async def status(self) -> dict[str, Any]:
        """Releases, rollout and each office's state, in the form of the API."""
        releases = self._releases()
        every = await asyncio.to_thread(lambda: list(releases.all()))
        key, rollout = await asyncio.to_thread(releases.key), self.rollout
        return {
            "release_key": key,
            "releases": [
                {"version": one.release.version, "serial": one.release.serial} for one in every
            ],
            "offered": None if rollout is None else {
                "version": rollout.version, "serial": rollout.serial, "by": rollout.by,
                "began": rollout.began, "halted": bool(rollout.failed),
                "offices": None if rollout.offices is None else list(rollout.offices),
            },
            "offices": [self._office_status(name, rollout) for name in self._with_agents()],
        }  # fmt: skip

    def _office_status(self, name: str, rollout: Rollout | None) -> dict[str, Any]:
        agent = self._live.offices[name].agent
        why = self._why(name, rollout) if rollout is not None else None
        return {"office": name, "version": agent.version, "state": agent.update_state, "why": why}

    def _why(self, office: str, rollout: Rollout) -> str | None:
        """Why an office failed, is unable or waits, in a few words; else None."""
        if office in rollout.failed or office in rollout.unable:
            return rollout.failed.get(office) or rollout.unable.get(office) or None
        if self._live.offices[office].agent.update_state != "waiting":
            return None
        stage = self._stage(rollout)
        if office not in stage.due:
            return stage.others_wait
        if self._agent_of(office) is None:
            return "its agent is not connected"
        busy = "waits until the tests on its line, or on the uplink, have ended"
        turn = busy if self._in_round(office) else "its turn is next"
        return self._obstacle(office) or turn

    def _in_round(self, office: str) -> bool:
        running = self._rounds.get(office)
        return running is not None and not running.done()

    # --- automatic steps

    async def step(self) -> None:
        """Evaluate the agents' reports, and start the offices that are due."""
        for office in self._with_agents():
            await self._evaluate(office)
        await self._note_lasting()
        rollout, published = self.rollout, self._published  # it may have been withdrawn meanwhile
        idle = [office for office in self._with_agents() if not self._in_round(office)]
        if rollout is None or published is None:
            for office in idle:  # a round that went on after the withdrawal left its last state
                self._live.offices[office].agent.update_state = None
            return
        due = self._stage(rollout).due
        for office in idle:
            state = self._state(office, rollout)
            self._live.offices[office].agent.update_state = state
            ready = state == "waiting" and self._agent_of(office) is not None
            if ready and office in due and self._may_fetch(office):
                self._start(office, published)

    def _stage(self, rollout: Rollout) -> Stage:
        """How far a rollout is now."""
        agents, settings = self._with_agents(), self.config.updates
        local = self._clock.now().astimezone(ZoneInfo(self.config.district.timezone))
        return rollout.stage(agents, settings.first, settings.soak, local)

    async def _note_lasting(self) -> None:
        """Note which offices are connected with the version after their soak."""
        async with self._changing:
            rollout = self.rollout
            if rollout is None:
                return
            running = [one for one in self._with_agents() if self._runs(one, rollout)]
            soak, now = self.config.updates.soak, self._clock.now()
            found = rollout.with_lasted(running, soak, now)
            if found is not rollout:
                await self._keep(found)

    def _runs(self, office: str, rollout: Rollout) -> bool:
        """Whether an office is connected with the version now, and with no other build of it."""
        agent = self._live.offices[office].agent
        report = agent.update or {}
        other_build = (
            report.get("version") == rollout.version and report.get("serial") != rollout.serial
        )
        return agent.connected and agent.version == rollout.version and not other_build

    def _with_agents(self) -> list[str]:
        return [office.id for office in self.config.offices if office.agent is not None]

    def _state(self, office: str, rollout: Rollout) -> str:
        """The state of an office for which no round runs."""
        report = self._live.offices[office].agent.update or {}
        if office in rollout.updated:
            return "updated"
        if office in rollout.failed:
            return "refused" if report.get("state") == "refused" else "rolled_back"
        if office in rollout.unable:
            return "unable"
        return "trial" if report.get("state") == "trial" else "waiting"

    async def _evaluate(self, office: str) -> None:
        """Evaluate an agent's report on this release."""
        await self._conclude(office, lambda rollout: self._result(office, rollout))

    async def _conclude(
        self, office: str, find: Callable[[Rollout], tuple[str, str] | None]
    ) -> None:
        """Store what `find` finds of an office in the rollout as it is now, if anything."""
        async with self._changing:
            rollout = self.rollout
            found = None if rollout is None else find(rollout)
            if rollout is None or found is None:
                return
            state, why = found
            if state == "updated":
                await self._keep(rollout.with_updated(office, self._clock.now()))
            elif state == "unable":
                await self._keep(rollout.with_unable(office, why))
            elif state == "able":
                await self._keep(rollout.with_able(office))
                return
            else:
                await self._keep(rollout.with_failed(office, why or state))
        if state == "updated":
            await self._event(office, rollout, state)
        else:
            level = logging.WARNING if state == "unable" else logging.ERROR
            log.log(level, "%s: version %s: %s: %s", office, rollout.version, state, why)
            await self._event(office, rollout, state, why=why)

    def _result(self, office: str, rollout: Rollout) -> tuple[str, str] | None:
        """What became of the rollout at an office, and why; None if nothing is new."""
        agent, link = self._live.offices[office].agent, self._agent_of(office)
        if self._published is None or not agent.connected or office in rollout.failed:
            return None
        report: Mapping[str, Any] = agent.update or {}
        state = report.get("state") if report.get("offer") == rollout.began else None
        if office in rollout.updated:  # kept, and left later because it did not last
            left = state == "rolled_back"
            return ("rolled_back", str(report.get("why", ""))) if left else None
        is_same = report.get("serial") == rollout.serial
        by_hand = not is_same or office in rollout.unable
        # An agent may have left a version that it reports as confirmed.
        if (by_hand or report.get("state") == "confirmed") and self._runs(office, rollout):
            return "updated", ""
        takes_none = link is not None and TASK not in link.features
        if office in rollout.unable:
            took_none = rollout.unable[office] == TAKES_NONE
            return ("able", "") if took_none and link is not None and not takes_none else None
        if state in ("rolled_back", "refused"):
            fits = state != "refused" or report.get("fits") is not False
            return (state if fits else "unable"), str(report.get("why", ""))
        return ("unable", TAKES_NONE) if takes_none and rollout.concerns(office) else None

    def _may_fetch(self, office: str) -> bool:
        return self._obstacle(office) is None

    def _obstacle(self, office: str) -> str | None:
        """Why an office must not fetch now, though it is due; else None."""
        if not self._in_hours():
            return "waits for the end of office hours (updates.hours)"
        if blocked := self._policy.blocked(office):
            return _BLOCKED.get(Cause(blocked), blocked)
        if self._bytes_left(office) < on_the_line(PIECE_BYTES):
            return "no bytes are left today (updates.budget and budget)"
        return None

    def _in_hours(self) -> bool:
        if self.config.updates.hours == "always":
            return True
        return not in_office_hours(self.config.district, self._clock.now())

    def _bytes_left(self, office: str) -> float:
        """Bytes that an update may still use today, of its own budget and of the day's budget."""
        day, _ = self._recorder.today()
        own = self._budget.spent(office, day)
        total = self.config.budget - self._recorder.spent_today(office)
        return min(self.config.updates.budget - own, total)

    async def _charge(self, office: str, amount: int) -> None:
        day, _ = self._recorder.today()
        self._recorder.charge(office, amount)
        await self._budget.charge(office, day, amount)

    async def _event(self, office: str, rollout: Rollout, action: str, **more: Any) -> None:
        about = {"version": rollout.version, "serial": rollout.serial}
        await self._journal.add_event(office, UPDATE, {"did": action, **about, **more})

    # --- one round of one office

    def _start(self, office: str, published: Published) -> None:
        task = asyncio.create_task(self._round(office, published), name=f"update {office}")
        self._rounds[office] = task

    async def _round(self, office: str, published: Published) -> None:
        """Let the office fetch for a limited time, and install once it has everything.

        The line is free again while the agent installs, which may take an hour.
        """
        try:
            async with AsyncExitStack() as line:
                holding = self._runner.hold_line(office, TASK, self._rate(office))
                rate = await line.enter_async_context(holding)
                await self._converse(office, published, rate, line.aclose)
        except (ChannelClosed, NoData, TimeoutError) as error:
            why = str(error) or "it took too long"
            log.info("%s: the update will continue later: %s", office, why)
        except (TemporaryError, UserError) as error:
            log.error("%s: the update has to wait: %s", office, error)
        except Exception:
            log.exception("%s: unexpected error in the update", office)
            self._live.hub.parts.restarts["updates"] += 1

    async def _converse(
        self,
        office: str,
        published: Published,
        rate: float,
        free_line: Callable[[], Awaitable[None]],
    ) -> None:
        link, rollout = self._agent_of(office), self.rollout
        if link is None or rollout is None or rollout.serial != published.release.serial:
            return
        if not self._may_go_on(office, rollout):  # as things are after the wait for the line
            return
        params = {
            **published.to_params(),
            "version": rollout.version,
            "serial": rollout.serial,
            "offer": rollout.began,
            "trial_seconds": self.config.updates.trial,
        }
        agent, until = self._live.offices[office].agent, self._clock.monotonic() + ROUND_SECONDS
        agent.update_state = "fetching"
        update_round = UpdateRound(
            link,
            published,
            rate,
            self._clock,
            lambda: self._clock.monotonic() < until and self._may_go_on(office, rollout),
            lambda amount: self._charge(office, amount),
        )
        try:
            async for state in update_round.run(params):
                agent.update_state = state
                if state == "installing":
                    await free_line()
                if state == "unable":
                    await self._conclude(
                        office, lambda now: self._unfit(office, rollout, now, update_round.why)
                    )
                elif state != "fetching":
                    await self._event(office, rollout, state)
        finally:
            if update_round.bytes_sent:
                await self._event(office, rollout, "fetched", bytes=update_round.bytes_sent)

    def _unfit(
        self, office: str, offered: Rollout, now: Rollout, why: str
    ) -> tuple[str, str] | None:
        """The result of an office whose agent says in a round that the release does not fit."""
        return ("unable", why) if now.is_same_offer(offered) and not now.is_over(office) else None

    def _rate(self, office: str) -> float:
        link = self.config.office(office).link
        contracted = DEFAULT_RATE if link is None else link.rate(Direction.DOWN)
        return contracted * self.config.updates.share

    def _may_go_on(self, office: str, rollout: Rollout) -> bool:
        """Whether this rollout is still offered, and the office still due."""
        current = self.rollout
        if current is None or not current.is_same_offer(rollout):
            return False
        return office in self._stage(current).due and self._may_fetch(office)

    async def stop(self) -> None:
        """End every round; offices keep what they have fetched."""
        for task in self._rounds.values():
            task.cancel()
        await asyncio.gather(*self._rounds.values(), return_exceptions=True)
