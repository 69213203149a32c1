"""Commands that ask a hub: the program itself, and the hub's web server on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web

from jharnet_monitor.store import Window
from jharnet_monitor.web import make_app
from tests.made_up import NOW
from tests.test_exit_codes import CONFIG
from tests.web_support import bad_morning

Command = Callable[..., Awaitable[tuple[int, str, str]]]


@asynccontextmanager
async def listening(app: web.Application, host: str) -> AsyncIterator[int]:
    """Serve on a free port of this host."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def command_of(directory: Path, listen: str) -> Command:
    """A function that runs the program with the configuration of a hub at this address."""
    file = directory / "jharnet.yaml"
    text = CONFIG.format(listen=listen, database="sqlite:///monitor.db")
    file.write_text(text.replace("tls: off", "tls: off, api_token_file: api-token"), "utf-8")
    environment = {**os.environ, "JHARNET_CONFIG": str(file)}

    async def run(*arguments: str) -> tuple[int, str, str]:
        done = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "jharnet_monitor", *arguments, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, error = await asyncio.wait_for(done.communicate(), 110)
        assert done.returncode is not None
        return done.returncode, out.decode(), error.decode()

    return run


@pytest.fixture
async def command(tmp_path: Path) -> AsyncIterator[Command]:
    """The program, with a hub that has measured nothing yet."""
    hub = bad_morning(tmp_path)
    async with listening(make_app(hub), "127.0.0.1") as port:
        yield command_of(tmp_path, f"127.0.0.1:{port}")
    hub.store.close()


async def test_a_hub_at_an_ipv6_address_answers(tmp_path: Path) -> None:
    """Also where it listens on every one; with `--json` there is nothing but JSON."""
    hub = bad_morning(tmp_path)
    async with listening(make_app(hub), "::1") as port:
        for listen in (f"[::1]:{port}", f"[::]:{port}"):
            run = command_of(tmp_path, listen)
            code, out, error = await run("probe", "latency", "potka", "--json")
            assert (code, error) == (0, ""), error
            assert out.startswith("{")
            assert json.loads(out)["probe"] == "latency"
    hub.store.close()


async def test_what_may_be_there_later_is_exit_code_1(command: Command) -> None:
    """A call that nobody has made yet, an outage that still lasts."""
    code, out, error = await command("whatif", "potka")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert "run the probe `conference`" in error
    assert (await command("fault", "potka", "add"))[:2] == (0, "booked: potka-1\n")
    code, out, error = await command("fault", "potka", "close", "1")
    assert (code, out) == (1, "")
    assert error == "error: no measured outage of potka-1 is over; give `--restored` as a time\n"


async def test_a_hub_that_is_too_busy_is_exit_code_1(tmp_path: Path) -> None:
    """HTTP 429: the same request may be answered soon."""

    async def busy(request: web.Request) -> web.Response:
        return web.json_response({"error": "too many attempts"}, status=429)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", busy)
    (tmp_path / "api-token").write_text("a-token-that-nobody-guesses")
    (tmp_path / "api-token").chmod(0o600)
    async with listening(app, "127.0.0.1") as port:
        code, _, error = await command_of(tmp_path, f"127.0.0.1:{port}")("reload")
    assert code == 1
    assert error == "error: the hub refused for now (HTTP 429): too many attempts\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: an update says something: give --docket, --by, --to, --note, --reported, "),
        (("--restored", "2020-01-01T00:00"), "`--restored` 2020-01-01T00:00:00+05:30 must not be"),
        (
            ("--stop", "power", "--from", "2026-01-01T10:00", "--until", "2026-01-01T09:00"),
            "`--stop` needs `--from`, which must be before `--until`",
        ),
    ],
    ids=["nothing", "restored", "stop"],
)
async def test_refusals_name_the_options(
    command: Command, arguments: tuple[str, ...], message: str
) -> None:
    """Not the keys of the API, of which the command does not speak."""
    await command("fault", "potka", "add")
    code, out, error = await command("fault", "potka", "update", "1", *arguments)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert message in error


@pytest.mark.parametrize("arguments", [("--docket", "5"), ("--restored", "2026-11-25T14:00")])
async def test_a_list_of_faults_takes_no_entry(
    command: Command, arguments: tuple[str, ...]
) -> None:
    """Whoever forgets `add` is told so; nothing that was given is dropped in silence."""
    code, out, error = await command("fault", "potka", *arguments)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert f"{arguments[0]}: a list takes no entry; book it with `fault potka add`" in error


async def test_a_table_in_a_pipe_is_whole(tmp_path: Path) -> None:
    """Both times of each window, whatever the width of the terminal."""
    hub, reason = bad_morning(tmp_path), "a new switch, " * 9 + "and no more"
    hub.store.event_log.add_window(Window(None, NOW, NOW + timedelta(hours=2), reason))
    async with listening(make_app(hub), "127.0.0.1") as port:
        code, out, error = await command_of(tmp_path, f"127.0.0.1:{port}")("maintenance", "--list")
    assert (code, error) == (0, "")
    [line] = [line for line in out.splitlines() if reason in line]
    for at in (NOW, NOW + timedelta(hours=2)):
        assert f"{at.astimezone(ZoneInfo('Asia/Kolkata')):%Y-%m-%dT%H:%M}" in line
    hub.store.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("fault", "potka", "add", "--reported", "2026-11-27"),
        ("maintenance", "potka", "--from", "2099-12-05", "--to", "2099-12-06T10:00"),
        ("maintenance", "potka", "--from", "2099-12-05T10:00", "--to", "2099-12-06"),
    ],
)
async def test_a_date_alone_is_no_time(command: Command, arguments: tuple[str, ...]) -> None:
    """It would be midnight, which nobody meant."""
    code, out, error = await command(*arguments)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "must be a time such as 2026-11-25T14:00" in error


