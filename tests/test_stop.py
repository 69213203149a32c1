"""A stop takes seconds, whatever clients, agents and papers do; a bad reload changes nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jharnet_monitor.errors import StoreError, UserError
from jharnet_monitor.hub import daemon
from jharnet_monitor.probes import ProbeContext, Reading
from jharnet_monitor.report.output import worker
from tests.lab_support import wait_until
from tests.support import stand_in
from tests.test_reload import RunningHub, hub_at_work


async def test_a_stop_takes_at_most_five_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With agents that never answer the closing handshake, a request that hangs, and a report that
    is being made."""
    one = RunningHub(tmp_path)
    task = asyncio.create_task(one.hub.run())
    async with asyncio.timeout(20):
        while one.hub.live.hub.started_at is None:
            await asyncio.sleep(0.02)
    monkeypatch.setattr(one.hub.agents, "authenticate", lambda *_: True)
    port = int(one.hub.address.rpartition(":")[2])
    sockets = [await _agent(port) for _ in range(2)]
    async with asyncio.timeout(20):
        while one.hub.agents.get("potka") is None:
            await asyncio.sleep(0.02)
    slow, slow_writer = await asyncio.open_connection("127.0.0.1", port)
    slow_writer.write(b"POST /signin HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ntoken=")
    papers = asyncio.create_task(asyncio.to_thread(worker.in_own_process, "time", "sleep", 60))
    await asyncio.sleep(1.0)
    began = time.monotonic()
    one.hub.stop()
    await asyncio.wait_for(task, 20)
    assert time.monotonic() - began < 5
    with pytest.raises(worker.WorkerError):
        await asyncio.wait_for(papers, 5)
    for _, writer in [*sockets, (slow, slow_writer)]:
        writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends it")
def test_a_worker_ends_with_its_parent(tmp_path: Path) -> None:
    """A program that is killed cannot end what sets its papers, which would go on for minutes."""
    work, noted = tmp_path / "work.py", tmp_path / "noted"
    work.write_text(f"import os, time; os.mkdir(f'{noted}-{{os.getpid()}}'); time.sleep(60)")
    code = f"from {worker.__name__} import *"
    code += f"; in_own_process('runpy', 'run_path', {str(work)!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        wait_until(lambda: bool(list(tmp_path.glob("noted-*"))), 20)
        parent.kill()
    [found] = tmp_path.glob("noted-*")
    wait_until(lambda: not Path("/proc", found.name.removeprefix("noted-")).exists())


