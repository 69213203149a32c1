"""An office's measurements as CSV, sent while they are read, so that a year takes no memory."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from aiohttp import web

from jharnet_monitor.errors import StoreError
from jharnet_monitor.model import MADE_UP, QUANTITY_NAMES, Measurement, format_utc
from jharnet_monitor.web.errors import Refusal, unknown_office
from jharnet_monitor.web.hub_api import HubApi
from jharnet_monitor.web.query import in_order, parse_moment, refuse_unknown_keys

_log = logging.getLogger(__name__)

MOST_ROWS_AT_ONCE = 2000
LONGEST = timedelta(days=400)
PLAIN = ("started_at", "path", "outcome", "cause", "duration_seconds")


class CsvExport:
    """The handler of one hub."""

    def __init__(self, hub: HubApi) -> None:
        self._hub = hub

    def routes(self) -> list[web.RouteDef]:
        """Its route."""
        return [web.get("/api/v1/offices/{office}/measurements.csv", self.measurements)]

    async def measurements(self, request: web.Request) -> web.StreamResponse:
        """The measurements of one probe, oldest first; times in UTC, quantities in base units. With
        the past of a made-up district, a last column says of each whether it was made up.
        """
        office, known = request.match_info["office"], [o.id for o in self._hub.config.offices]
        if office not in known:
            raise unknown_office(office, known)
        refuse_unknown_keys(request.query, ("probe", "since", "until"))
        probe = request.query.get("probe", "")
        if probe not in self._hub.probe_names:
            raise Refusal(400, f"`probe` must be one of {', '.join(self._hub.probe_names)}")
        since, until = (parse_moment(request.query, name) for name in ("since", "until"))
        if since is None or until is None or until - since > LONGEST:
            raise Refusal(400, f"give `since` and `until`, at most {LONGEST.days} days apart")
        in_order(request.query, "since", since, "until", until)
        name = f"{office}-{probe}-{since:%Y%m%d}-{until:%Y%m%d}.csv"
        response = web.StreamResponse(headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{name}"',
        })  # fmt: skip
        response.enable_compression()
        quantities = sorted(QUANTITY_NAMES[probe])
        made_up: bool = await self._hub.read(self._hub.store.made_up)
        page = await self._read(office, probe, since, until)
        await response.prepare(request)
        await response.write(_lines([[*PLAIN, *quantities, *([MADE_UP] if made_up else [])]]))
        while page:
            last = page[-1].started_at
            is_end = len(page) < MOST_ROWS_AT_ONCE or page[0].started_at == last
            sent = page if is_end else [one for one in page if one.started_at < last]
            await response.write(_lines(_rows(sent, quantities, made_up=made_up)))
            # Others may have begun in the same millisecond as the last one.
            try:
                page = [] if is_end else await self._read(office, probe, last, until)
            except (Refusal, StoreError) as error:  # too late for another status
                _log.warning("an export of %s, %s is broken off: %s", office, probe, error)
                if request.transport is not None:
                    request.transport.abort()
                return response
        await response.write_eof()
        return response

    async def _read(
        self, office: str, probe: str, since: datetime, until: datetime
    ) -> Sequence[Measurement]:
        found: Sequence[Measurement] = await self._hub.read(
            lambda: self._hub.store.measurements(
                office=office, probe=probe, since=since, until=until, limit=MOST_ROWS_AT_ONCE
            )
        )
        return found


def _rows(
    measurements: Sequence[Measurement], quantities: Sequence[str], *, made_up: bool
) -> Iterator[list[object]]:
    for one in measurements:
        mark = ["yes" if MADE_UP in one.conditions else "no"] if made_up else []
        yield [
            format_utc(one.started_at), one.subject, one.outcome.value, one.cause or "",
            f"{one.duration:.3f}", *(one.values.get(name, "") for name in quantities),
            *mark,
        ]  # fmt: skip


def _lines(rows: Sequence[Sequence[object]] | Iterator[list[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
