"""A stranger cannot stop storing and judging, fill the memory, or break an answer."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import event

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.errors import StoreError
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.store import Store
from jharnet_monitor.web import listener, make_app, openapi, query, readers
from jharnet_monitor.web.auth import COOKIE, FAILURES_A_MINUTE
from tests.made_up_hub import MadeUpHub
from tests.support import make_config
from tests.web_support import BEARER, TOKEN, Client


async def test_slow_reads_hold_up_nothing_else(
    client: Client, hub: MadeUpHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads of the web filled the threads in which measurements are stored
    and metrics written; now they have threads of their own, and too many are refused. The status
    page needs none of them for what is known now; it was refused, too."""
    released = threading.Event()

    def slow(**_: Any) -> list[Any]:
        released.wait(20)
        return []

    monkeypatch.setattr(hub.store, "measurements", slow)
    requested = [
        asyncio.create_task(client.get("/api/v1/measurements"))
        for _ in range(readers.MOST_WAITING + 10)
    ]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    for _ in range(8):
        await asyncio.to_thread(time.sleep, 0.01)
    for path in ("/metrics", "/"):
        assert (await client.get(path)).status == 200
    assert time.monotonic() - began < 2
    released.set()
    statuses = [(await one).status for one in requested]
    assert statuses.count(200) == readers.MOST_WAITING
    assert statuses.count(503) == 10
    assert (await client.get("/api/v1/measurements")).status == 200


def test_every_question_of_the_api_has_an_index(tmp_path: Path) -> None:
    """`office` alone once sorted all rows, and `probe` alone read the whole table.

    Now no more rows are read than are requested, of each office or probe.
    """
    store = Store(f"sqlite:///{tmp_path}/monitor.db", SystemClock())
    store.migrate()
    offices, probes = [f"o{n}" for n in range(11)], ["latency", "bandwidth", "conference"]
    begin = datetime(2026, 11, 25, tzinfo=UTC)
    store.add(
        Measurement(
            office, probe, begin + timedelta(seconds=7 * number + n), 1.0, Outcome.OK,
            id=f"{office}-{probe}-{number}",
        )
        for number in range(60) for n, office in enumerate(offices) for probe in probes
    )  # fmt: skip
    every = store.measurements(newest_first=True)
    requested: list[Any] = []
    event.listen(store._engine, "before_cursor_execute", lambda *args: requested.append(args[2:4]))
    for office, probe in (("o3", None), (None, "conference")):
        expected = [m for m in every if m.office == office or m.probe == probe][:50]
        requested.clear()
        found = store.measurements(office=office, probe=probe, limit=50, newest_first=True)
        assert found == expected
        query, values = next(a for a in requested if "UNION ALL" in a[0])
        with store._engine.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()
        searches = [str(row) for row in plan if "measurements" in str(row)]
        assert searches and all("USING INDEX measurements_by_office" in one for one in searches)
    store.close()


