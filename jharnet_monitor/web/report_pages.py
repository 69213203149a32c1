"""The page of reports, drills' sheets and dossiers, and the form that makes one for any period."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from jharnet_monitor.errors import TemporaryError, UserError
from jharnet_monitor.i18n.formats import Formats, period_name
from jharnet_monitor.judge.calendar.period import Period, week_of
from jharnet_monitor.report.output.files import TypesettingError
from jharnet_monitor.report.output.worker import WorkerError, in_own_process
from jharnet_monitor.web import reports
from jharnet_monitor.web.auth import Access
from jharnet_monitor.web.errors import Refusal
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.pages import Pages, see_other
from jharnet_monitor.web.query import read_form

_log = logging.getLogger(__name__)

MAKERS = MappingProxyType({
    "report": ("jharnet_monitor.report.output.files_of_period", "write_report"),
    "dossier": ("jharnet_monitor.dossier.file_of_period", "write_dossier"),
})  # fmt: skip
"""What can be made: the function that makes it, in a process of its own."""

EARLIEST, LATEST = date(2000, 1, 1), date(2100, 12, 31)
"""Days of which a paper can be; the arithmetic of calendars ends with the year 9999."""
_DAY = timedelta(days=1)

Make = Callable[..., Sequence[Path]]


@dataclass(slots=True)
class PaperJob:
    """A paper that is being made, or was made last; times are monotonic seconds."""

    kind: str
    period: Period
    began: float
    task: asyncio.Task[None] | None = None
    files: tuple[str, ...] = ()
    error: str = ""
    ended: float | None = field(default=None)


class ReportPages:
    """The handlers of these pages for one hub; one paper is made at a time."""

    def __init__(
        self, hub: HubApi, access: Access, pages: Pages, make: Make = in_own_process
    ) -> None:
        self._hub = hub
        self._access = access
        self._pages = pages
        self._make = make
        self._thread = ThreadPoolExecutor(1, "papers")
        self._job: PaperJob | None = None
        self._starting = asyncio.Lock()

    def routes(self) -> list[web.RouteDef]:
        """All routes of these pages."""
        return [
            web.get("/reports", self.listed),
            web.post("/reports", self.make),
            web.get("/reports/{name}", self.report),
        ]

    async def listed(self, request: web.Request) -> web.Response:
        """The papers, the form, and what is being made."""
        formats = self._pages.formats(request)
        found = await self._hub.read(reports.listing, self._hub.reports_dir)
        today = formats.now.astimezone(formats.zone).date()
        week = week_of(today - timedelta(days=7), formats.zone)
        return await self._pages.page(
            request,
            "reports.html",
            formats,
            papers=reports.papers(found, formats),
            job=self._job_view(formats),
            first=str(week.days[0]),
            last=str(week.days[-1]),
            today=str(today),
            kinds=tuple(MAKERS),
        )

    def _job_view(self, formats: Formats) -> dict[str, Any] | None:
        """The job in the reader's words."""
        job, t = self._job, formats.words
        if job is None:
            return None
        age = (job.ended or self._hub.clock.monotonic()) - job.began
        word = "running" if job.ended is None else "failed" if job.error else "done"
        return {
            "running": job.ended is None,
            "text": t(
                f"web.reports.job.{word}", what=t(f"web.reports.kind.{job.kind}"),
                period=period_name(job.period, t), age=formats.duration(age),
            ),
            "error": job.error,
            "files": job.files,
        }  # fmt: skip

    async def make(self, request: web.Request) -> web.Response:
        """Begin to make a paper from the form; redirect to the list, which shows the progress."""
        actor = await self._access.require(request)
        form, now = await read_form(request), self._hub.clock.now()
        kind = form.get("kind", "")
        if kind not in MAKERS:
            raise Refusal(400, f"`kind` must be one of {', '.join(MAKERS)}")
        chosen = _period(form, kind, now, ZoneInfo(self._hub.config.district.timezone))
        about = {"paper": kind, "from": chosen.start.isoformat(), "to": chosen.end.isoformat()}
        async with self._starting:
            if self._job is not None and self._job.ended is None:
                raise Refusal(400, "another paper is being made; wait for its end")
            await self._access.act(request, actor, "report made", about)
            self._job = job = PaperJob(kind, chosen, self._hub.clock.monotonic())
            job.task = asyncio.create_task(self._run(job), name=f"making a {kind}")
        return see_other(request, "/reports")

    async def _run(self, job: PaperJob) -> None:
        module, function = MAKERS[job.kind]
        order = module, function, self._hub.config, job.period, self._hub.clock.now()
        loop = asyncio.get_running_loop()
        try:
            paths = await loop.run_in_executor(self._thread, self._make, *order)
            job.files = tuple(path.name for path in paths)
        except (TypesettingError, UserError, TemporaryError, WorkerError) as error:
            _log.error("the %s for %s could not be made: %s", job.kind, job.period.name, error)
            job.error = str(error)
        except Exception:
            _log.exception("unexpected error in making a %s", job.kind)
            job.error = "unexpected error; see the hub's log"
        finally:
            job.ended = self._hub.clock.monotonic()

    async def report(self, request: web.Request) -> web.StreamResponse:
        """One file."""
        name = request.match_info["name"]
        path = await self._hub.read(reports.find, self._hub.reports_dir, name)
        if path is None:
            raise Refusal(404, "there is no such report")
        return web.FileResponse(path, headers=reports.headers(path))

    async def close(self, app: web.Application) -> None:
        """Cancel the job; the hub ends its process."""
        if self._job is not None and self._job.task is not None:
            self._job.task.cancel()
            await asyncio.gather(self._job.task, return_exceptions=True)
        self._thread.shutdown(wait=False)


def _period(form: Mapping[str, str], kind: str, now: datetime, zone: ZoneInfo) -> Period:
    """The period of a paper in the form; raises `Refusal`."""
    first, last = _day(form, "first"), _day(form, "last")
    if last < first:
        raise Refusal(400, f"the last day {last} lies before the first day {first}")
    chosen = reports.period_of(str(first), str(last), zone)
    yesterday = now.astimezone(zone).date() - _DAY
    if chosen.start > now:
        raise Refusal(400, f"the period begins on {first}, which is still to come")
    if kind == "dossier" and last > yesterday:
        raise Refusal(
            400,
            f"the last day {last} is not over yet; a dossier covers past days only, "
            f"the last is {yesterday}",
        )
    return chosen


def _day(form: Mapping[str, str], key: str) -> date:
    text = form.get(key, "")
    try:
        day = datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        day = date.min
    if not EARLIEST <= day <= LATEST:
        raise Refusal(
            400, f"the {key} day must be a day such as 2026-11-25, from {EARLIEST.year} to "
            f"{LATEST.year}, not `{text[:20]}`",
        )  # fmt: skip
    return day


REPORT_PAGES = web.AppKey("report_pages", ReportPages)
