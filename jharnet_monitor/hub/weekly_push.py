"""Hands each week in to the state, signed, once its report is due; tries again until it is taken.

What the state refuses for good, such as a key that is not registered, is tried again once an hour:
somebody has to register the key, and nobody should have to restart the hub afterwards.
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
"""Key of the time in the store from which on weeks are due."""

Pusher = Callable[[Config, Period, datetime], str]
"""Makes a week and hands it in; blocks. Raises `StoreError` for what may succeed later."""


def push_in_own_process(config: Config, period: Period, now: datetime) -> str:
    """Like `state.push.make_and_send`, but in another process; raises `WorkerError`, too."""
    became: str = in_own_process("jharnet_monitor.state.push", "make_and_send", config, period, now)
    return became


class WeeklyPush:
    """The weeks of one hub for the state; `status` says when one was taken."""

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
        """Hand in the weeks that are due; never raises what may pass."""
        config, now = self._current.config, self._clock.now()
        if config.state is None:
            return
        try:
            weeks = await asyncio.to_thread(self._due, config, now)
            if self._not_before is not None and now < self._not_before:
                return
            for period in weeks:
                await self._hand_in(config, period, now)
        except (UserError, StoreError, WorkerError) as error:
            self._note(error, now)

    async def _hand_in(self, config: Config, period: Period, now: datetime) -> None:
        key = f"state-{period.stem}"
        taken = await asyncio.to_thread(self._store.get_value, key)
        if taken is None:
            became = await asyncio.to_thread(self._push, config, period, now)
            taken = format_utc(self._clock.now())
            await asyncio.to_thread(self._store.set_value, key, taken)
            log.info("the state has week %s: %s", period.name, became)
        self._failures, self._not_before, self._last_logged = 0, None, ""
        self._status.state_push_at = parse_utc(str(taken))

    def _due(self, config: Config, now: datetime) -> list[Period]:
        since = self._store.get_value(_SINCE)
        if since is None:
            since = format_utc(now)
            self._store.set_value(_SINCE, since)
        return due_weeks(config, parse_utc(str(since)), now)

    def _note(self, error: Exception, now: datetime) -> None:
        """Say why once, and wait before the next attempt."""
        self._failures += 1
        self._status.state_push_failures += 1
        wait = timedelta(seconds=backoff_seconds(self._failures))
        refused = isinstance(error, UserError)
        self._not_before = now + (REFUSED if refused else min(wait, REFUSED))
        if str(error) != self._last_logged:
            log.error("the week was not handed in to the state: %s", error)
        self._last_logged = str(error)
