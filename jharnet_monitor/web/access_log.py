"""The log of requests: who asked for what, from where, and with what result; a file a day.

CERT-In's directions of 28 April 2022 want logs for 180 days. Lines are JSON, so nothing that a
stranger sends can forge one. Files of earlier days are compressed. The size of a day's file is
limited: lines beyond it are counted, not written.
"""

from __future__ import annotations

import gzip
import json
import logging
import shutil
from collections import deque
from datetime import date, datetime, timedelta
from pathlib import Path

from aiohttp.abc import AbstractAccessLogger
from aiohttp.web import BaseRequest, RequestKey, StreamResponse

from jharnet_monitor.clock import Clock
from jharnet_monitor.model import format_utc

_log = logging.getLogger(__name__)

ACTOR = RequestKey("actor", str)
"""Who sent a request, once that is proven."""
SENDER = RequestKey("sender", str)
"""Who a trusted proxy says sent it."""
MOST_BYTES_A_DAY = 50_000_000
MOST_WAITING = 20_000
_LONGEST = 200
_SECRET_PATHS = ("/agent/transfer/",)
"""The last part of these paths is a one-time key."""


class AccessLog:
    """Collects lines and writes them, by `flush`, into one file a day (UTC)."""

    def __init__(self, directory: Path, days: int, clock: Clock) -> None:
        self._directory = directory
        self._days = days
        self._clock = clock
        self._waiting: deque[tuple[datetime, str]] = deque()
        self._missed = 0
        self._pruned: date | None = None

    def add(self, request: BaseRequest, response: StreamResponse, seconds: float) -> None:
        """Record an answered request."""
        if self._days == 0:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._missed += 1
            return
        now = self._clock.now()
        line = {
            "at": format_utc(now),
            "from": request.get(SENDER, request.remote),
            "who": request.get(ACTOR),
            "method": request.method[:20],
            "path": logged_path(request.path),
            "status": response.status,
            "bytes": response.body_length,
            "seconds": round(seconds, 4),
            "agent": request.headers.get("User-Agent", "")[:_LONGEST],
        }
        self._waiting.append((now, json.dumps(line)))

    def flush(self) -> None:
        """Write the waiting lines, compress the files of earlier days, remove old files; blocks."""
        if not self._waiting and not self._missed:
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write()
            today = self._clock.now().date()
            if self._pruned != today:
                self._prune(today)
                self._pruned = today
        except OSError as error:
            lost = len(self._waiting)
            self._missed += lost
            self._waiting.clear()
            _log.error("%d lines of the access log are lost: %s", lost, error)

    def _write(self) -> None:
        while self._waiting:
            day = self._waiting[0][0].date()
            path = self._directory / f"{day}.jsonl"
            with path.open("a", encoding="ascii") as file:
                path.chmod(0o600)
                room = MOST_BYTES_A_DAY - file.tell()
                while self._waiting and self._waiting[0][0].date() == day:
                    line = self._waiting.popleft()[1] + "\n"
                    room -= len(line)
                    if room > 0:
                        file.write(line)
                    else:
                        self._missed += 1
                if self._missed and room > 0:
                    now = format_utc(self._clock.now())
                    file.write(json.dumps({"at": now, "not_logged": self._missed}) + "\n")
                    self._missed = 0

    def _prune(self, today: date) -> None:
        """Compress the files of earlier days, and remove those that are too old."""
        oldest = today - timedelta(days=self._days)
        for path in self._directory.glob("????-??-??.jsonl*"):
            try:
                day = date.fromisoformat(path.name[:10])
            except ValueError:
                continue
            if day < oldest:
                path.unlink()
            elif day < today and path.suffix == ".jsonl":
                _compress(path)


def _compress(path: Path) -> None:
    compressed = path.with_name(f"{path.name}.gz")
    with path.open("rb") as source, gzip.open(compressed, "ab") as target:
        shutil.copyfileobj(source, target)
    compressed.chmod(0o600)
    path.unlink()


def logged_path(path: str) -> str:
    """A request's path as a log may have it: bounded, and without a key."""
    for start in _SECRET_PATHS:
        if path.startswith(start):
            return f"{start}…"
    return path[:_LONGEST]


def logger_class(log: AccessLog | None) -> type[AbstractAccessLogger]:
    """The class of aiohttp's access logger; without a log it does nothing."""

    class Logger(AbstractAccessLogger):
        def log(self, request: BaseRequest, response: StreamResponse, time: float) -> None:
            if log is not None:
                log.add(request, response, time)

        @property
        def enabled(self) -> bool:
            return log is not None

    return Logger
