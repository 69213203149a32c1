"""The last week of every office, held in memory for the status page.

States come from the event log, latency and grades from what was measured. Only what is new is read
again, one office after the other and with pauses, so that a large district costs the hub little at
any moment. What is not read yet is not shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from aiohttp import web

from jharnet_monitor.errors import StoreError
from jharnet_monitor.judge.outages.timeline import Span
from jharnet_monitor.model import Measurement, Route
from jharnet_monitor.report.data.state_spans import spans
from jharnet_monitor.store import Store
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi

log = logging.getLogger(__name__)

WEEK = timedelta(days=7)
DAY = timedelta(hours=24)
BUCKET = timedelta(minutes=30)
"""Of latency and loss, for a line as small as a word."""
REFRESH_SECONDS = 60.0
PATIENCE_SECONDS = 0.5
"""How long a page waits for data that was never read before."""
MOST_ROWS = 20_000


@dataclass(slots=True)
class HalfHour:
    """Latency measurements that began within `BUCKET`."""

    medians: list[float] = field(default_factory=list)
    sent: int = 0
    received: int = 0

    @property
    def latency(self) -> float | None:
        """The median of the measurements' medians, in seconds; None without a reply."""
        return median(self.medians) if self.medians else None

    @property
    def loss(self) -> float | None:
        """The share of packets lost; None if none was sent."""
        return 1 - self.received / self.sent if self.sent else None


@dataclass(slots=True)
class OfficePast:
    """An office's last week. `buckets` hold 24 hours of latency, by the moment they begin."""

    spans: Sequence[Span] = ()
    grades: Sequence[tuple[datetime, int]] = ()
    buckets: dict[datetime, HalfHour] = field(default_factory=dict)
    read_until: datetime | None = None
    """The beginning of a bucket: what began before it is in `buckets`, and is not read again."""


class Pasts:
    """The last week of all offices."""

    def __init__(self, hub: HubApi) -> None:
        self._hub = hub
        self._known: dict[str, OfficePast] = {}
        self._task: asyncio.Task[None] | None = None
        self._started: float | None = None
        self.changed_at = 0.0
        """When something was read, in monotonic seconds."""

    def of(self, office: str) -> OfficePast | None:
        """The past of an office; None if nothing was read yet."""
        return self._known.get(office)

    async def refresh(self) -> None:
        """Begin to read new data if that is due; wait a moment while offices have no data yet."""
        now = self._hub.clock.monotonic()
        if self._task is None or self._task.done():
            if self._started is not None and now - self._started < REFRESH_SECONDS:
                return
            self._started = now
            self._task = asyncio.create_task(self._read_all(), name="past of offices")
        if len(self._known) < len(self._hub.config.offices):
            await asyncio.wait({self._task}, timeout=PATIENCE_SECONDS)

    async def close(self, app: web.Application) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read_all(self) -> None:
        loop = asyncio.get_running_loop()
        for office in self._hub.config.offices:
            started = loop.time()
            past = self._known.get(office.id, OfficePast())
            try:
                now = self._hub.clock.now()
                self._known[office.id] = await self._hub.read(
                    _read, self._hub.store, office.id, past, now
                )
            except (StoreError, Refusal) as error:
                log.debug("cannot read the past of %s now: %s", office.id, error)
            self.changed_at = self._hub.clock.monotonic()
            # As long a pause leaves the readers' threads to other requests.
            await asyncio.sleep(loop.time() - started)


def _read(store: Store, office: str, past: OfficePast, now: datetime) -> OfficePast:
    """The office's past up to now; blocks.

    The newest buckets are read again: a measurement is stored a minute or more after it began.
    """
    since = now - DAY if past.read_until is None else past.read_until
    new = store.measurements(
        office=office, probe="latency", path=Route.JHARNET, since=since, until=now,
        limit=MOST_ROWS, newest_first=True,
    )  # fmt: skip
    buckets = {at: one for at, one in past.buckets.items() if now - DAY - BUCKET < at < since}
    for measurement in new:
        _add(buckets, measurement)
    calls = store.measurements(
        office=office, probe="conference", path=Route.JHARNET, since=now - WEEK, limit=200,
        newest_first=True,
    )  # fmt: skip
    return OfficePast(
        spans=spans(store.event_log.transitions(office, now - WEEK), now),
        grades=[
            (call.started_at, int(call.values["grade"]))
            for call in reversed(calls)
            if "grade" in call.values and call.is_conclusive
        ],
        buckets=buckets,
        read_until=_bucket_of(now - BUCKET),
    )


def _bucket_of(at: datetime) -> datetime:
    """The beginning of the bucket into which a moment falls."""
    begin = at - timedelta(seconds=at.timestamp() % BUCKET.total_seconds())
    return begin.replace(microsecond=0)


def _add(buckets: dict[datetime, HalfHour], measurement: Measurement) -> None:
    values: Any = measurement.values
    at = measurement.started_at
    bucket = buckets.setdefault(_bucket_of(at), HalfHour())
    if "rtt_p50_seconds" in values:
        bucket.medians.append(values["rtt_p50_seconds"])
    bucket.sent += int(values.get("sent", 0))
    bucket.received += int(values.get("received", 0))
