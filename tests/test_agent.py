"""The agent keeps measuring, whatever happens to its disk or to its own parts."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from aiohttp import web

from jharnet_monitor import disk_queue
from jharnet_monitor.agent import daemon, launch, machine, self_monitor, task_process
from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.agent.self_monitor import SelfMonitor
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.agent.spool import Spool
from jharnet_monitor.agent.task_process import in_own_process
from jharnet_monitor.agent.versions import UpdateState, Versions
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.agent import _default_spool
from jharnet_monitor.disk_queue import DiskQueue
from jharnet_monitor.errors import StoreError, UserError
from jharnet_monitor.model import Cause, Measurement, Outcome
from jharnet_monitor.probes import NoData
from jharnet_monitor.probes.base import AgentContext, Channel
from jharnet_monitor.probes.dns import SocketAddress
from jharnet_monitor.wire.protocol import AgentTasks, Channels
from tests.call_support import LoopbackAgent, call, undisturbed_call
from tests.update_support import begin_trial


def one(name: str) -> Measurement:
    """A minute that the agent measured."""
    moment = datetime(2026, 11, 25, tzinfo=UTC)
    conditions = {"path": "agent_hub", "padding": "x" * 500}
    return Measurement("potka", "latency", moment, 60.0, Outcome.OK, None, conditions, {}, name)


def fill(spool: Spool) -> None:
    """Fill the disk."""
    assert spool._queue._db is not None
    (pages,) = spool._queue._db.execute("PRAGMA page_count").fetchone()
    spool._queue._db.execute(f"PRAGMA max_page_count={pages}")


def clear(spool: Spool) -> None:
    """Make room again."""
    assert spool._queue._db is not None
    spool._queue._db.execute("PRAGMA max_page_count=1000000")


@asynccontextmanager
async def lonely(directory: Path, address: str = "ws://127.0.0.1:1/agent") -> AsyncIterator[Agent]:
    """An agent whose hub does not answer."""
    agent = Agent(AgentSettings(address, "potka", "t", directory), SystemClock())
    running = asyncio.create_task(agent.run())
    try:
        yield agent
        assert not running.done()
    finally:
        agent.stop()
        await asyncio.wait_for(running, 10)


async def test_measuring_goes_on_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The self-monitor fails twice: that is logged, and it starts again after growing pauses."""
    began: list[float] = []

    async def period(self: SelfMonitor, pinger: object) -> None:
        began.append(asyncio.get_running_loop().time())
        if len(began) < 3:
            raise sqlite3.OperationalError("database or disk is full")
        await asyncio.sleep(60)

    monkeypatch.setattr(SelfMonitor, "_period", period)
    monkeypatch.setattr(daemon, "FIRST_RETRY_SECONDS", 0.05)
    async with lonely(tmp_path):
        async with asyncio.timeout(5):
            while len(began) < 3:
                await asyncio.sleep(0.01)
    assert began[1] - began[0] >= 0.05
    assert began[2] - began[1] >= 0.1
    assert caplog.text.count("the self-monitor failed; restarting it in") == 2


async def test_the_gateway_is_pinged_while_no_name_server_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond a cut line none does: for seconds of each period nothing was sent, and a stop in them
    was not recorded, so that a PC that was switched off counted as without power."""

    async def slow(host: str) -> SocketAddress:
        if host != "127.0.0.1":
            await asyncio.sleep(3600)
        return host, 0

    monkeypatch.setattr(self_monitor, "resolve", slow)
    monkeypatch.setattr(machine, "default_gateway", lambda: "127.0.0.1")
    recorded: list[Measurement] = []
    monitor = SelfMonitor("potka", "hub.example.in", SystemClock(), recorded.append)
    monitoring = asyncio.create_task(monitor.run())
    await asyncio.sleep(1.0)
    monitor.stopping()
    monitoring.cancel()
    await asyncio.gather(monitoring, return_exceptions=True)
    [last] = recorded
    assert last.conditions["path"] == "agent_gateway"
    assert last.conditions["stopped"] is True
    assert last.values["received"] > 0


async def test_a_full_disk_loses_no_measurement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be spooled waits in memory until there is room; the log says so once."""
    async with lonely(tmp_path) as agent:
        agent.record(one("a"))
        await agent._in_spool(fill, agent.spool)
        names = [f"n{number}" for number in range(100)]
        for name in names:
            agent.record(one(name))
        assert await agent._in_spool(len, agent.spool) == 101
        assert len(agent.spool._queue._unwritten) > 0
        clear(agent.spool)
        agent.record(one("z"))
        await agent._in_spool(len, agent.spool)
        assert [m.id for m in agent.spool.peek(200)] == ["a", *names, "z"]
    assert caplog.text.count("the spool cannot be used; measuring continues") == 1
    assert "database or disk is full" in caplog.text


