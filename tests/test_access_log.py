"""The log of requests: what it says, how long it is kept, and what a stranger cannot do to it."""

from __future__ import annotations

import gzip
import json
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.web import access_log, make_app
from jharnet_monitor.web.access_log import AccessLog, logger_class
from tests.made_up import NOW
from tests.made_up_hub import MadeUpHub
from tests.web_support import BEARER, TOKEN


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock(NOW)


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> AccessLog:
    """A log that keeps 180 days."""
    return AccessLog(tmp_path / "log", 180, clock)


def written(log: AccessLog) -> list[dict[str, Any]]:
    """The lines of all days."""
    log.flush()
    texts = [path.read_text("ascii") for path in sorted(log._directory.glob("*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def requested(log: AccessLog, path: str = "/", agent: str = "curl/8") -> None:
    """Note a request as aiohttp does."""
    request = make_mocked_request("GET", path, headers={"User-Agent": agent})
    log.add(request, web.Response(text="x"), 0.01)


async def test_each_request_is_a_line(hub: MadeUpHub, log: AccessLog) -> None:
    """Time, address, who, what and the result, of refused requests, too; no token."""
    server = TestServer(make_app(hub))
    logger = logging.getLogger("test")
    await server.start_server(access_log=logger, access_log_class=logger_class(log))
    async with TestClient(server) as client:
        await client.post("/-/reload", headers=BEARER)
        await client.post("/-/reload", headers={"Authorization": "Bearer wrong"})
        await client.get("/%0Aforged?token=x")
    hub.store.close()
    lines = written(log)
    assert [(line["who"], line["method"], line["path"], line["status"]) for line in lines] == [
        ("API token", "POST", "/-/reload", 200),
        (None, "POST", "/-/reload", 401),
        (None, "GET", "/\nforged", 404),
    ]
    assert {line["from"] for line in lines} == {"127.0.0.1"}
    assert TOKEN not in repr(lines)


def test_a_day_is_a_file_of_ours_alone_and_180_are_kept(log: AccessLog, clock: ManualClock) -> None:
    """Former days are compressed, those before the 180th are removed."""
    directory = log._directory
    for _ in range(3):
        requested(log)
        log.flush()
        clock._now += timedelta(days=1)
    assert len(list(directory.glob("*.gz"))) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in directory.iterdir())
    first = sorted(directory.glob("*.gz"))[0]
    assert json.loads(gzip.decompress(first.read_bytes()))["path"] == "/"
    (directory / "notes.txt").write_text("mine")
    clock._now += timedelta(days=178)
    requested(log)
    log.flush()
    names = sorted(path.name for path in directory.iterdir())
    assert len([name for name in names if name.startswith("20")]) == 3
    assert first.name not in names
    assert "notes.txt" in names


def test_a_flood_is_counted_and_not_written(
    log: AccessLog, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger cannot fill the disk, or the memory; what is missing is reported."""
    monkeypatch.setattr(access_log, "MOST_BYTES_A_DAY", 5_000)
    monkeypatch.setattr(access_log, "MOST_WAITING", 50)
    for _ in range(60):
        requested(log, "/" + "x" * 2000, "y" * 2000)
    assert all(len(line["path"]) <= 200 and len(line["agent"]) <= 200 for line in written(log))
    clock._now += timedelta(days=1)
    requested(log)
    assert written(log)[-1]["not_logged"] > 40


def test_one_time_keys_are_not_logged(log: AccessLog) -> None:
    """They are valid for a minute; the log is kept for half a year."""
    requested(log, "/agent/transfer/KEY?office=potka")
    assert written(log)[0]["path"] == "/agent/transfer/…"


def test_a_disk_that_takes_nothing_ends_nothing(
    log: AccessLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The requests are counted, and the next lines are written again."""
    log._directory.write_text("a file in its place")
    requested(log)
    log.flush()
    assert "1 lines of the access log are lost" in caplog.text
    log._directory.unlink()
    requested(log)
    assert [line.get("not_logged") for line in written(log)] == [None, 1]


def test_nothing_is_kept_where_nothing_is_wanted(tmp_path: Path, clock: ManualClock) -> None:
    """`access_log_days: 0`."""
    log = AccessLog(tmp_path / "log", 0, clock)
    requested(log)
    assert written(log) == []
    assert not log._directory.exists()
