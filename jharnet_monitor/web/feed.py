"""The status page, rendered once for all who look at it, and its changes as server-sent events.

A page has parts: the answer, a row for each office, the map, the newest drill. They are rendered
together, at most every few seconds and in a thread of their own; each reader receives those that
changed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from jharnet_monitor.errors import StoreError
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.i18n.words import LANGUAGES
from jharnet_monitor.web.district_map import map_view
from jharnet_monitor.web.drill_line import drill_line
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.glance import SPARK_HEIGHT
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.past import Pasts
from jharnet_monitor.web.render import Renderer
from jharnet_monitor.web.status import NextTests, status

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""How often the feed checks whether a state has changed."""
RENEW_SECONDS = 20.0
"""How often figures and ages are renewed; this also shows the reader that the hub is alive."""
VIEW_SECONDS = 5.0
"""How long a rendered page is served, unless a state changes."""
STREAM_SECONDS = 300.0
"""After it a reader has to connect again, which shows that its session has not ended."""
DRILL_SECONDS = 2.0
"""How long a page waits for the newest drill; without an answer it is left out."""
MOST_READERS = 400
"""Open status pages that receive events; others reload by themselves."""
_MOST_QUEUED = 4
"""Messages that may wait for a reader; a slower reader is disconnected."""


@dataclass(frozen=True, slots=True)
class StatusView:
    """A rendered page: HTML by the id of its element; the ids of the rows in their order, and those
    of each group. `revision` grows with time.
    """

    headline: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    groups: tuple[tuple[int, tuple[str, ...]], ...] = ()
    revision: int = 0


@dataclass(slots=True)
class _Rendered:
    """The newest page in one language, and the revision in which each part changed."""

    view: StatusView = field(default_factory=StatusView)
    changed: dict[str, int] = field(default_factory=dict)
    at: float = 0.0
    signature: Any = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def take(self, view: StatusView) -> None:
        """Replace the view, and record which parts changed."""
        before = self.view
        self.changed = {
            name: self.changed.get(name, 0) if before.parts.get(name) == html else view.revision
            for name, html in view.parts.items()
        }
        self.view = view

    def message(self, after: int, time: str) -> bytes:
        """The event that brings a page of a revision up to date.

        A revision ahead of ours is of a hub whose clock was set back: all of its parts are old.
        """
        after = after if after <= self.view.revision else 0
        parts = {name: self.view.parts[name] for name, at in self.changed.items() if at > after}
        body = {"time": time, "title": self.view.headline, "order": self.view.order, "parts": parts}
        text = json.dumps(body, ensure_ascii=False)
        return f"id: {self.view.revision}\ndata: {text}\n\n".encode()