@pytest.mark.parametrize("written", ["[/old] 17", "[old] 17", ":ok: 17"])
async def test_a_docket_is_shown_as_it_was_written(command: Command, written: str) -> None:
    """Square brackets are no markup, and words between colons no emoji."""
    reported = f"{NOW - timedelta(days=1):%Y-%m-%dT%H:%M}"
    added = await command("fault", "potka", "add", "--reported", reported, "--docket", written)
    assert added == (0, "booked: potka-1\n", "")
    code, out, error = await command("fault", "potka")
    assert (code, error) == (0, "") and written in out


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A program that is no hub: it gives this answer to whatever it is asked."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def http(
    body: bytes, kind: bytes, *, status: bytes = b"200 OK", length: int | None = None
) -> bytes:
    """An answer of HTTP."""
    size = len(body) if length is None else length
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (status, kind, size) + body


PAGE = http(b"<html>\xe9</html>", b"text/html")
OBJECT = http(b"{}", b"application/json")
AT = "2026-11-25T06:30:00.000Z"
MORNING = ("--from", "2099-01-01T10:00", "--to", "2099-01-01T12:00")


@pytest.mark.parametrize(
    ("answer", "arguments", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", ("reload",), "is no hub (its answer is not HTTP): stop that"),
        (PAGE, ("reload",), "is no hub (its answer is not JSON): stop that program, or give"),
        (PAGE, ("probe", "latency", "potka"), "is no hub (its answer is not JSON)"),
        (PAGE, ("maintenance", "--list"), "is no hub (its answer is not JSON)"),
        (http(b"{", b"application/json"), ("fault", "potka"), "is no hub (its answer is not JSON)"),
        (OBJECT, ("reload",), "(no `reloaded`)"),
        (OBJECT, ("probe", "latency", "potka"), "of a hub of this version (no `office`): restart"),
        (OBJECT, ("drill",), "not that of a hub of this version ("),
        (OBJECT, ("maintenance", "--list"), "(no list)"),
        (http(b"[3]", b"application/json"), ("maintenance", "--list"), "(no `number`)"),
        (OBJECT, ("maintenance", "--withdraw", "1"), "(no `number`)"),
        (OBJECT, ("maintenance", "potka", *MORNING), "(no `number`)"),
        (OBJECT, ("fault", "potka"), "(no `faults`)"),
        (OBJECT, ("fault", "potka", "add"), "(no `id`)"),
        (OBJECT, ("whatif", "potka"), "(no `probabilities`)"),
        (OBJECT, ("update", "status"), "(no `releases`)"),
        (OBJECT, ("update", "offer", "1.0.0"), "(no `releases`)"),
        (OBJECT, ("update", "withdraw"), "(no `releases`)"),
        (http(b'{"a":', b"application/json", length=500), ("whatif", "potka"), "breaks off; try"),
        (http(b"\xe9", b"text/html", status=b"502 Bad"), ("reload",), "the hub failed (HTTP 502)"),
    ],
    ids=range(20),
)  # fmt: skip
async def test_another_program_at_the_hubs_address_is_one_line(
    tmp_path: Path, answer: bytes, arguments: tuple[str, ...], message: str
) -> None:
    """Exit code 1, and nothing is said to be done."""
    (tmp_path / "api-token").write_text("a-token-that-nobody-guesses")
    (tmp_path / "api-token").chmod(0o600)
    async with answering(answer) as port:
        code, out, error = await command_of(tmp_path, f"127.0.0.1:{port}")(*arguments)
    assert (code, out, error.count("\n")) == (1, "", 1), error
    assert message in error


@pytest.mark.parametrize(
    ("answer", "arguments", "says"),
    [
        (
            {"probabilities": [0, 0, 0, 0, 1], "measured_grade": 3, "measured_at": AT},
            ("whatif", "potka"), "measured 25.11.2026, 12:00 IST: SD",
        ),
        (
            {"releases": [], "offered": {"version": "9", "began": AT, "halted": 0}, "offices": []},
            ("update", "status"), "9 is offered since 25.11.2026, 12:00 IST",
        ),
    ],
    ids=("whatif", "update"),
)  # fmt: skip
async def test_times_are_the_districts(
    tmp_path: Path, answer: dict[str, object], arguments: tuple[str, ...], says: str
) -> None:
    """The hub's answers have them in UTC."""
    (tmp_path / "api-token").write_text("a-token-that-nobody-guesses")
    (tmp_path / "api-token").chmod(0o600)
    async with answering(http(json.dumps(answer).encode(), b"application/json")) as port:
        code, out, error = await command_of(tmp_path, f"127.0.0.1:{port}")(*arguments)
    assert (code, error) == (0, "")
    assert says in " ".join(out.split())
