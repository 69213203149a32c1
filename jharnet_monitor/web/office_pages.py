"""An office's page, and the probes that are started from it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from types import MappingProxyType
from zoneinfo import ZoneInfo

from aiohttp import web

from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.model import Measurement
from jharnet_monitor.probes import PROBES
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.charts import PlotSpan
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.faults import FaultLedger, page_content
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.office import history, office_page, result_text
from jharnet_monitor.web.pages import Pages, see_other
from jharnet_monitor.web.plot_data import PlotData, read_plot
from jharnet_monitor.web.plots import span_named

_log = logging.getLogger(__name__)

KEPT_SECONDS = MappingProxyType({"day": 20.0, "week": 60.0, "month": 600.0, "year": 600.0})
"""How long the data of a plot are reused."""
MOST_KEPT = 100
FINISHED_SECONDS = 300.0
"""How long the page shows the result of a probe that was started from it."""


@dataclass(slots=True)
class StartedRun:
    """A probe that was started from a page; times are monotonic seconds."""

    task: asyncio.Task[None]
    began: float
    ended: float | None = None
    measurement: Measurement | None = None


@dataclass(frozen=True, slots=True)
class RunProgress:
    """What the page shows of a run; `share` is None where its length is not known."""

    text: str
    share: float | None


class OfficePages:
    """The handlers of these pages for one hub."""

    def __init__(self, hub: HubApi, access: Access, pages: Pages, faults: FaultLedger) -> None:
        self._hub = hub
        self._access = access
        self._pages = pages
        self._faults = faults
        self._runs: dict[tuple[str, str], StartedRun] = {}
        self._starting = asyncio.Lock()
        self._plots: OrderedDict[tuple[str, str], tuple[float, PlotData]] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        """All routes of these pages."""
        return [
            web.get("/office/{office}", self.office),
            web.post("/office/{office}/probes/{probe}", self.measure),
        ]

    async def office(self, request: web.Request) -> web.Response:
        """One office."""
        office, formats = self._pages.office_of(request), self._pages.formats(request)
        span = span_named(request.query.get("span", ""))
        past = await self._hub.read(history, self._hub.store, office.id, formats.now)
        plot = await self._plot(office.id, span, formats)
        content = office_page(self._hub.live, office, past, formats, plot, self._hub.next_tests())
        view = (await self._faults.view()).of(office.id)
        return await self._pages.page(
            request,
            "office.html",
            formats,
            page=content,
            runs=self._progress(office.id, formats),
            finished=self._finished(office.id, formats),
            faults=page_content(view, self._hub.config, formats.now, formats.words),
            heavy_probes=[name for name, probe in PROBES.items() if probe.heavy],
            started=request.query.get("started", ""),
            already=request.query.get("already", ""),
        )

    async def _plot(self, office: str, span: PlotSpan, formats: Formats) -> PlotData:
        """The data of a plot, from the cache or from the store."""
        key, now = (office, span.name), self._hub.clock.monotonic()
        if key in self._plots and now - self._plots[key][0] < KEPT_SECONDS[span.name]:
            return self._plots[key][1]
        zone = ZoneInfo(self._hub.config.district.timezone)
        data = await self._hub.read(read_plot, self._hub.store, office, span, formats.now, zone)
        self._plots[key] = (now, data)
        self._plots.move_to_end(key)
        while len(self._plots) > MOST_KEPT:
            self._plots.popitem(last=False)
        return data

    async def measure(self, request: web.Request) -> web.Response:
        """Start a probe and redirect to the office's page, which will show the result."""
        actor = await self._access.require(request)
        office, probe = self._pages.office_of(request).id, request.match_info["probe"]
        if probe not in self._hub.probe_names:
            raise Refusal(404, f"there are the probes {', '.join(self._hub.probe_names)}")
        PROBES[probe].parse_options({})  # one that needs options is started by the API alone
        async with self._starting:
            word, known = "already", self._runs.get((office, probe))
            if known is None or known.task.done():
                await self._access.act(request, actor, "probe", {"office": office, "probe": probe})
                task = asyncio.create_task(self._run(office, probe))
                self._runs[office, probe] = StartedRun(task, self._hub.clock.monotonic())
                word = "started"
        return see_other(request, f"/office/{office}?{word}={probe}#measure")

    async def _run(self, office: str, probe: str) -> None:
        measurement = None
        try:
            measurement = await self._hub.run_probe(office, probe, {})
        except Exception:
            _log.exception("unexpected error in %s of %s, which its page started", probe, office)
        run = self._runs[office, probe]
        run.measurement, run.ended = measurement, self._hub.clock.monotonic()

    def _progress(self, office: str, formats: Formats) -> list[RunProgress]:
        """The progress of the probes that were started here and still run."""
        live, found = self._hub.live.offices[office], []
        for (place, probe), run in self._runs.items():
            if place != office or run.ended is not None:
                continue
            word = "running" if probe in live.running else "waiting"
            age = self._hub.clock.monotonic() - run.began
            text = formats.words(
                f"web.office.{word}", probe=formats.words(f"probe.{probe}"),
                age=formats.duration(age),
            )  # fmt: skip
            before = live.last_conclusive.get(probe)
            known = before is not None and before.duration > 0 and word == "running"
            share = min(0.95, age / before.duration) if known and before is not None else None
            found.append(RunProgress(text, share))
        return found

    def _finished(self, office: str, formats: Formats) -> str:
        """The result of the run that ended last, for a while."""
        now = self._hub.clock.monotonic()
        ended = [
            (run.ended, probe, run.measurement)
            for (place, probe), run in self._runs.items()
            if place == office and run.ended is not None and run.measurement is not None
            and now - run.ended < FINISHED_SECONDS
        ]  # fmt: skip
        if not ended:
            return ""
        _, probe, measurement = max(ended, key=lambda one: one[0])
        return formats.words(
            "web.office.finished", probe=formats.words(f"probe.{probe}"),
            result=result_text(measurement, formats),
        )  # fmt: skip

    async def close(self, app: web.Application) -> None:
        """Cancel the probes that still run."""
        running = [run.task for run in self._runs.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