async def test_a_body_that_does_not_come_is_not_awaited_for_ever(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow `POST /signin` was never timed out."""
    monkeypatch.setattr(query, "BODY_SECONDS", 0.2)

    async def body() -> AsyncIterator[bytes]:
        yield b"token="
        await asyncio.sleep(5)

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with asyncio.timeout(4):
        answer = await client.post("/signin", data=body(), headers=headers)
    assert answer.status == 408


async def test_the_description_is_made_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request parsed YAML on the event loop for 37 ms."""
    assert (await client.get("/api/v1/openapi.json")).status == 200
    monkeypatch.setattr(openapi, "_read", None)
    assert (await client.get("/api/v1/openapi.json")).status == 200


async def test_who_reads_nothing_is_cut_off(
    hub: MadeUpHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Clients that read nothing of their answers held them in memory for ever."""
    monkeypatch.setattr(listener, "WRITE_SECONDS", 1.0)
    monkeypatch.setattr(hub, "read", _at_once)
    gone = asyncio.Event()
    app = make_app(hub)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            gone.set()

    app.router.add_get("/endless", endless)
    config = make_config(hub={"listen": "127.0.0.1:9797"})
    free = config.hub.model_copy(update={"listen": "127.0.0.1:0"})
    config = config.model_copy(update={"hub": free})
    sockets = listener.bind(config, tmp_path)
    runner = await listener.listen(app, config, tmp_path, sockets)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(sockets[0].getsockname())
        client.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(gone.wait(), 15)
    await runner.cleanup()


async def _at_once(work: Any, *arguments: Any) -> Any:
    return work(*arguments)


async def test_a_database_that_is_away_is_503(
    client: Client, hub: MadeUpHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages and API answered 500; what is known now needs no database."""

    def away(*_: Any, **__: Any) -> Any:
        raise StoreError("hub.database: postgresql://u:secret@h/x: gone")

    monkeypatch.setattr(hub.store, "measurements", away)
    monkeypatch.setattr(hub.store.event_log, "newest_drill", away)
    for path in ("/api/v1/measurements", "/office/potka"):
        answer = await client.get(path)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
        assert "secret" not in await answer.text()
    for path in ("/", "/api/v1/offices", "/metrics"):
        assert (await client.get(path)).status == 200


async def test_a_right_token_is_let_in_whoever_else_guesses(client: Client) -> None:
    """Behind a proxy ten wrong tokens a minute locked everybody out."""
    for _ in range(FAILURES_A_MINUTE + 2):
        wrong = {"Authorization": "Bearer nonsense"}
        answer = await client.post("/-/reload", headers=wrong)
    assert answer.status == 429
    assert (await client.post("/-/reload", headers=BEARER)).status == 200


async def test_a_log_line_is_one_line(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A path with `%0A` wrote a stranger's lines into the log."""
    path = "/api/v1/offices/x%0AERROR%20forged/probes/latency"
    await client.post(path, headers={"Authorization": "Bearer nonsense"})
    assert "nERROR forged" in caplog.text
    assert "\nERROR forged" not in caplog.text


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://["}, {"Cookie": f"{COOKIE}=\udcff.x.y"}, {"Cookie": f"{COOKIE}=a.b.c"}],
    ids=str,
)
async def test_undecodable_headers_are_no_error_of_ours(
    client: Client, headers: dict[str, str]
) -> None:
    """A cookie byte that is not UTF-8, or `Origin: http://[`, gave 500."""
    raw = {name.encode(): value.encode(errors="surrogateescape") for name, value in headers.items()}
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in raw.items())
    for request in (b"GET /", b"POST /signin", b"POST /-/reload", b"GET /agent?office=potka"):
        reader, writer = await asyncio.open_connection(client.host, client.port)
        writer.write(request + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
                     b"Connection: close\r\n" + lines + b"\r\n")  # fmt: skip
        status = int((await asyncio.wait_for(reader.readline(), 5)).split()[1])
        assert status < 500, request
        writer.close()


async def test_signing_out_ends_the_session(client: Client) -> None:
    """A copy of the cookie stayed valid for twelve hours."""
    origin = {"Origin": f"http://{client.host}:{client.port}"}
    signed = await client.post(
        "/signin", data={"token": TOKEN}, headers=origin, allow_redirects=False
    )
    cookie = {"Cookie": f"{COOKIE}={signed.cookies[COOKIE].value}", **origin}
    client.session.cookie_jar.clear()
    assert (await client.post("/-/reload", headers=cookie)).status == 200
    await client.post("/signout", headers=cookie)
    assert (await client.post("/-/reload", headers=cookie)).status == 401


async def test_a_planned_window_has_a_longest_length(client: Client) -> None:
    """A window of a hundred years made every outage planned."""
    wanted = {"from": "2026-11-25T00:00:00Z", "to": "2126-11-25T00:00:00Z", "reason": "x"}
    answer = await client.post("/api/v1/maintenance", json=wanted, headers=BEARER)
    assert answer.status == 400
    assert "at most 31 days" in await answer.text()