@asynccontextmanager
async def hub_that_takes_all() -> AsyncIterator[tuple[str, list[str], list[str]]]:
    """A hub's address, the ids that it was sent, and the kinds of all frames."""
    taken: list[str] = []
    frames: list[str] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        link = web.WebSocketResponse()
        await link.prepare(request)
        async for message in link:
            frame = json.loads(message.data)
            frames.append(frame["type"])
            if frame["type"] == "hello":
                await link.send_json({"type": "welcome", "version": "1"})
            elif frame["type"] == "measurements":
                names = [item["id"] for item in frame["items"]]
                taken.extend(names)
                await link.send_json({"type": "ack", "ids": names})
            elif frame["type"] == "heartbeat":
                await link.send_json({"type": "beat"})
        return link

    app = web.Application()
    app.router.add_get("/agent", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/agent", taken, frames
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(directory: Path, address: str) -> AsyncIterator[Agent]:
    """An agent of this hub."""
    agent = Agent(AgentSettings(address, "potka", "t", directory), SystemClock())
    running = asyncio.create_task(agent.run())
    try:
        await asyncio.wait_for(agent._welcomed.wait(), 30)
        yield agent
        assert not running.done()
    finally:
        agent.stop()
        await asyncio.wait_for(running, 10)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "jhn-agent", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.root
async def test_an_agent_starts_and_stays_connected_on_a_full_disk(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a spool from before: it measures, takes part in tests and hands in what it measures,
    and the rest once there is room."""
    monkeypatch.setattr(daemon, "LAST_RETRY_SECONDS", 0.2)
    spool = Spool(small_disk / "spool")
    spool.put(one("before"))
    spool.close()
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    async with (
        hub_that_takes_all() as (address, taken, frames),
        connected(small_disk / "spool", address) as agent,
    ):
        agent.record(one("during"))
        await _until(lambda: "during" in taken and frames.count("heartbeat") >= 3)
        assert "before" not in taken
        (small_disk / "filler").unlink()
        agent.record(one("after"))
        await _until(lambda: {"before", "after"} <= set(taken))
        assert frames.count("hello") == 1


async def test_what_is_recorded_during_a_hand_in_is_handed_in_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the next measurement, which comes a minute later."""
    peek, recorded = Spool.peek, list[str]()
    loop = asyncio.get_running_loop()

    def peek_while_recording(self: Spool, count: int) -> list[Measurement]:
        found = peek(self, count)
        if not found and not recorded:
            recorded.append("late")
            self.put(one("late"))
            loop.call_soon_threadsafe(agent._new.set)
        return found

    monkeypatch.setattr(SelfMonitor, "run", lambda self: asyncio.sleep(3600))
    async with (
        hub_that_takes_all() as (address, taken, _),
        connected(tmp_path, address) as agent,
    ):
        monkeypatch.setattr(Spool, "peek", peek_while_recording)
        agent.record(one("first"))
        await _until(lambda: taken == ["first", "late"])


@asynccontextmanager
async def hub_that_never_answers(requests: list[bytes]) -> AsyncIterator[str]:
    """The address of a hub that takes requests, and sends nothing."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/agent"


async def test_an_answer_that_was_lost_is_not_awaited_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that was cut between the agent's request and the hub's answer left a connection on
    which nothing came any more: the agent never connected again until it was restarted."""
    monkeypatch.setattr(daemon, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(daemon, "FIRST_RETRY_SECONDS", 0.02)
    requests: list[bytes] = []
    async with hub_that_never_answers(requests) as address, lonely(tmp_path, address):
        await _until(lambda: len(requests) >= 3)


async def test_a_stop_does_not_wait_for_the_hubs_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The service manager killed the agent after 10 s, and its last minute was lost, which says
    that it was stopped: a PC that was switched off in an outage counted as without power."""
    caplog.set_level(logging.INFO)
    requests: list[bytes] = []
    async with hub_that_never_answers(requests) as address:
        async with lonely(tmp_path, address):
            await _until(lambda: bool(requests))
            before = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - before < 5
    assert "cannot reach the hub" not in caplog.text, "it was not awaited any longer"


async def test_a_version_that_is_kept_starts_again_without_its_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that monitored its trial would stay in memory beside it."""
    versions = Versions(tmp_path / "updates", "0.1.0")
    versions.place("7.1.0-5").mkdir(parents=True)
    versions.mark_complete("7.1.0-5")
    begin_trial(versions)
    monkeypatch.setattr(sys, "prefix", str(versions.place("7.1.0-5")))
    monkeypatch.setenv(launch.WATCHED, "1")
    monkeypatch.setattr(daemon, "LONGEST_PROOF_SECONDS", 0.1)
    async with hub_that_takes_all() as (address, _, frames):
        settings = AgentSettings(
            address, "potka", "t", tmp_path / "spool", None, "A" * 43 + "=", versions.directory
        )
        agent = Agent(settings, SystemClock())
        async with asyncio.timeout(30):
            await agent.run()
    last = versions.last()
    assert agent.restart_wanted and frames[-1] == "goodbye"
    assert last is not None and last.state is UpdateState.CONFIRMED


async def test_tasks_are_idle_once_the_last_has_ended(tmp_path: Path) -> None:
    """Also where one begins while another is awaited."""
    began, order = asyncio.Event(), list[str]()

    async def first(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        await asyncio.sleep(0.05)
        await tasks.start({"id": 2, "task": "second", "params": {}})
        order.append("first")

    async def second(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        began.set()
        await asyncio.sleep(0.05)
        order.append("second")

    async with (
        aiohttp.ClientSession() as http,
        hub_that_takes_all() as (address, *_),
        http.ws_connect(address) as link,
    ):
        context = AgentContext("potka", SystemClock(), "http://127.0.0.1:1", http)
        tasks = AgentTasks({"first": first, "second": second}, Channels(link), context)
        await tasks.start({"id": 1, "task": "first", "params": {}})
        await tasks.idle()
    assert began.is_set() and order == ["first", "second"]


def test_one_directory_is_one_agents(tmp_path: Path) -> None:
    """Two agents that shared a spool sent each other's measurements."""
    first = Spool(tmp_path)
    with pytest.raises(UserError, match="another agent uses it; give each agent a --spool"):
        Spool(tmp_path)
    first.close()
    Spool(tmp_path).close()


def test_each_office_has_a_spool_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--spool`, too; an earlier spool is kept in use with its contents."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _default_spool("potka") != _default_spool("boram")
    base = _default_spool("potka").parent
    Spool(base).close()
    assert _default_spool("potka") == base


def test_a_damaged_spool_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a power cut the file may be damaged; the agent starts anyway."""
    (tmp_path / "spool.db").write_bytes(b"not a database at all" * 100)
    spool = Spool(tmp_path)
    spool.put(one("a"))
    assert len(spool) == 1
    assert (tmp_path / "spool.db.damaged").exists()
    assert "is damaged" in caplog.text


async def test_an_error_of_any_part_does_not_end_the_handing_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error while handing in ends the session, not the agent."""
    tried = 0

    async def session(self: Agent, http: object) -> None:
        nonlocal tried
        tried += 1
        raise KeyError("unexpected")

    monkeypatch.setattr(Agent, "_session", session)
    monkeypatch.setattr(daemon, "FIRST_RETRY_SECONDS", 0.02)
    async with lonely(tmp_path):
        async with asyncio.timeout(5):
            while tried < 3:
                await asyncio.sleep(0.01)


def test_a_full_spool_gives_up_fine_data_first(tmp_path: Path) -> None:
    """Beyond its bound the oldest fine data are deleted first, and it reports how many."""
    queue = DiskQueue(tmp_path / "queue.db", 3)
    queue.put("state", "s", fine=False)
    for name in ("a", "b", "c", "d"):
        queue.put(name, name)
    assert [name for name, _ in queue.peek(9)] == ["state", "c", "d"]
    assert queue.dropped == 2


def blocked_queue(directory: Path, most: int) -> DiskQueue:
    """A queue whose file cannot be opened until its directory is removed."""
    queue = DiskQueue(directory / "queue.db", most)
    queue.file.mkdir()
    return queue


def put_in_memory(queue: DiskQueue, name: str, body: str, *, replace: bool = False) -> None:
    """Put an entry that cannot be written now."""
    with pytest.raises(StoreError):
        queue.put(name, body, fine=not replace, replace=replace)


def test_a_value_waits_once_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk was full the hub's heartbeats, of which only the last counts, took the room of
    measurements: 8640 a day of 20,000."""
    monkeypatch.setattr(disk_queue, "MAX_UNWRITTEN", 3)
    queue = blocked_queue(tmp_path, 10)
    for number in range(4):
        put_in_memory(queue, "beat", str(number), replace=True)
    for name in ("a", "b"):
        put_in_memory(queue, name, name)
    assert queue.peek(9) == [("beat", "3"), ("a", "a"), ("b", "b")]
    assert queue.dropped == 0


def test_what_was_lost_in_memory_stays_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart forgot what a full disk had cost, so nothing showed the gap in an agent's data."""
    monkeypatch.setattr(disk_queue, "MAX_UNWRITTEN", 2)
    queue = blocked_queue(tmp_path, 3)
    for number in range(5):
        put_in_memory(queue, f"m{number}", "m")
    assert queue.dropped == 3
    queue.file.rmdir()
    queue.put("m5", "m")
    assert (queue.dropped, len(queue)) == (4, 2)
    queue.close()
    for _ in range(2):
        queue = DiskQueue(queue.file, 3)
        queue.open()
        assert queue.dropped == 4
        queue.close()
    queue = DiskQueue(queue.file, 3)
    for name in ("a", "b"):
        queue.put(name, name)
    assert queue.dropped == 5
    queue.close()


@pytest.mark.parametrize(
    "texts", [("\ud800", "b", None), ("a", "\ud800", None), ("a", "b", "\ud800")]
)
def test_a_text_that_cannot_be_written_keeps_no_other_from_the_disk(
    tmp_path: Path, texts: tuple[str, str, str | None]
) -> None:
    """It is refused at once; it stayed at the head of those that wait, and nothing after it was
    written until a restart."""
    name, body, reason = texts
    queue = DiskQueue(tmp_path / "queue.db", 3)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        queue.put(name, body, reason=reason)
    queue.put("next", "n")
    with pytest.raises(ValueError, match="surrogates not allowed"):
        queue.set_aside(["next"], "\ud800")
    queue.close()
    assert DiskQueue(tmp_path / "queue.db", 3).peek(9) == [("next", "n")]


def test_the_spool_raises_one_kind_of_error(tmp_path: Path) -> None:
    """Code that hands in does not need to know that it is SQLite."""
    spool = Spool(tmp_path)
    spool.close()
    for use in (lambda: spool.put(one("a")), lambda: spool.peek(1), lambda: spool.drop(["a"])):
        with pytest.raises(StoreError, match=r"spool\.db: "):
            use()


async def test_a_conference_runs_in_a_process_of_its_own() -> None:
    """The agent's half of a call in another process gives a grade, and leaves no process behind."""
    agent = LoopbackAgent(in_own_process("conference"))
    result = await undisturbed_call(agent, seconds=1.0, profile="audio")
    assert result.error is None
    assert result.values["grade"] == 1
    assert not psutil.Process().children()


async def test_a_task_process_that_dies_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub hears at once that the call cannot be held; nobody waits for a reply."""
    monkeypatch.setattr(task_process, "PROGRAM", "jharnet_monitor.no_such_module")
    failure: list[RuntimeError] = []

    async def task(*arguments: Any) -> None:
        try:
            await in_own_process("conference")(*arguments)
        except RuntimeError as error:
            failure.append(error)

    result = await asyncio.wait_for(call(LoopbackAgent(task)), 10)
    assert isinstance(result.error, NoData) and result.error.cause is Cause.AGENT_LOST
    assert "ended with status 1" in str(failure[0])


def test_an_idle_agent_loads_neither_media_libraries_nor_the_hubs_configuration() -> None:
    """FFmpeg, SRTP and the WebRTC stack take 45 MB, the hub's schema some 2 MB more."""
    code = (
        "import sys, jharnet_monitor.agent.daemon, jharnet_monitor.probes.agent_tasks as tasks;"
        "tasks.load_agent_tasks(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert "jharnet_monitor.config.schema" not in modules
    loaded = {name.split(".")[0] for name in modules}
    assert loaded & {"aiortc", "av", "cryptography", "aioice", "pylibsrtp"} == set()
    assert "aiohttp" in loaded


@pytest.mark.parametrize("all_given", [True, False])
def test_settings_survive_the_way_into_the_agents_process(all_given: bool) -> None:
    """Paths are paths again, and what is not set stays unset."""
    given = AgentSettings("wss://hub:9797/agent", "potka", "secret", Path("/s"))
    if all_given:
        given = replace(given, ca=Path("/c/ca.pem"), release_key="k", updates=Path("/u"))
    assert AgentSettings.of_json(given.to_json()) == given


def test_the_running_agent_is_a_process_that_shows_no_token(tmp_path: Path) -> None:
    """The command replaces itself: same process, without pydantic; arguments and environment, which
    other users may read, hold no token, and it ends in order."""
    token = tmp_path / "token"
    token.write_text("a-secret-token\n")
    token.chmod(0o600)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        hub = f"ws://127.0.0.1:{closed.getsockname()[1]}/agent"
        options = {
            "--hub": hub,
            "--office": "potka",
            "--token-file": token,
            "--spool": tmp_path / "s",
        }
        argv = [str(word) for option in options.items() for word in option]
        command = [sys.executable, "-m", "jharnet_monitor", "agent", *argv]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
            assert agent.stderr is not None
            while "cannot reach the hub" not in (line := agent.stderr.readline()):
                assert line, "the agent has ended"
            seen = Path(f"/proc/{agent.pid}")
            shown = (seen / "cmdline").read_bytes() + (seen / "environ").read_bytes()
            libraries = (seen / "maps").read_text("utf-8")
            agent.terminate()
    assert agent.returncode == 0
    assert b"a-secret-token" not in shown
    assert b"agent_process" in shown and str(token).encode() in shown
    assert "pydantic_core" not in libraries and "_ssl" in libraries
