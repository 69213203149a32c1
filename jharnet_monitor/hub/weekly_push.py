"""Submits each week, signed, to the state when its report is due, and retries until it is accepted.

A week that the state refuses, for example because the key is not registered, is retried once an
hour, so that the hub need not be restarted after somebody has registered the key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from jharnet_monitor.clock import Clock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.errors import StoreError, UserError
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.live import HubStatus
from jharnet_monitor.mail.outbox import backoff_seconds
from jharnet_monitor.mail.schedule import due_weeks
from jharnet_monitor.model import format_utc, parse_utc
from jharnet_monitor.report.output.worker import WorkerError, in_own_process
from jharnet_monitor.store import Store

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
REFUSED = timedelta(hours=1)
_SINCE = "state_since"
"""Key in the store for the time from which weeks are due."""

Pusher = Callable[[Config, Period, datetime], str]
"""Makes and submits a week; blocks. Raises `StoreError` if a later attempt may succeed."""


def push_in_own_process(config: Config, period: Period, now: datetime) -> str:
    """Like `state.push.make_and_send`, but in another process; raises `WorkerError`, too."""
    result: str = in_own_process("jharnet_monitor.state.push", "make_and_send", config, period, now)
    return result


class WeeklyPush:
    """Submits the weeks of one hub; `status` shows when the state accepted the last one."""

    def __init__(
        self, current: CurrentConfig, store: Store, clock: Clock, status: HubStatus,
        push: Pusher = push_in_own_process,
    ) -> None:  # fmt: skip
        self._current = current
        self._store = store
        self._clock = clock
        self._status = status
        self._push = push
        self._failures = 0
        self._not_before: datetime | None = None
        self._last_logged = ""

    async def run(self) -> None:
        """Look every `CHECK_SECONDS` until cancelled."""
        while True:
            await self.run_once()
            await self._clock.sleep(CHECK_SECONDS)

    async def run_once(self) -> None:
        """Submit the weeks that are due; logs temporary errors instead of raising them."""
        config, now = self._current.config, self._clock.now()
        if config.state is None:
            return
        try:
            weeks = await asyncio.to_thread(self._due, config, now)
            if self._not_before is not None and now < self._not_before:
                return
            for period in weeks:
                await self._submit(config, period, now)
        except (UserError, StoreError, WorkerError) as error:
            self._note_failure(error, now)

    async def _submit(self, config: Config, period: Period, now: datetime) -> None:
        key = f"state-{period.stem}"
        accepted_at = await asyncio.to_thread(self._store.get_value, key)
        if accepted_at is None:
            result = await asyncio.to_thread(self._push, config, period, now)
            accepted_at = format_utc(self._clock.now())
            await asyncio.to_thread(self._store.set_value, key, accepted_at)
            log.info("the state accepted week %s: %s", period.name, result)
        self._failures, self._not_before, self._last_logged = 0, None, ""
        self._status.state_push_at = parse_utc(str(accepted_at))

    def _due(self, config: Config, now: datetime) -> list[Period]:
        since = self._store.get_value(_SINCE)
        if since is None:
            since = format_utc(now)
            self._store.set_value(_SINCE, since)
        return due_weeks(config, parse_utc(str(since)), now)

    def _note_failure(self, error: Exception, now: datetime) -> None:
        """Log each reason once, and set when to try again."""
        self._failures += 1
        self._status.state_push_failures += 1
        wait = timedelta(seconds=backoff_seconds(self._failures))
        refused = isinstance(error, UserError)
        self._not_before = now + (REFUSED if refused else min(wait, REFUSED))
        if str(error) != self._last_logged:
            log.error("the week was not handed in to the state: %s", error)
        self._last_logged = str(error)
