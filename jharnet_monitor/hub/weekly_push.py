"""Submits each week, signed, to the state when its report is due, and retries until it is accepted.

After a refusal whose cause somebody can remove, such as an unregistered key, the hub tries again
once an hour, so that it need not be restarted afterwards. A week that the receiver refuses for good
is recorded with the reason, so that it does not hold up later weeks. After an update the hub tries
such a week once more, because another version may make it differently.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from jharnet_monitor import __version__
from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import UserError
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.live import HubStatus
from jharnet_monitor.mail.due_work import DueWork
from jharnet_monitor.mail.outbox import backoff_seconds
from jharnet_monitor.mail.schedule import due_since, due_weeks
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.report.output.worker import in_own_process
from jharnet_monitor.state.refused import WeekRefusedError
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

RETRY_AFTER_REFUSAL = timedelta(hours=1)
_SINCE = "state_since"
"""Key in the store for the time from which weeks are due."""

Pusher = Callable[[Config, Period, datetime], str]
"""Makes and submits a week; blocks. Raises as `state.push.make_and_send` does."""


def push_in_own_process(config: Config, period: Period, now: datetime) -> str:
    """Like `state.push.make_and_send`, but in another process; raises `WorkerError`, too."""
    result: str = in_own_process("jharnet_monitor.state.push", "make_and_send", config, period, now)
    return result


class WeeklyPush(DueWork[Period]):
    """Submits the weeks of one hub; `status` shows when the state accepted the last one, and which
    it refused."""

    def __init__(
        self, current: CurrentConfig, store: Store, clock: Clock, status: HubStatus,
        push: Pusher = push_in_own_process,
    ) -> None:  # fmt: skip
        super().__init__(clock)
        self._current = current
        self._store = store
        self._status = status
        self._push = push
        self._last_logged = ""

    async def _due(self, now: datetime) -> Sequence[Period]:
        config = self._current.config
        return (
            () if config.state is None else await asyncio.to_thread(self._open_weeks, config, now)
        )

    def _open_weeks(self, config: Config, now: datetime) -> list[Period]:
        """The weeks that are due and neither accepted nor refused for good."""
        since = due_since(self._store, _SINCE, now)
        weeks: list[Period] = []
        refused: dict[str, str] = {}
        for period in due_weeks(config, since, now):
            match self._store.get_value(_key(period)):
                case str(accepted_at):
                    self._status.state_push_at = parse_utc(accepted_at)
                case {"refused": str(why), "version": version} if version == __version__:
                    refused[period.name] = why
                case _:
                    weeks.append(period)
        self._status.state_push_refused = refused
        return weeks

    async def _do(self, work: Period, now: datetime) -> None:
        """Submit a week."""
        try:
            result = await asyncio.to_thread(self._push, self._current.config, work, now)
        except WeekRefusedError as error:
            await self._note_refusal(work, str(error))
            return
        accepted_at = self._clock.now()
        await asyncio.to_thread(self._store.set_value, _key(work), format_utc(accepted_at))
        log.info("the state accepted week %s: %s", work.name, result)
        self._status.state_push_at, self._last_logged = accepted_at, ""

    async def _note_refusal(self, week: Period, why: str) -> None:
        self._status.state_push_failures += 1
        log.error("the state refused week %s for good: %s", week.name, why)
        refusal = {"refused": why, "version": __version__, "at": format_utc(self._clock.now())}
        await asyncio.to_thread(self._store.set_value, _key(week), refusal)
        self._status.state_push_refused = {**self._status.state_push_refused, week.name: why}

    def _note_failure(self, error: Exception) -> timedelta:
        """Log a reason only if it is not that of the failure before."""
        self._status.state_push_failures += 1
        if str(error) != self._last_logged:
            log.error("the week was not handed in to the state: %s", error)
        self._last_logged = str(error)
        if isinstance(error, UserError):
            return RETRY_AFTER_REFUSAL
        return min(timedelta(seconds=backoff_seconds(self._failures)), RETRY_AFTER_REFUSAL)


def _key(period: Period) -> str:
    """Key in the store for when the state accepted a week, or why it refused it."""
    return f"state-{period.stem}"