class StatusFeed:
    """Renders the status page of one hub, and sends its changes."""

    def __init__(self, hub: HubApi, renderer: Renderer, pasts: Pasts) -> None:
        self._hub = hub
        self._renderer = renderer
        self._pasts = pasts
        self._rendered = {language: _Rendered() for language in LANGUAGES}
        self._readers: dict[asyncio.Queue[bytes | None], str] = {}
        self._threads = ThreadPoolExecutor(1, "status page")
        self._ticking: asyncio.Task[None] | None = None

    async def view(self, language: str, *, renew: bool = False) -> StatusView:
        """The page as it is now."""
        rendered = self._rendered[language]
        async with rendered.lock:
            now, signature = self._hub.clock.monotonic(), self._signature()
            old = renew or now - rendered.at >= VIEW_SECONDS or not rendered.view.parts
            if old or signature != rendered.signature:
                await self._pasts.refresh()
                rendered.take(await self._render(language, rendered.view.revision))
                rendered.at, rendered.signature = now, signature
        return rendered.view

    def _signature(self) -> Any:
        """The values whose changes must be shown at once."""
        live = self._hub.live
        return (
            live.uplink_up, live.hub.database_failing, live.config,
            [
                (office.state, office.since, office.running, office.agent.connected,
                 office.last_conclusive.get("conference"))
                for office in live.offices.values()
            ],
        )  # fmt: skip

    async def _render(self, language: str, before: int) -> StatusView:
        now = self._hub.clock.now()
        formats = Formats.of(language, self._hub.config.district.timezone, now)
        revision = max(before + 1, int(now.timestamp() * 1000))
        loop = asyncio.get_running_loop()
        next_tests, drill = self._hub.next_tests(), await self._drill(formats)
        return await loop.run_in_executor(
            self._threads, self._make_view, formats, revision, next_tests, drill
        )

    async def _drill(self, formats: Formats) -> str:
        """The line on the newest drill."""
        try:
            async with asyncio.timeout(DRILL_SECONDS):
                newest = await self._hub.newest_drill()
        except (StoreError, Refusal, TimeoutError):  # the rest does not need the database
            newest = None
        return drill_line(newest, self._hub.config.thresholds.grade, formats)

    def _make_view(
        self, formats: Formats, revision: int, next_tests: NextTests, drill: str
    ) -> StatusView:
        """Render all parts; blocks."""
        config = self._hub.config
        known = ((office.id, self._pasts.of(office.id)) for office in config.offices)
        pasts = {office: past for office, past in known if past is not None}
        content = status(self._hub.live, formats, pasts, next_tests)
        text = self._renderer.render(
            "status_parts.html", formats, status=content, thresholds=config.thresholds,
            map=map_view(config, content.every), spark_height=SPARK_HEIGHT, drill=drill,
        )  # fmt: skip
        pairs = (part.split("\x1f", 1) for part in text.split("\x1e")[1:])
        return StatusView(
            headline=content.headline,
            parts={name: html.strip() for name, html in pairs},
            order=tuple(f"row-{row.id}" for row in content.rows),
            groups=tuple(
                (group.number, tuple(f"in-{group.number}-{row.id}" for row in group.rows))
                for group in content.groups
            ),
            revision=revision,
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send what changes, until the reader leaves."""
        language = request.query.get("lang", "")
        if language not in LANGUAGES:
            raise Refusal(400, f"`lang` must be one of {', '.join(LANGUAGES)}")
        if len(self._readers) >= MOST_READERS:
            raise Refusal(503, "too many pages are open; this one renews itself")
        after = max(
            _number(request.query.get("after")), _number(request.headers.get("Last-Event-ID"))
        )
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_MOST_QUEUED)
        self._readers[queue] = language
        self._start_ticking()
        try:
            async with asyncio.timeout(STREAM_SECONDS):
                await self.view(language)
                message: bytes | None = self._message(language, after)
                while message is not None:
                    await response.write(message)
                    message = await queue.get()
        except (ConnectionResetError, TimeoutError):
            pass  # the reader left, or has to show again that it may read
        finally:
            self._readers.pop(queue, None)
        return response

    def _message(self, language: str, after: int) -> bytes:
        formats = Formats.of(language, self._hub.config.district.timezone, self._hub.clock.now())
        return self._rendered[language].message(after, formats.date_and_time(formats.now))

    def _start_ticking(self) -> None:
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick(), name="status feed")

    async def _tick(self) -> None:
        """Send changes while there are readers."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while self._readers:
            await asyncio.sleep(TICK_SECONDS)
            due = loop.time() - renewed >= RENEW_SECONDS
            renewed = loop.time() if due else renewed
            for language in set(self._readers.values()):
                rendered = self._rendered[language]
                if not due and self._signature() == rendered.signature:
                    continue
                before = rendered.view.revision
                try:
                    await self.view(language, renew=due)
                except Exception:
                    log.exception("the status page could not be rendered")
                    continue
                self._send(language, self._message(language, before))

    def _send(self, language: str, message: bytes) -> None:
        for queue in [one for one, wanted in self._readers.items() if wanted == language]:
            if queue.full():
                self._disconnect(queue)
            else:
                queue.put_nowait(message)

    def _disconnect(self, queue: asyncio.Queue[bytes | None]) -> None:
        """End a reader's stream after the messages that already wait for it."""
        self._readers.pop(queue, None)
        queue.get_nowait()
        queue.put_nowait(None)

    async def end(self, app: web.Application) -> None:
        """End all readers, as the hub is stopping."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)
        for queue in list(self._readers):
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
        self._threads.shutdown(wait=False)


def _number(text: str | None) -> int:
    """A revision that a browser sends; 0 for anything else."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else 0