async def _agent(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """An agent that says hello, and then neither reads nor answers."""
    hello = b'{"type":"hello","protocol":1,"boot_id":"b","uptime_seconds":1,"spooled":0}'
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /agent?office=potka HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer t\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(bytes([0x81, 0x80 | len(hello), 0, 0, 0, 0]) + hello)
    return reader, writer


async def test_a_session_that_outlasts_the_stop_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With 264 agents on a busy computer a stop has no time to wait for every session. One that
    then says that its agent left wrote `cannot schedule new futures after shutdown` into the log.
    """
    monkeypatch.setattr(daemon, "STOP_SECONDS", 0.0)
    one = RunningHub(tmp_path)
    task = asyncio.create_task(one.hub.run())
    async with asyncio.timeout(20):
        while one.hub.live.hub.started_at is None:
            await asyncio.sleep(0.02)
    monkeypatch.setattr(one.hub.agents, "authenticate", lambda *_: True)
    _, writer = await _agent(int(one.hub.address.rpartition(":")[2]))
    async with asyncio.timeout(20):
        while one.hub.agents.get("potka") is None:
            await asyncio.sleep(0.02)
    caplog.set_level("DEBUG", "jharnet_monitor.hub.store_writer")
    one.hub.stop()
    await asyncio.wait_for(task, 20)
    assert one.hub.agents.get("potka") is not None  # its session was not waited for
    writer.close()
    async with asyncio.timeout(20):
        while "came after the hub's stop" not in caplog.text:
            await asyncio.sleep(0.02)
    assert [each for each in caplog.records if each.levelname == "ERROR"] == []
    with pytest.raises(StoreError, match="the hub has stopped"):
        await one.hub.writer.add([])


async def _starts_a_scheduled_path_test(
    one: RunningHub, monkeypatch: pytest.MonkeyPatch, ends: asyncio.Event
) -> list[str]:
    """How a scheduled path test that lasts until `ends` ended, once it has ended."""
    started, ended = asyncio.Event(), list[str]()

    async def lasts(_: ProbeContext) -> Reading:
        started.set()
        try:
            await ends.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        ended.append("whole")
        return Reading({}, {})

    stand_in(monkeypatch, "path", run=lasts)
    one.hub.schedule._scheduler.modify_job("path potka", next_run_time=one.hub.clock.now())
    await asyncio.wait_for(started.wait(), 20)
    return ended


def _errors_of_runs(caplog: pytest.LogCaptureFixture) -> list[str]:
    """On a busy machine the database may report an error of its own."""
    ours = tuple(f"jharnet_monitor.hub.{name}" for name in ("policy", "runner", "scheduler"))
    libraries = ("apscheduler", "asyncio")
    errors = [each for each in caplog.records if each.levelname == "ERROR"]
    return [each.getMessage() for each in errors if each.name.startswith((*libraries, *ours))]


async def test_a_stop_during_a_scheduled_test_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It wrote `CancelledError` with a traceback into the log. The test has ended before the hub
    has."""
    async with hub_at_work(tmp_path) as one:
        ended = await _starts_a_scheduled_path_test(one, monkeypatch, asyncio.Event())
    assert ended == ["cancelled"]
    assert "CancelledError" not in caplog.text
    assert _errors_of_runs(caplog) == []


async def test_a_reload_leaves_a_scheduled_test_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The schedule is made anew; a test that runs meanwhile goes on, and is recorded."""
    ends = asyncio.Event()
    async with hub_at_work(tmp_path) as one:
        ended = await _starts_a_scheduled_path_test(one, monkeypatch, ends)
        await one.hub.reload()
        await asyncio.sleep(0.1)
        assert ended == []
        ends.set()
        async with asyncio.timeout(20):
            while one.metric("probe_runs_total", office="potka", probe="path", outcome="ok") != 1:
                await asyncio.sleep(0.02)
    assert ended == ["whole"]
    assert _errors_of_runs(caplog) == []


async def test_an_error_in_a_scheduled_run_is_logged_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback, once."""

    def broken(*_: object) -> None:
        raise ValueError("not today")

    async with hub_at_work(tmp_path) as one:
        monkeypatch.setattr(one.hub.runner, "context", broken)
        one.hub.schedule._scheduler.modify_job("path potka", next_run_time=one.hub.clock.now())
        async with asyncio.timeout(20):
            while "not today" not in caplog.text:
                await asyncio.sleep(0.02)
    assert _errors_of_runs(caplog) == ["unexpected error in path potka"]


HOLD_LOCK = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_locked_database_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """While another program holds the lock, the process ends in time all the same."""
    one = RunningHub(tmp_path)
    run = [sys.executable, "-P", "-m", "jharnet_monitor", "run", "--config", str(one.file)]
    hold = [sys.executable, "-c", HOLD_LOCK, str(tmp_path / "monitor.db")]
    hub = subprocess.Popen(run, stderr=subprocess.PIPE, text=True)
    assert hub.stderr is not None
    while "ready at" not in hub.stderr.readline():
        assert hub.poll() is None
    holder = subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    began = time.monotonic()
    hub.terminate()
    _, log = hub.communicate(timeout=30)
    took = time.monotonic() - began
    holder.communicate("")
    assert "counters start at 0" in log
    assert (hub.returncode, took < 5) == (0, True), took


@pytest.mark.parametrize(
    ("harm", "reported"),
    [
        (lambda data: data.update(budget="much"), "budget"),
        (lambda data: data["offices"][0].pop("pc"), "offices"),
        (lambda data: data.clear(), "jharnet.yaml"),
    ],
)
async def test_a_bad_reload_keeps_the_old_configuration_and_says_why(
    tmp_path: Path, harm: Any, reported: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By command and by signal; the metric says that the last reload failed."""
    one = RunningHub(tmp_path)
    task = asyncio.create_task(one.hub.run())
    async with asyncio.timeout(20):
        while one.hub.live.hub.started_at is None:
            await asyncio.sleep(0.02)
    before = one.hub.config
    harm(one.data)
    one.write()
    with pytest.raises(UserError, match=reported):
        await one.hub.reload()
    one.hub.reload_from_signal()
    async with asyncio.timeout(5):
        while "configuration not reloaded" not in caplog.text:
            await asyncio.sleep(0.02)
    assert one.hub.config is before
    assert one.metric("config_last_reload_successful") == 0
    async with aiohttp.ClientSession() as http, http.get(f"{one.hub.address}/-/healthy") as answer:
        assert answer.status == 200
    one.hub.stop()
    await asyncio.wait_for(task, 20)
