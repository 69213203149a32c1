"""The Internet test: speedtest-cli, servers of several kinds, and their failures."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.checks import contradictions
from jharnet_monitor.judge.line.throughput import MSS
from jharnet_monitor.lab.speedtest_server import SpeedtestServer
from jharnet_monitor.model import HEADQUARTERS, Cause, Direction
from jharnet_monitor.probes.base import (
    AgentContext,
    Channel,
    Failed,
    NoData,
    ProbeContext,
    Reading,
    headquarters_office,
)
from jharnet_monitor.probes.internet import iperf3
from jharnet_monitor.probes.internet import run as internet
from jharnet_monitor.probes.internet.plan import cost
from jharnet_monitor.probes.internet.result import reading
from jharnet_monitor.probes.internet.speedtest_client import (
    SpeedtestFailed,
)
from tests.bandwidth_support import (
    measure,
    on_loopback,
    replaced_agent_tasks,
    settings,
    undisturbed,
)


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on loopback, with segments of a line's size; gives its address.

    The kernel does not pace the first ten segments of a connection. With the 64 kB segments of
    loopback they are so many bytes that each new connection raises the rate above the pace.
    """
    runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, MSS)
    await web.SockSite(runner, listener).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering(response: web.Response) -> web.Application:
    """A server with the same response to every request."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(
            status=response.status, text=response.text, content_type=response.content_type
        )

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    return app


async def test_both_directions_at_the_agent() -> None:
    """Rates from the kernel's counters, confirmed by the server, with bytes within the cost."""
    server = SpeedtestServer()
    async with serving(server.app()) as url, on_loopback() as agent:
        config = settings("30 Mbit/s", internet_server=url)
        result = await undisturbed(config, agent, path="internet")
    assert result.error is None
    assert result.conditions["path"] == "internet"
    assert result.conditions["held_against_server"] is True
    assert result.down == pytest.approx(38.9, rel=0.1)  # limited only by the pace, of payload
    assert result.up == pytest.approx(38.9, rel=0.1)
    assert 0 < result.values["idle_rtt_seconds"] < 0.1
    assert result.values["bytes_spent"] > 1e6


async def test_at_headquarters() -> None:
    """The hub measures its own Internet access with the same code; its line is the uplink."""
    async with serving(SpeedtestServer().app()) as url:
        config = settings("4 Mbit/s", internet_server=url)
        place = headquarters_office(config)
        context = ProbeContext(config, place, SystemClock(), None)
        for left in reversed(range(5)):
            try:
                found = await internet.run(context)
                break
            except NoData as error:  # this machine is too busy
                if error.cause is not Cause.HOST_OVERLOADED or not left:
                    raise
    assert place.id == HEADQUARTERS
    assert found.conditions["held_against_server"] is True
    assert found.values["download_bits_per_second"] > 0
    assert found.values["bytes_spent"] <= cost(context)


@pytest.mark.parametrize(
    ("response", "cause"),
    [
        (web.Response(text="<html>please sign in", content_type="text/html"), Cause.BLOCKED),
        (web.Response(text="no", status=403), Cause.BLOCKED),
        (web.Response(text="slow down", status=429), Cause.THROTTLED),
        (web.Response(text="sorry", status=500), Cause.SERVER_ERROR),
    ],
    ids=["captive portal", "forbidden", "throttled", "broken"],
)
async def test_a_server_that_does_not_serve(response: web.Response, cause: Cause) -> None:
    """Blocked, throttled, broken: failed with its cause, and without a rate."""
    async with serving(answering(response)) as url:
        result = await _error_of(url)
    assert isinstance(result, Failed)
    assert result.cause is cause
    assert not set(result.values) - {"bytes_spent", "idle_rtt_seconds"}


async def _error_of(
    url: str | None, rate: float = 4e6, seconds: float = 5.0
) -> Failed | NoData | None:
    """The error of a run without an agent, repeated where this machine was too busy."""
    request = internet.make_request(url, (rate, rate)) | {"seconds": seconds}
    found: Failed | NoData | None = None
    for _ in range(5):
        try:
            await reading(request, await internet.run_worker(request))
        except (Failed, NoData) as error:
            found = error
        if found is None or found.cause is not Cause.HOST_OVERLOADED:
            break
    return found


