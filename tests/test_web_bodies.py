"""Bodies that are not as they should be, on the hub's own listener: each is refused in one line."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jharnet_monitor.web import make_app, query
from jharnet_monitor.web.listener import listen
from tests.made_up_hub import MadeUpHub
from tests.web_support import BEARER

FORM = "application/x-www-form-urlencoded"
GZIPPED = gzip.compress(b'{"reason": "x"}', mtime=0)
MULTIPART = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nyes\r\n--x--\r\n'


@asynccontextmanager
async def listening(hub: MadeUpHub) -> AsyncIterator[int]:
    """Serve a hub as `run` does; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        runner = await listen(make_app(hub), hub.config, Path("j.yaml"), [one])
        try:
            yield one.getsockname()[1]
        finally:
            await runner.cleanup()


async def post(
    port: int, path: str, headers: dict[str, str], body: bytes, *, cut: bool = False
) -> tuple[int, str, str]:
    """Send a POST as it is; with `cut` the connection ends before its body does. Returns status,
    content type and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if "Transfer-Encoding" not in headers:
        headers = {"Content-Length": str(len(body) + 100 * cut)} | headers
    head = {"Host": "hub", "Origin": "http://hub", "Connection": "close"} | headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body)
    if cut:
        writer.write_eof()
    async with asyncio.timeout(120):
        answer = await reader.read()
    writer.close()
    if not answer:  # it was cut before there was a request to answer
        return 0, "", ""
    start, _, text = answer.partition(b"\r\n\r\n")
    status, *rest = start.decode("latin-1").split("\r\n")
    kinds = [one.partition(":")[2] for one in rest if one.lower().startswith("content-type:")]
    return int(status.split()[1]), "".join(kinds).strip(), text.decode()


@pytest.mark.parametrize("path", ["/signin", "/api/v1/enrolments", "/api/v1/maintenance"])
@pytest.mark.parametrize(
    ("headers", "body", "says"),
    [
        ({"Content-Encoding": "gzip"}, b"no gzip", "must not be compressed"),
        ({"Content-Encoding": "gzip"}, GZIPPED, "must not be compressed"),
        ({"Content-Encoding": "br"}, b"x", "must not be compressed"),
        ({"Content-Encoding": "nosuch"}, b"x", "must not be compressed"),
        ({"Transfer-Encoding": "chunked"}, b"5\r\nhello", "broke off"),
    ],
    ids=["no gzip", "gzip", "br", "unknown", "chunk cut off"],
)
async def test_a_body_that_cannot_be_read_is_refused(
    hub: MadeUpHub, caplog: pytest.LogCaptureFixture, path: str, headers: dict[str, str],
    body: bytes, says: str,
) -> None:  # fmt: skip
    """400 in one line; below `/api/` it is JSON, whatever the coding. It was a 500, and a traceback
    in the log of a hub that had refused the request before."""
    async with listening(hub) as port:
        cut = "Transfer-Encoding" in headers
        status, kind, text = await post(port, path, {**BEARER, **headers}, body, cut=cut)
        assert status in ((0, 400) if cut else (400,)), text
        if status and path.startswith("/api/"):
            assert kind.startswith("application/json")
            assert says in json.loads(text)["error"]
        status, _, text = await post(port, "/api/v1/maintenance", headers, body, cut=cut)
        assert status in (0, 400, 401)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nbroken"),
        ("multipart/form-data; boundary=x", MULTIPART),
        ("multipart/form-data", MULTIPART),
        (f"{FORM}; charset=nosuch", b"name=x"),
        (f"{FORM}; charset=utf-16", b"name=x"),
        (FORM, b"name=\xff"),
        (FORM, b"name=%ED%A0%80"),
        (FORM, b"&".join(b"%d=1" % number for number in range(200))),
    ],
    ids=range(8),
)
async def test_a_form_that_cannot_be_read_is_refused(
    hub: MadeUpHub, caplog: pytest.LogCaptureFixture, kind: str, body: bytes
) -> None:
    """400 in a page; nothing of it is written to a disk, as the parts of a multipart form were."""
    async with listening(hub) as port:
        status, answered, _ = await post(port, "/signin", {"Content-Type": kind}, body)
    assert (status, answered) == (400, "text/html; charset=utf-8")
    assert "Traceback" not in caplog.text


CODINGS: tuple[str | None, ...] = (None, None, None, "gzip", "deflate", "br", "zstd", "nosuch")
KINDS = (
    None, "application/json", FORM, f"{FORM}; charset=nosuch", "multipart/form-data",
    "multipart/form-data; boundary=x", "multipart/form-data; boundary=", ";", "a/b; c=\x80",
)  # fmt: skip
TEXTS = ("\ud800", "a\x00b", "a\nb", "\x1b[31m", "9999-12-31", "9999-12-31T23:59",
         "0001-01-01", "x" * 300, "", "potka", "report", "dossier", "-1", "1e999",
         "nan")  # fmt: skip
KEYS = ("office", "from", "to", "reason", "version", "offices", "kind", "first", "last", "name",
        "token", "next", "code", "token_hash", "profile", "minutes", "note", "docket",
        "reported_at", "stop", "withdrawn", "packets")  # fmt: skip


def _value(dice: random.Random) -> Any:
    return dice.choice([
        dice.choice(TEXTS), dice.choice(TEXTS), None, True, 7, -1.5, [dice.choice(TEXTS)],
        {dice.choice(KEYS): dice.choice(TEXTS)},
    ])  # fmt: skip


def _body(dice: random.Random) -> bytes:
    fields = {dice.choice(KEYS): _value(dice) for _ in range(dice.randrange(5))}
    raw = dice.randbytes(dice.randrange(60))
    form = "&".join(f"{key}={value}" for key, value in fields.items())
    return dice.choice([
        json.dumps(fields).encode(), json.dumps(fields).encode(), raw, MULTIPART + raw, b"",
        form.encode(errors="replace"), form.encode(errors="surrogatepass"), GZIPPED,
        b"[" * 5000, b"1" * 5000,
    ])  # fmt: skip


async def test_no_body_of_a_stranger_is_an_error_of_the_hub(
    hub: MadeUpHub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To every address that takes a POST, without a token and with it: never a 500, never a
    traceback; below `/api/` an error is JSON."""
    monkeypatch.setattr(query, "BODY_SECONDS", 2.0)
    dice = random.Random("bodies")
    app = make_app(hub)
    paths = sorted(
        route.resource.canonical
        for route in app.router.routes()
        if route.resource is not None and route.method in ("POST", "*")
    )
    assert len(paths) > 20
    async with listening(hub) as port:
        for path in paths:
            for number in range(24):
                headers = dict(BEARER) if number % 3 and path != "/joining/{office}" else {}
                coding, kind = dice.choice(CODINGS), dice.choice(KINDS)
                headers |= {"Content-Encoding": coding} if coding else {}
                headers |= {"Content-Type": kind} if kind else {}
                place = path.format(
                    office="potka", probe="latency", fault=dice.choice(["potka-1", "%ED%A0%80"]),
                    number="1", session="x", key="x", drill="d1",
                )  # fmt: skip
                body, cut = _body(dice), dice.random() < 0.1
                status, answered, text = await post(port, place, headers, body, cut=cut)
                assert status not in (500, 501), (place, headers, body)
                if status >= 400 and path.startswith("/api/"):
                    assert answered.startswith("application/json"), (place, headers, body, text)
    assert "Unhandled exception" not in caplog.text
    assert "Traceback" not in caplog.text