@pytest.mark.parametrize(
    ("seconds", "size", "rate"),
    [(0.0, 10, 4e6), (0.03, 5000, 4e6), (1.1, 5000, 4e6), (0.6, 5000, 40e6)],
    ids=["at once", "soon", "late", "four connections"],
)
async def test_a_server_that_blocks_after_it_was_chosen(
    seconds: float, size: int, rate: float
) -> None:
    """speedtest-cli would ignore the errors of its threads and report 0: the cause is kept, and no
    rate is made of pages that say so, however long they are in coming."""
    app = SpeedtestServer().app()

    @web.middleware
    async def block(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.endswith(".jpg"):
            await asyncio.sleep(seconds)
            raise web.HTTPForbidden(text="x" * size)
        answer: web.StreamResponse = await handler(request)
        return answer

    app.middlewares.append(block)
    async with serving(app) as url:
        result = await _error_of(url, rate, 2.0)
    assert isinstance(result, Failed)
    assert result.cause is Cause.BLOCKED
    assert "download_bits_per_second" not in result.values


@pytest.mark.parametrize(
    ("size", "rate"), [(20_000, 4e6), (0, 40e6)], ids=["one connection", "four"]
)
async def test_answers_that_are_too_small(size: int, rate: float) -> None:
    """Between them connections pause, so their rate is not that of the line."""
    app = SpeedtestServer().app()

    @web.middleware
    async def small(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.endswith(".jpg"):
            await asyncio.sleep(0.1)
            return web.Response(body=bytes(size), content_type="image/jpeg")
        answer: web.StreamResponse = await handler(request)
        return answer

    app.middlewares.append(small)
    async with serving(app) as url:
        result = await _error_of(url, rate, 2.0)
    assert isinstance(result, Failed)
    assert result.cause is Cause.SERVER_ERROR
    assert "another server" in result.detail
    assert "download_bits_per_second" not in result.values


@pytest.mark.parametrize("rate", [4e6, 40e6], ids=["one connection", "four"])
async def test_a_server_that_leads_elsewhere(rate: float) -> None:
    """A picture behind a redirect comes at the pace of any other, and not at half of it."""
    app = SpeedtestServer().app()

    @web.middleware
    async def lead(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.endswith(".jpg") and "elsewhere" not in request.query:
            raise web.HTTPFound(f"{request.path}?elsewhere=1")
        answer: web.StreamResponse = await handler(request)
        return answer

    app.middlewares.append(lead)
    async with serving(app) as url:
        values = (await asyncio.to_thread(_answered, "ookla", url, rate)).values
    assert values["download_bits_per_second"] == pytest.approx(1.3 * rate, rel=0.1)


async def test_a_file_that_is_elsewhere() -> None:
    """It is downloaded where the server leads; the page that leads there has no rate."""

    async def file(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(500):
                await response.write(bytes(1 << 16))
        return response

    async def lead(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/elsewhere")

    app = web.Application()
    app.router.add_get("/file", lead)
    app.router.add_get("/elsewhere", file)
    async with serving(app) as url:
        values = (await asyncio.to_thread(_answered, "http", f"{url}/file")).values
    assert values["download_bits_per_second"] == pytest.approx(25.9e6, rel=0.1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{free}", "http://no-such-host.invalid", None])
async def test_nothing_at_the_other_end(url: str | None) -> None:
    """No server, no name, no Internet: offline or a server error, and no values."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        result = await _error_of(url and url.format(free=free.getsockname()[1]))
    assert isinstance(result, Failed)
    assert result.cause in (Cause.OFFLINE, Cause.SERVER_ERROR, Cause.BLOCKED)
    assert not result.values


async def test_an_upload_that_nobody_reads() -> None:
    """Bytes that only filled the server's buffers give no upload rate."""
    app = SpeedtestServer().app()

    @web.middleware
    async def stall(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "POST":
            await asyncio.sleep(20)
        answer: web.StreamResponse = await handler(request)
        return answer

    app.middlewares.append(stall)
    async with serving(app) as url:
        result = await _error_of(url)
    assert isinstance(result, Failed | NoData)
    assert result.cause in (Cause.INTERRUPTED, Cause.BAD_REPORT)
    assert "upload_bits_per_second" not in result.values


async def test_an_agent_that_reports_more_than_the_server_counted() -> None:
    """The server counted nothing: no rate is kept, and the limit of bytes is charged."""

    async def liar(channel: Channel, params: Mapping[str, Any], context: AgentContext) -> None:
        part = {"rate": 4e6, "uncertainty": 0.01, "payload": 10**7}
        spent = {"bytes_down": 10**6, "bytes_up": 10**6}
        await channel.send({"server": params["server"], "download": part, "upload": part, **spent})

    server = SpeedtestServer()
    with replaced_agent_tasks(internet=liar):
        async with serving(server.app()) as url, on_loopback() as agent:
            config = settings("4 Mbit/s", internet_server=url)
            result = await measure(config, agent, path="internet")
    assert isinstance(result.error, NoData)
    assert result.error.cause is Cause.BAD_REPORT
    assert "server" in result.error.detail
    assert not result.values
    assert result.conditions["bytes_spent"] == 2_500_000
    assert result.conditions["bytes_estimated"] is True


def foreign_server() -> web.Application:
    """A speed-test server of another make: it knows no runs and counts nothing."""

    async def latency(request: web.Request) -> web.Response:
        return web.Response(text="test=test\n")

    async def download(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(500):
                await response.write(bytes(1 << 16))
        return response

    async def upload(request: web.Request) -> web.Response:
        size = 0
        with contextlib.suppress(ConnectionError):
            async for chunk in request.content.iter_any():
                size += len(chunk)
        return web.Response(text=f"size={size}")

    app = web.Application()
    app.router.add_get("/speedtest/latency.txt", latency)
    app.router.add_get("/speedtest/{picture:random.*}", download)
    app.router.add_post("/speedtest/upload.php", upload)
    return app


async def test_a_foreign_server() -> None:
    """A server that does not count runs cannot contradict a result: the result is kept."""
    async with serving(foreign_server()) as url, on_loopback() as agent:
        config = settings("4 Mbit/s", internet_server=url)
        result = await undisturbed(config, agent, path="internet")
    assert result.error is None
    assert result.down > 0
    assert result.up > 0
    assert "held_against_server" not in result.conditions


async def test_a_worker_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit holds whatever speedtest-cli is waiting for; as nobody counted its bytes, the
    most that it may have sent is charged."""
    monkeypatch.setattr(internet, "WORKER_SECONDS", 0.05)
    request = internet.make_request("http://127.0.0.1:9", (4e6, 4e6))
    with pytest.raises(Failed) as caught:
        await reading(request, await internet.run_worker(request))
    assert caught.value.cause is Cause.TIMEOUT
    charged = {"bytes_spent": sum(request["bytes"].values()), "bytes_estimated": True}
    assert charged.items() <= caught.value.conditions.items()


async def test_a_test_that_did_not_start_is_not_charged() -> None:
    """On Windows the agent refuses before it starts a worker."""
    request = internet.make_request("http://127.0.0.1:9", (4e6, 4e6))
    refused = {"error": {"cause": Cause.NOT_ON_WINDOWS.value}}
    with pytest.raises(NoData) as caught:
        await reading(request, refused)
    assert "bytes_spent" not in caught.value.conditions


# -- servers that are not ours --


def _answered(method: str, server: str, rate: float = 20e6) -> Reading:
    """The reading of a test of the uplink by that method, again where this machine was too busy for
    certain ones: a rate that did not become steady, or one that varies much."""

    async def run() -> Reading:
        request = internet.make_request(server, (rate, rate), method)
        for _ in range(5):
            try:
                found = await reading(request, await internet.run_worker(request))
            except NoData as error:
                if error.cause is not Cause.HOST_OVERLOADED:
                    raise
                continue
            known = found.conditions
            doubts = [known.get(f"{way.transfer}_uncertainty", 0.0) for way in Direction]
            steady = method == "iperf3" or known.get("limited_by") != "time"  # its upload always is
            if steady and max(doubts) < 0.1:
                return found
        return await reading(request, await internet.run_worker(request))

    return asyncio.run(run())


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def _program(*argv: str, port: int, cwd: Path | None = None) -> Iterator[None]:
    """A server program, once it listens."""
    with subprocess.Popen(
        argv, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as it:
        try:
            for _ in range(400):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                time.sleep(0.05)
            yield
        finally:
            it.terminate()


def test_a_file_of_a_plain_web_server(tmp_path: Path) -> None:
    """Python's own server: the download has a rate and an interval, and there is no upload."""
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(50_000_000)
    port = _free_port()
    server = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    with _program(*server, port=port, cwd=tmp_path):
        values = _answered("http", f"http://127.0.0.1:{port}/large.bin").values
    assert values["download_bits_per_second"] == pytest.approx(25e6, rel=0.15)
    assert values["download_bits_per_second_low"] <= values["download_bits_per_second"]
    assert "upload_bits_per_second" not in values


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")
def test_an_iperf3_server_between_two_tests() -> None:
    """iperf3 closes its port between two tests: whoever comes then tries again, and has a rate."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = int(sock.getsockname()[1])
        rate = futures.ThreadPoolExecutor(1).submit(
            iperf3.run, f"127.0.0.1:{port}", Direction.UP, 4e6, 1.0
        )
        turned_away, _ = sock.accept()
        reset = struct.pack("ii", 1, 0)
        turned_away.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        turned_away.close()
    with subprocess.Popen(
        ["iperf3", "-s", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            assert 1e6 < rate.result(60)["rate"] < 6e6, "of one second"
        finally:
            server.terminate()


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")
def test_an_iperf3_server_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempts end, and the failure says that nobody listens."""
    monkeypatch.setattr(iperf3, "PAUSE_SECONDS", 0.01)
    with pytest.raises(SpeedtestFailed, match="refused") as caught:
        iperf3.run(f"127.0.0.1:{_free_port()}", Direction.UP, 4e6, 1.0)
    assert caught.value.cause is Cause.OFFLINE


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="needs iperf3")
@pytest.mark.parametrize("rate", [2e6, 20e6])
def test_an_iperf3_server(rate: float) -> None:
    """Both directions by iperf3, at the pace that the contract allows: the line may be faster."""
    port = _free_port()
    with _program("iperf3", "-s", "-p", str(port), port=port):
        found = _answered("iperf3", f"127.0.0.1:{port}", rate)
    for way in ("download", "upload"):
        name = f"{way}_bits_per_second"
        assert found.values[name] == pytest.approx(1.25 * rate, rel=0.05)
        assert f"{name}_low" in found.values and f"{name}_high" not in found.values
        assert found.conditions[f"{way}_at_least"] is True


@pytest.mark.parametrize(
    ("again", "loss"), [({"retransmits": 30}, 0.0434), ({"retransmits": -1}, 0.0), ({}, 0.0)]
)
def test_what_iperf3_sent_again_is_loss(again: dict[str, int], loss: float) -> None:
    """A download's sender is the server; one of another system does not count."""
    each = {"sum": {"bits_per_second": 8e6}}
    end = {"sum_sent": {"bytes": 1_000_000, **again},
           "sum_received": {"bytes": 990_000, "bits_per_second": 8e6}}  # fmt: skip
    found = iperf3.found_in({"intervals": [each] * 8, "end": end}, Direction.DOWN)
    assert found["loss"] == pytest.approx(loss, rel=0.01)


async def test_without_the_program_iperf3_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server, the line and the budget have nothing to do with it."""
    monkeypatch.setenv("PATH", "")
    request = internet.make_request("127.0.0.1:9", (4e6, 4e6), "iperf3")
    with pytest.raises(NoData, match="iperf3 is not installed") as caught:
        await reading(request, await internet.run_worker(request))
    assert caught.value.cause is Cause.NOT_CONFIGURED
    assert not caught.value.conditions.get("bytes_spent")


async def test_a_librespeed_server() -> None:
    """LibreSpeed's two scripts, as its documentation describes them."""

    async def garbage(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(int(request.query["ckSize"]) * 16):
                await response.write(bytes(1 << 16))
        return response

    async def empty(request: web.Request) -> web.Response:
        with contextlib.suppress(ConnectionError):
            async for _ in request.content.iter_any():
                pass
        return web.Response()

    app = web.Application()
    app.router.add_get("/backend/garbage.php", garbage)
    app.router.add_post("/backend/empty.php", empty)
    async with serving(app) as url:
        values = (await asyncio.to_thread(_answered, "librespeed", f"{url}/backend")).values
    for way in ("download", "upload"):  # a pace of 25 Mbit/s of payload, and the headers
        assert values[f"{way}_bits_per_second"] == pytest.approx(25.9e6, rel=0.1)


def test_a_server_must_be_named() -> None:
    """Every method but Ookla's needs an address of the right kind."""
    for server in (None, "speed.example.in"):
        problems = [where for where, _ in contradictions(
            settings("4 Mbit/s", internet_server=server, internet_method="http"))]  # fmt: skip
        assert ("probes", "bandwidth", "internet_server") in problems
